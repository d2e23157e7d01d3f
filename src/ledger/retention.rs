//! Removes usage logs that are old and that nobody needs any more. Sums stay.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::domain::clock::Clock;
use crate::domain::ids::NodeId;
use crate::store::{Error, Store, UsageRepo};

/// Interval between two sweeps.
const EVERY: Duration = Duration::from_mins(10);
/// Logs removed in one transaction: a few milliseconds, so that the writer gets in between.
const STEP: u32 = 1_000;
/// Between two transactions of a sweep: the writer goes first.
const STEP_PAUSE: Duration = Duration::from_millis(50);

pub struct Retention {
    pub store: Store,
    /// `usage.retention`
    pub keep: Duration,
    /// The node whose own the logs are that nobody pushes again: what others may still push is kept longer. None, where
    /// leaders share the database: all of them push.
    pub own: Option<NodeId>,
    pub clock: Arc<dyn Clock>,
}

impl Retention {
    /// Sweeps at once and then every ten minutes, until it is asked to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                swept = self.sweep() => match swept {
                    Ok(0) => {}
                    Ok(removed) => tracing::info!(removed, "usage logs older than usage.retention removed"),
                    Err(error) => tracing::warn!(%error, "old usage logs could not be removed; trying again later"),
                },
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Removes what is older than `usage.retention`, synced, and can never be pushed again. Returns how many. Safe to
    /// repeat and to interrupt.
    ///
    /// # Errors
    /// [`Error`] of the database; what was removed stays removed.
    pub async fn sweep(&self) -> Result<u64, Error> {
        let before = self.clock.now().minus(self.keep);
        let mut removed = 0;
        loop {
            let usage = UsageRepo::on(&self.store);
            let step = usage.delete_synced_before(before, self.own.as_ref(), STEP).await?;
            removed += step;
            if step < u64::from(STEP) {
                return Ok(removed);
            }
            sleep(STEP_PAUSE).await;
        }
    }
}
