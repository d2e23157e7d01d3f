//! Between those who answer requests and the writer: places, waiting records, and who wants to know of their commit.
//!
//! `created_at` is stamped here, under the same lock that puts the record in line. So the line is in the order of time,
//! and its head says what is not committed yet.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use crate::domain::clock::{Clock, JITTER, Timestamp};
use crate::domain::failure::{Failure, Kind};
use crate::domain::usage::UsageRecord;
use crate::ledger::bounds::Bounded;
use crate::ledger::gauges::Gauges;

/// No room in the ledger: the request must not be sent upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Every place is taken: the database is too slow, or away.
    #[error("the ledger is full: {0} records wait to be written")]
    NoPlace(usize),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Closed,
}

impl From<Full> for Failure {
    fn from(full: Full) -> Self {
        Self::new(Kind::Unavailable, full.to_string()).retry_after(Duration::from_secs(1))
    }
}

/// A record's commit could not be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCommitted {
    /// It still waits, longer than `usage.commit_timeout`; it will be written when the database is back.
    #[error("the record is not committed yet; the database is slow or away")]
    Late,
    /// The writer ended before.
    #[error("the node is shutting down")]
    Closed,
}

impl From<NotCommitted> for Failure {
    fn from(error: NotCommitted) -> Self {
        Self::new(Kind::Unavailable, error.to_string())
    }
}

pub(super) struct Queue {
    capacity: usize,
    commit_timeout: Duration,
    clock: Arc<dyn Clock>,
    taken: AtomicUsize,
    line: Mutex<Line>,
    /// Something is in line, or the writer should look up.
    arrived: Notify,
    /// Something was committed.
    nudge: Notify,
    /// How many records were committed; closed when the writer ends.
    committed: watch::Sender<u64>,
    is_closed: AtomicBool,
    batches: AtomicU64,
    retries: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("gauges", &self.gauges()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// How many records the writer has in hand, and when the first of them was made.
    in_hand: usize,
    in_hand_since: Option<Timestamp>,
    /// Records ever put in line.
    recorded: u64,
    last_stamp: Timestamp,
    closed: bool,
}

/// A record in line.
struct Waiting {
    record: UsageRecord,
    waiter: Waiter,
}

/// Who wants to know of a record's commit, and the place that the record keeps until then.
struct Waiter {
    told: oneshot::Sender<()>,
    place: Place,
}

/// What the writer has in hand.
pub(super) struct Batch {
    pub records: Vec<UsageRecord>,
    waiters: Vec<Waiter>,
}

/// One place of the queue; free again when dropped.
struct Place(Arc<Queue>);

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.taken.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.arrived.notify_one();
        }
    }
}

/// Room for one record. Dropped without a record, it is free again.
pub struct Reservation(Place);

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reservation")
    }
}

impl Reservation {
    /// Hands the record over. Never waits and never fails: the room was reserved. Stamps `created_at` with the present
    /// moment, and brings what no database or leader would take (endless texts, absurd counts) within bounds, if that has
    /// not been done.
    #[must_use]
    pub fn record(self, record: impl Into<Bounded>) -> Receipt {
        let queue = self.0.0.clone();
        let (told, committed) = oneshot::channel();
        let record = record.into().into_inner();
        queue.put(Waiting { record, waiter: Waiter { told, place: self.0 } });
        Receipt { committed, patience: queue.commit_timeout }
    }
}

/// The way to learn of a record's commit. Dropping it changes nothing for the record.
#[derive(Debug)]
pub struct Receipt {
    committed: oneshot::Receiver<()>,
    patience: Duration,
}

impl Receipt {
    /// Waits for the commit, at most `usage.commit_timeout`.
    ///
    /// # Errors
    /// [`NotCommitted`] when that takes too long, or the writer ended.
    pub async fn committed(self) -> Result<(), NotCommitted> {
        match tokio::time::timeout(self.patience, self.committed).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(NotCommitted::Closed),
            Err(_) => Err(NotCommitted::Late),
        }
    }
}

