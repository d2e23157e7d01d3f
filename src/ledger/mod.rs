//! A node's books: room for a record is reserved before money is spent, the record is written in groups, and nothing
//! is ever dropped.
//!
//! The life of a record: [`Ledger::reserve`] gives a [`Reservation`] or says that the ledger is full;
//! [`Reservation::record`] hands the record over without waiting and gives a [`Receipt`]; the [`UsageWriter`] commits
//! what waits, one transaction per batch; [`Receipt::committed`] tells. The room is free again after the commit, so
//! reservations, waiting records and the batch being written together never exceed `usage.queue`.
//!
//! While the database takes no records, no room is given, so nothing is bought that cannot be booked. What was bought
//! before goes to the [`Emergency`] file, which counts as a commit, and from there or from memory into the database as
//! soon as it can.

mod apply_batch;
mod bounds;
mod emergency;
mod queue;
mod retention;
mod stats;
mod write_health;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::config::UsageConfig;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::ids::{LedgerId, RequestId, UserId};
use crate::domain::summary::Dismissed;
use crate::store::{Error, Store, UsageRepo};
use crate::telemetry::{Histogram, scrape};

pub use apply_batch::AppliedBatch;
pub use bounds::ClampedRecord;
pub use emergency::Emergency;
pub use queue::{Full, NotCommitted, Receipt, Reservation};
pub use retention::Retention;
pub use stats::LedgerStats;
pub use writer::UsageWriter;

use queue::Queue;

/// Rows that one step of marking looks at: small enough that new records get in between.
pub const MARK_STEP: u32 = 2_000;

#[derive(Clone, Debug)]
pub struct Ledger {
    store: Store,
    queue: Arc<Queue>,
    commit_seconds: Histogram,
}

impl Ledger {
    /// A ledger on `store`, and its writer, which has to be run. `synced_at_once`: this node is a leader, nobody else
    /// has to be told of its records.
    #[must_use]
    pub fn open(
        store: Store,
        config: &UsageConfig,
        synced_at_once: bool,
        clock: Arc<dyn Clock>,
    ) -> (Self, UsageWriter) {
        let queue = Arc::new(Queue::new(config.queue, config.commit_timeout, clock));
        let commit_seconds = Histogram::default();
        let ledger =
            Self { store: store.clone(), queue: queue.clone(), commit_seconds: commit_seconds.clone() };
        (ledger, UsageWriter::new(store, queue, config.batch, synced_at_once, commit_seconds))
    }

    /// Reserves room for one record of `user`, who has a share of the places ([`crate::domain::share`]). Never waits;
    /// costs a short lock.
    ///
    /// # Errors
    /// [`Full`] when every place is taken or the user's share is, when the database takes no records at the moment, or
    /// when the node is shutting down.
    pub fn reserve(&self, user: UserId) -> Result<Reservation, Full> {
        Queue::reserve(&self.queue, user)
    }

    /// Why the database takes no records at the moment; `None` if it does.
    #[must_use]
    pub fn write_failure(&self) -> Option<String> {
        self.queue.write_health.reason()
    }

    /// Waits until everything that was recorded before this call is committed.
    ///
    /// # Errors
    /// [`NotCommitted`] when the writer ended first.
    pub async fn flush(&self) -> Result<(), NotCommitted> {
        self.queue.flush().await
    }

    /// Waits until the writer has ended: nothing is written after that.
    pub async fn wait(&self) {
        self.queue.closed().await;
    }

    /// Waits until something was committed since the last call: a reason to push.
    pub async fn nudged(&self) {
        self.queue.nudged().await;
    }

    /// A time up to which this node owes nothing: every record with `created_at` at or before it is committed, and
    /// the leader has acknowledged it. What the leader refused, and what is set aside for that, is owed.
    pub async fn synced_through(&self) -> Result<Timestamp, Error> {
        // Memory first: what moves from memory to the database in between is seen at least once.
        let in_memory = self.queue.committed_before();
        let in_database = [self.usage().oldest_unsynced().await?, self.usage().oldest_set_aside().await?];
        let first_owed = in_database.into_iter().flatten().fold(in_memory, Timestamp::min);
        Ok(first_owed.minus(Duration::from_micros(1)))
    }

    /// Marks everything as unsynced, in steps, and notes what the ledger before, `left`, had acknowledged: the leader
    /// has another one. Safe to repeat.
    ///
    /// # Errors
    /// [`Error`] of the database; what was marked stays marked.
    pub async fn mark_all_unsynced(&self, left: Option<LedgerId>) -> Result<u64, Error> {
        let marked = self.usage().mark_all_unsynced(left, MARK_STEP).await?;
        self.queue.nudge();
        Ok(marked)
    }

    /// Marks what the leader acknowledged in later batches than `batch` as unsynced, in steps: the leader's database is
    /// an older one. Safe to repeat.
    ///
    /// # Errors
    /// [`Error`] of the database; what was marked stays marked.
    pub async fn mark_unsynced_after(&self, batch: u64) -> Result<u64, Error> {
        let marked = self.usage().mark_unsynced_after(batch, MARK_STEP).await?;
        self.queue.nudge();
        Ok(marked)
    }

    /// Offers the leader again what it refused; returns how many records.
    pub async fn retry_set_aside(&self) -> Result<u64, Error> {
        let offered = self.usage().retry_set_aside().await?;
        self.queue.nudge();
        Ok(offered)
    }

    /// The sums of the records that the leader refused and that are set aside.
    pub async fn sum_set_aside(&self) -> Result<Dismissed, Error> {
        let (mut sum, mut after) = (Dismissed::default(), None);
        loop {
            let records = self.usage().list_set_aside(after, MARK_STEP as usize).await?;
            let Some(last) = records.last() else { return Ok(sum) };
            after = Some((last.created_at, last.request_id));
            for record in &records {
                sum.add(record);
            }
        }
    }

    /// Gives up what the leader refused, in steps: it is owed no more, and no sum has it. What it was is added to `sum`
    /// as it is given up. Safe to repeat.
    ///
    /// # Errors
    /// [`Error`] of the database; what was given up stays given up.
    pub async fn dismiss_set_aside(&self, now: Timestamp, sum: &mut Dismissed) -> Result<(), Error> {
        loop {
            let records = self.usage().dismiss_set_aside(now, MARK_STEP).await?;
            if records.is_empty() {
                return Ok(());
            }
            for record in &records {
                sum.add(record);
            }
        }
    }

    /// Records that the leader has acknowledged `ids`, and in which of its batches, if it counts them.
    ///
    /// # Errors
    /// [`Error`] of the database; marking again is harmless.
    pub async fn mark_synced(&self, ids: &[RequestId], batch: Option<u64>) -> Result<(), Error> {
        self.usage().mark_synced(ids, batch).await
    }

    #[must_use]
    pub fn usage(&self) -> UsageRepo<'_> {
        UsageRepo::on(&self.store)
    }

    #[must_use]
    pub fn stats(&self) -> LedgerStats {
        self.queue.stats()
    }
}

impl Collector for Ledger {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How long a transaction of the ledger took that was committed.";
        scrape::histogram(&mut to, "sproxy_ledger_commit_seconds", help, &self.commit_seconds)?;
        self.stats().encode(&mut to)
    }
}
