//! The one task that writes a node's own records. It never waits for a batch to fill: it commits what is there, and
//! while it does, the next batch gathers.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::domain::usage::UsageRecord;
use crate::ledger::queue::Queue;
use crate::store::{Error, Store, UsageRepo};

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// A transaction that takes longer is given up and tried again: the database's machine is gone without a word.
const TRANSACTION_MAX: Duration = Duration::from_mins(1);
/// How long the writer, asked to end, waits for reservations that are still out.
const LAST_RECORDS: Duration = Duration::from_secs(2);

/// The ledger's writer. Has to be run; owns nothing that could be lost, the queue holds what waits.
#[derive(Debug)]
pub struct UsageWriter {
    store: Store,
    queue: Arc<Queue>,
    batch: usize,
    synced: bool,
}

impl UsageWriter {
    pub(super) fn new(store: Store, queue: Arc<Queue>, batch: usize, synced: bool) -> Self {
        Self { store, queue, batch: batch.max(1), synced }
    }

    /// Writes until it is asked to stop, then what is left. A database that fails is tried until it works: meanwhile
    /// places run out and requests are refused, but no record is dropped.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.queue.something_waits() => self.write_batch().await,
                () = stop.cancelled() => break,
            }
        }
        let deadline = Instant::now() + LAST_RECORDS;
        while !((self.queue.is_idle() || Instant::now() >= deadline) && self.queue.close_if_empty()) {
            let _at_the_deadline = timeout_at(deadline, self.queue.something_waits_or_nothing_can()).await;
            self.write_batch().await;
        }
    }

    async fn write_batch(&self) {
        // Whoever is ready to run now may end an answer too: one transaction for all of them costs little more than
        // one for the first. Nobody waits for that: with nothing else to run it goes on at once.
        yield_now().await;
        let batch = self.queue.take(self.batch);
        if batch.records.is_empty() {
            return;
        }
        let mut wait = FIRST_RETRY;
        let mut failed_since = None;
        while let Err(error) = self.commit(&batch.records).await {
            let since = *failed_since.get_or_insert_with(Instant::now);
            let waiting = batch.records.len();
            tracing::error!(%error, waiting, failing_for = ?since.elapsed(), "usage cannot be written; trying again");
            self.queue.retried();
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_RETRY);
        }
        if let Some(since) = failed_since {
            tracing::info!(failed_for = ?since.elapsed(), "usage can be written again");
        }
        self.queue.done(batch);
    }

    /// One transaction. A record that is there already, because an earlier attempt did commit, counts as committed.
    async fn commit(&self, records: &[UsageRecord]) -> Result<(), Error> {
        let insert = UsageRepo::on(&self.store);
        match timeout(TRANSACTION_MAX, insert.insert_batch(records, self.synced)).await {
            Ok(inserted) => inserted.map(drop),
            Err(_) => Err(Error::Unavailable(format!("no answer within {TRANSACTION_MAX:?}"))),
        }
    }
}