impl Queue {
    pub(super) fn new(capacity: usize, commit_timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            capacity,
            commit_timeout,
            clock,
            taken: AtomicUsize::new(0),
            line: Mutex::default(),
            arrived: Notify::new(),
            nudge: Notify::new(),
            committed: watch::Sender::new(0),
            is_closed: AtomicBool::new(false),
            batches: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    pub(super) fn reserve(this: &Arc<Self>) -> Result<Reservation, Full> {
        if this.is_closed.load(Ordering::Acquire) {
            return Err(Full::Closed);
        }
        let one_more = |taken| (taken < this.capacity).then_some(taken + 1);
        if this.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok() {
            Ok(Reservation(Place(this.clone())))
        } else {
            this.refused.fetch_add(1, Ordering::Relaxed);
            Err(Full::NoPlace(this.capacity))
        }
    }

    fn put(&self, mut waiting: Waiting) {
        let mut line = self.line.lock();
        if line.closed {
            drop(line);
            self.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(request_id = %waiting.record.request_id, "a record came after the ledger was closed");
            return;
        }
        waiting.record.created_at = line.stamp(self.clock.now());
        line.recorded += 1;
        line.waiting.push_back(waiting);
        drop(line);
        self.arrived.notify_one();
    }

    /// Waits until something is in line, or no place is taken and so nothing can come. The writer's alone.
    pub(super) async fn something_waits_or_nothing_can(&self) {
        while self.line.lock().waiting.is_empty() && !self.is_idle() {
            self.arrived.notified().await;
        }
    }

    /// Waits until something is in line. The writer's alone.
    pub(super) async fn something_waits(&self) {
        while self.line.lock().waiting.is_empty() {
            self.arrived.notified().await;
        }
    }

    /// Takes up to `most` records from the head of the line.
    pub(super) fn take(&self, most: usize) -> Batch {
        let mut line = self.line.lock();
        let most = most.min(line.waiting.len());
        let taken = line.waiting.drain(..most).map(|Waiting { record, waiter }| (record, waiter));
        let (records, waiters): (Vec<UsageRecord>, Vec<Waiter>) = taken.unzip();
        line.in_hand = records.len();
        line.in_hand_since = records.first().map(|first| first.created_at);
        Batch { records, waiters }
    }

    /// A batch is committed: frees the places and tells everyone who waits.
    pub(super) fn done(&self, batch: Batch) {
        let count = batch.waiters.len() as u64;
        {
            let mut line = self.line.lock();
            line.in_hand = 0;
            line.in_hand_since = None;
        }
        self.batches.fetch_add(1, Ordering::Relaxed);
        for Waiter { told, place } in batch.waiters {
            drop(place);
            let _nobody_waits = told.send(());
        }
        self.committed.send_modify(|committed| *committed += count);
        self.nudge();
    }

    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Closes the queue if nothing is in line; from then on nothing can be recorded. False: something came.
    pub(super) fn close_if_empty(&self) -> bool {
        let mut line = self.line.lock();
        if !line.waiting.is_empty() {
            return false;
        }
        line.closed = true;
        drop(line);
        self.is_closed.store(true, Ordering::Release);
        self.committed.send_modify(|_| {});
        true
    }

    /// No place is taken: nobody can record.
    pub(super) fn is_idle(&self) -> bool {
        self.taken.load(Ordering::Acquire) == 0
    }

    pub(super) async fn flush(&self) -> Result<(), NotCommitted> {
        let recorded = self.line.lock().recorded;
        let mut committed = self.committed.subscribe();
        let reached = |count: &u64| *count >= recorded || self.is_closed.load(Ordering::Acquire);
        let count = committed.wait_for(reached).await.map_err(|_| NotCommitted::Closed)?;
        if *count >= recorded { Ok(()) } else { Err(NotCommitted::Closed) }
    }

    pub(super) async fn closed(&self) {
        let mut committed = self.committed.subscribe();
        let is_closed = |_: &u64| self.is_closed.load(Ordering::Acquire);
        let _never_dropped = committed.wait_for(is_closed).await;
    }

    pub(super) async fn nudged(&self) {
        self.nudge.notified().await;
    }

    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Every record made before this moment is committed, and none will be made before it any more.
    pub(super) fn nothing_waits_before(&self) -> Timestamp {
        let mut line = self.line.lock();
        let now = line.stamp(self.clock.now());
        let first = line.in_hand_since.or_else(|| line.waiting.front().map(|first| first.record.created_at));
        first.map_or(now, |first| first.min(now))
    }

    pub(super) fn gauges(&self) -> Gauges {
        let line = self.line.lock();
        let queued = line.waiting.len() + line.in_hand;
        drop(line);
        Gauges {
            capacity: self.capacity as u64,
            taken: self.taken.load(Ordering::Relaxed) as u64,
            queued: queued as u64,
            committed_total: *self.committed.borrow(),
            batches_total: self.batches.load(Ordering::Relaxed),
            retries_total: self.retries.load(Ordering::Relaxed),
            refused_total: self.refused.load(Ordering::Relaxed),
            lost_total: self.lost.load(Ordering::Relaxed),
        }
    }
}

impl Line {
    /// The time for a record that joins now: never before the one ahead of it, unless the clock was set back. Meanwhile
    /// time stands still.
    fn stamp(&mut self, now: Timestamp) -> Timestamp {
        if now > self.last_stamp || self.last_stamp.since(now) > JITTER {
            self.last_stamp = now;
        }
        self.last_stamp
    }
}
