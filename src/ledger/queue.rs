//! The queue between those who answer requests and the writer: places, waiting records, and who waits for their commit.
//!
//! `created_at` is stamped here, under the same lock that queues the record. So the queue is in the order of time,
//! and its head says what is not committed yet.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use crate::domain::clock::{Clock, JITTER, Timestamp};
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::UserId;
use crate::domain::share::{COUNTED, NoRoom, Shares};
use crate::domain::usage::UsageRecord;
use crate::ledger::bounds::ClampedRecord;
use crate::ledger::stats::LedgerStats;
use crate::ledger::write_health::WriteHealth;

/// No room in the ledger: the request must not be sent upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Every place is taken: the database is too slow, or away.
    #[error("the ledger is full: {0} calls are in flight or wait to be written; try again")]
    NoPlace(usize),
    /// The user holds the largest share of the places that one user may.
    #[error(
        "the ledger's other places are for other users: {held} calls of yours hold one of its {capacity} places each; \
         let some of them end first"
    )]
    Share {
        held: usize,
        /// `usage.queue`
        capacity: usize,
    },
    #[error("the ledger cannot be written at the moment, so no call is made; try again")]
    Failing,
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
    #[error("its record is not in the books yet, because the database is slow or away")]
    Late,
    /// The writer ended before.
    #[error("the node is shutting down")]
    Closed,
}

impl From<NotCommitted> for Failure {
    /// The call was made, and is paid for: whoever makes it again pays twice.
    fn from(error: NotCommitted) -> Self {
        let message = format!(
            "the answer is there, but cannot be handed out: {error}. The call counts; do not repeat it"
        );
        Self::new(Kind::Internal, message).final_one()
    }
}

pub(super) struct Queue {
    commit_timeout: Duration,
    clock: Arc<dyn Clock>,
    places: Shares<UserId>,
    pub(super) write_health: WriteHealth,
    state: Mutex<QueueState>,
    /// Something is queued, or the writer should look up.
    arrived: Notify,
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
        f.debug_struct("Queue").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Waiting>,
    /// Records that the writer is writing, and when the first of them was made.
    in_flight: usize,
    in_flight_since: Option<Timestamp>,
    /// How many of `waiting`, its first ones, were recovered from the emergency file.
    recovered: usize,
    /// Records ever queued.
    recorded: u64,
    last_stamp: Timestamp,
    closed: bool,
}

struct Waiting {
    record: UsageRecord,
    /// `None` if an earlier process left it in the emergency file, so that nobody waits for it.
    waiter: Option<Waiter>,
}

/// Who waits for a record's commit, and the slot that the record holds until then.
struct Waiter {
    /// `None` once notified.
    notify: Option<oneshot::Sender<()>>,
    place: Slot,
}

/// Records that the writer is writing.
pub(super) struct Batch {
    pub(super) records: Arc<Vec<UsageRecord>>,
    /// How many of `records`, its first ones, are in the emergency file.
    pub(super) safe: usize,
    waiters: Vec<Waiter>,
}

impl Batch {
    /// Tells everyone who waits: the records cannot be lost any more. They keep their places.
    pub(super) fn notify(&mut self) {
        for notify in self.waiters.iter_mut().filter_map(|waiter| waiter.notify.take()) {
            let _nobody_waits = notify.send(());
        }
    }
}

/// One place of the queue; free again when dropped.
struct Slot {
    queue: Arc<Queue>,
    user: UserId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.queue.places.give_back(self.user, 1) {
            self.queue.arrived.notify_one();
        }
    }
}

/// Room for one record. Dropped without a record, it is free again.
pub struct Reservation(Slot);

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reservation")
    }
}

impl Reservation {
    /// Hands the record over. Never waits and never fails: the room was reserved. Stamps `created_at` with the present
    /// moment, and brings what no database or leader would take (endless texts, absurd counts) within bounds, if that
    /// has not been done.
    #[must_use]
    pub fn record(self, record: impl Into<ClampedRecord>) -> Receipt {
        let queue = Arc::clone(&self.0.queue);
        let (notify, committed) = oneshot::channel();
        let record = record.into().into_inner();
        queue.enqueue(Waiting { record, waiter: Some(Waiter { notify: Some(notify), place: self.0 }) });
        Receipt { committed, commit_timeout: queue.commit_timeout }
    }
}

/// Resolves when the record is committed. Dropping it changes nothing for the record.
#[derive(Debug)]
pub struct Receipt {
    committed: oneshot::Receiver<()>,
    commit_timeout: Duration,
}

impl Receipt {
    /// Waits for the commit, at most `usage.commit_timeout`.
    ///
    /// # Errors
    /// [`NotCommitted`] when that takes too long, or the writer ended.
    pub async fn committed(self) -> Result<(), NotCommitted> {
        match tokio::time::timeout(self.commit_timeout, self.committed).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(NotCommitted::Closed),
            Err(_) => Err(NotCommitted::Late),
        }
    }
}

