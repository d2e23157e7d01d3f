//! The one task that writes a node's own records. It never waits for a batch to fill: it commits what is there, and
//! while it does, the next batch gathers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{Instant, interval, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::domain::usage::UsageRecord;
use crate::ledger::emergency::Emergency;
use crate::ledger::queue::{Batch, Queue};
use crate::store::{Error, Store, UsageRepo};
use crate::telemetry::Histogram;

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// A transaction that takes longer is given up and tried again: the database's machine is gone without closing the
/// connection. Those who wait for it have their answers as soon as the emergency file has their records, so this is
/// well below the time for which they wait (`usage.commit_timeout`, 30 s if nobody sets it).
const TRANSACTION_MAX: Duration = Duration::from_secs(10);
/// How long the writer, asked to end, waits for reservations that are still out.
const LAST_RECORDS: Duration = Duration::from_secs(2);
/// Interval at which the database's files are checked while there is nothing to write.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The ledger's writer. Has to be run; owns nothing that could be lost, the queue holds what waits.
#[derive(Debug)]
pub struct UsageWriter {
    store: Store,
    queue: Arc<Queue>,
    batch: usize,
    synced: bool,
    commit_seconds: Histogram,
    emergency: Option<Emergency>,
    /// Records in the emergency file that are not in the database.
    owed: usize,
}

impl UsageWriter {
    pub(super) fn new(
        store: Store,
        queue: Arc<Queue>,
        batch: usize,
        synced: bool,
        commit_seconds: Histogram,
    ) -> Self {
        Self { store, queue, batch: batch.max(1), synced, commit_seconds, emergency: None, owed: 0 }
    }

    /// The writer with a file for what the database does not take, and what an earlier process `left` there.
    #[must_use]
    pub fn with_emergency(mut self, file: Emergency, left: Vec<UsageRecord>) -> Self {
        self.emergency = Some(file);
        self.owed = left.len();
        self.queue.recover(left);
        self
    }