impl Queue {
    pub(super) fn new(capacity: usize, commit_timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            commit_timeout,
            clock,
            places: Shares::new(capacity, COUNTED),
            write_health: WriteHealth::default(),
            state: Mutex::default(),
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

    pub(super) fn reserve(this: &Arc<Self>, user: UserId) -> Result<Reservation, Full> {
        if this.is_closed.load(Ordering::Acquire) {
            return Err(Full::Closed);
        }
        let taken = if this.write_health.is_failing() {
            Err(Full::Failing)
        } else {
            let capacity = this.places.total();
            this.places.take(user, 1).map_err(|none| match none {
                NoRoom::Exhausted => Full::NoPlace(capacity),
                NoRoom::Share(held) => Full::Share { held, capacity },
            })
        };
        match taken {
            Ok(()) => Ok(Reservation(Slot { queue: Arc::clone(this), user })),
            Err(full) => {
                this.refused.fetch_add(1, Ordering::Relaxed);
                Err(full)
            }
        }
    }

    /// Queues what an earlier process left in the emergency file, with its time as it was.
    pub(super) fn recover(&self, left: Vec<UsageRecord>) {
        let mut state = self.state.lock();
        state.recorded += left.len() as u64;
        state.recovered += left.len();
        state.waiting.extend(left.into_iter().map(|record| Waiting { record, waiter: None }));
        drop(state);
        self.arrived.notify_one();
    }

    fn enqueue(&self, mut waiting: Waiting) {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            self.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(request_id = %waiting.record.request_id, "a record came after the ledger was closed");
            return;
        }
        waiting.record.created_at = state.stamp(self.clock.now());
        state.recorded += 1;
        state.waiting.push_back(waiting);
        drop(state);
        self.arrived.notify_one();
    }

    /// Waits until something is queued, or no place is taken and so nothing can come. The writer's alone.
    pub(super) async fn record_or_idle(&self) {
        while self.state.lock().waiting.is_empty() && !self.is_idle() {
            self.arrived.notified().await;
        }
    }

    /// Waits until something is queued. The writer's alone.
    pub(super) async fn record_available(&self) {
        while self.state.lock().waiting.is_empty() {
            self.arrived.notified().await;
        }
    }

    /// Takes up to `most` records from the head of the queue.
    pub(super) fn dequeue(&self, most: usize) -> Batch {
        let mut state = self.state.lock();
        let most = most.min(state.waiting.len());
        let safe = most.min(state.recovered);
        state.recovered -= safe;
        let taken = state.waiting.drain(..most).map(|Waiting { record, waiter }| (record, waiter));
        let (records, waiters): (Vec<UsageRecord>, Vec<Option<Waiter>>) = taken.unzip();
        state.in_flight += records.len();
        state.in_flight_since =
            state.in_flight_since.or_else(|| records.first().map(|first| first.created_at));
        Batch { records: Arc::new(records), safe, waiters: waiters.into_iter().flatten().collect() }
    }

    /// A batch is committed: frees the places and tells everyone who waits.
    pub(super) fn done(&self, batch: Batch) {
        let count = batch.records.len() as u64;
        self.release_in_flight(&batch);
        self.batches.fetch_add(1, Ordering::Relaxed);
        for Waiter { notify, place } in batch.waiters {
            drop(place);
            let _nobody_waits = notify.map(|notify| notify.send(()));
        }
        self.committed.send_modify(|committed| *committed += count);
        self.nudge();
    }

    /// Gives up a batch that is in the emergency file: the next process books it from there.
    pub(super) fn abandon(&self, batch: Batch) {
        self.release_in_flight(&batch);
        drop(batch);
    }

    fn release_in_flight(&self, batch: &Batch) {
        let mut state = self.state.lock();
        state.in_flight -= batch.records.len();
        if state.in_flight == 0 {
            state.in_flight_since = None;
        }
    }

    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Closes the queue if nothing is queued; from then on nothing can be recorded. False: something came.
    pub(super) fn close_if_empty(&self) -> bool {
        let mut state = self.state.lock();
        if !state.waiting.is_empty() {
            return false;
        }
        state.closed = true;
        drop(state);
        self.is_closed.store(true, Ordering::Release);
        self.committed.send_modify(|_| {});
        true
    }

    /// No place is taken: nobody can record.
    pub(super) fn is_idle(&self) -> bool {
        self.places.taken() == 0
    }

    pub(super) async fn flush(&self) -> Result<(), NotCommitted> {
        let recorded = self.state.lock().recorded;
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
    pub(super) fn committed_before(&self) -> Timestamp {
        let mut state = self.state.lock();
        let now = state.stamp(self.clock.now());
        let first =
            state.in_flight_since.or_else(|| state.waiting.front().map(|first| first.record.created_at));
        first.map_or(now, |first| first.min(now))
    }

    pub(super) fn stats(&self) -> LedgerStats {
        let state = self.state.lock();
        let queued = state.waiting.len() + state.in_flight;
        drop(state);
        LedgerStats {
            capacity: self.places.total() as u64,
            taken: self.places.taken() as u64,
            is_failing: self.write_health.is_failing(),
            queued: queued as u64,
            committed_total: *self.committed.borrow(),
            batches_total: self.batches.load(Ordering::Relaxed),
            retries_total: self.retries.load(Ordering::Relaxed),
            refused_total: self.refused.load(Ordering::Relaxed),
            lost_total: self.lost.load(Ordering::Relaxed),
        }
    }
}

impl QueueState {
    /// The time for a record that joins now: never before the one ahead of it, unless the clock was set back. Meanwhile
    /// time stands still.
    fn stamp(&mut self, now: Timestamp) -> Timestamp {
        if now > self.last_stamp || self.last_stamp.since(now) > JITTER {
            self.last_stamp = now;
        }
        self.last_stamp
    }
}