    /// Writes until it is asked to stop, then what is left. A database that fails is tried until it works: meanwhile
    /// requests are refused, but no record is dropped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut check = interval(CHECK_EVERY);
        loop {
            tokio::select! {
                () = self.queue.record_available() => self.write_batch(&stop).await,
                _ = check.tick() => self.check_files(),
                () = stop.cancelled() => break,
            }
        }
        let deadline = Instant::now() + LAST_RECORDS;
        while !((self.queue.is_idle() || Instant::now() >= deadline) && self.queue.close_if_empty()) {
            let _at_the_deadline = timeout_at(deadline, self.queue.record_or_idle()).await;
            self.write_batch(&stop).await;
        }
    }

    /// A database whose files were removed takes records, and they are gone with the process.
    fn check_files(&self) {
        match self.store.is_in_place() {
            Ok(()) if self.queue.write_health.is_failing() => {
                tracing::info!("the database is in its place again");
                self.queue.write_health.recovered();
            }
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, "no call is made any more");
                self.queue.write_health.failed(error.to_string());
            }
        }
    }

    async fn write_batch(&mut self, stop: &CancellationToken) {
        // Whoever is ready to run now may end an answer too: one transaction for all of them costs little more than
        // one for the first. Nobody waits for that: with nothing else to run it goes on at once.
        yield_now().await;
        let batch = self.queue.dequeue(self.batch);
        if batch.records.is_empty() {
            return;
        }
        match self.commit(&batch).await {
            Ok(()) => self.done(batch).await,
            Err(error) => self.write_when_possible(batch, error, stop).await,
        }
    }

    /// The database has refused `first`. Until it takes it, nobody gets room for more; what comes from calls that were
    /// under way goes to the emergency file, and one transaction after the other is tried.
    async fn write_when_possible(&mut self, first: Batch, error: Error, stop: &CancellationToken) {
        let since = Instant::now();
        let mut kept = VecDeque::from([first]);
        let mut wait = FIRST_RETRY;
        let mut next_try = since + wait;
        self.queue.retried();
        self.failed(&error, &kept, since);
        while !kept.is_empty() {
            for batch in &mut kept {
                self.save_to_emergency_file(batch).await;
            }
            if stop.is_cancelled() && kept.iter().all(|batch| batch.safe == batch.records.len()) {
                let records: usize = kept.iter().map(|batch| batch.records.len()).sum();
                tracing::error!(records, "usage could not be written: the next start books it");
                for batch in kept {
                    self.queue.abandon(batch);
                }
                return;
            }
            if self.collect_until(next_try, &mut kept).await {
                continue;
            }
            while let Some(next) = kept.pop_front() {
                if let Err(error) = self.commit(&next).await {
                    kept.push_front(next);
                    self.queue.retried();
                    self.failed(&error, &kept, since);
                    break;
                }
                self.done(next).await;
                wait = FIRST_RETRY;
            }
            wait = (wait * 2).min(LONGEST_RETRY);
            next_try = Instant::now() + wait;
        }
        tracing::info!(failed_for = ?since.elapsed(), "usage can be written again");
        self.queue.write_health.recovered();
    }

    fn failed(&self, error: &Error, kept: &VecDeque<Batch>, since: Instant) {
        let waiting: usize = kept.iter().map(|batch| batch.records.len()).sum();
        tracing::error!(%error, waiting, failing_for = ?since.elapsed(), "usage cannot be written; trying again");
        self.queue.write_health.failed(error.to_string());
    }

    /// Takes what arrives until `next_try`; false when that has come.
    async fn collect_until(&self, next_try: Instant, kept: &mut VecDeque<Batch>) -> bool {
        tokio::select! {
            biased;
            () = sleep_until(next_try) => false,
            () = self.queue.record_available() => {
                kept.push_back(self.queue.dequeue(self.batch));
                true
            }
        }
    }

    /// Puts a batch into the emergency file, and notifies those who wait that it cannot be lost. If that fails, they go
    /// on waiting.
    async fn save_to_emergency_file(&mut self, batch: &mut Batch) {
        let missing = batch.records.len() - batch.safe;
        let Some(mut file) = self.emergency.take_if(|_| missing > 0) else { return };
        let (records, safe) = (Arc::clone(&batch.records), batch.safe);
        let appended = spawn_blocking(move || {
            let appended = file.append(records.iter().skip(safe));
            (file, appended)
        });
        let Ok((file, appended)) = appended.await else { return };
        self.emergency = Some(file);
        match appended {
            Ok(()) => {
                batch.safe += missing;
                self.owed += missing;
                batch.notify();
            }
            Err(error) => tracing::error!(%error, records = missing, "usage is held in memory alone"),
        }
    }

    async fn done(&mut self, batch: Batch) {
        let safe = batch.safe;
        self.queue.done(batch);
        if safe > 0 {
            self.owed = self.owed.saturating_sub(safe);
            self.empty_emergency().await;
        }
    }

    /// Everything in the file is in the database now.
    async fn empty_emergency(&mut self) {
        let Some(mut file) = self.emergency.take_if(|_| self.owed == 0) else { return };
        let emptied = spawn_blocking(move || {
            let emptied = file.empty();
            (file, emptied)
        });
        if let Ok((file, emptied)) = emptied.await {
            self.emergency = Some(file);
            if let Err(error) = emptied {
                tracing::warn!(%error, "the emergency file is not emptied; it is read once more at the next start");
            }
        }
    }

    /// One transaction. A record that is there already, because an earlier attempt did commit, counts as committed.
    async fn commit(&self, batch: &Batch) -> Result<(), Error> {
        self.store.is_in_place()?;
        let (insert, began) = (UsageRepo::on(&self.store), Instant::now());
        match timeout(TRANSACTION_MAX, insert.insert_own_batch(&batch.records, self.synced)).await {
            Ok(inserted) => inserted.map(|_| self.commit_seconds.observe(began.elapsed())),
            Err(_) => Err(Error::Unavailable(format!("no answer within {TRANSACTION_MAX:?}"))),
        }
    }
}
