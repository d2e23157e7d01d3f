//! What a node does now and then: checks of targets, housekeeping, retention, backups.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::allocator;
use super::backups::Backups;
use super::shared_parts::SharedParts;
use super::supervisor::{Stage, Supervisor};
use crate::config::BackupConfig;
use crate::ledger::Retention;
use crate::upstream::probe_all;

/// Interval of target checks.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// Interval of housekeeping.
const TIDY_EVERY: Duration = Duration::from_mins(1);

/// Starts it.
pub(super) fn start(supervisor: &mut Supervisor, base: &SharedParts, backup: &BackupConfig) {
    let live = Arc::clone(&base.live);
    supervisor.spawn(Stage::Background, "target checks", |stop| {
        let leaving = stop.clone();
        repeat(PROBE_EVERY, stop, move || {
            let (upstream, leaving) = (Arc::clone(&live.now().upstream), leaving.clone());
            async move {
                upstream.close_idle();
                // Nobody wants to know any more when the node leaves, and a silent target must not hold it up.
                let _unless_leaving = leaving.run_until_cancelled(probe_all(&upstream)).await;
            }
        })
    });
    supervisor.spawn(Stage::Background, "memory", |stop| {
        repeat(allocator::INTERVAL, stop, || async { allocator::give_back() })
    });
    let accounts = base.accounts.clone();
    supervisor.spawn(Stage::Background, "accounts upkeep", |stop| {
        repeat(TIDY_EVERY, stop, move || {
            let accounts = accounts.clone();
            async move {
                if let Err(error) = accounts.maintain().await {
                    tracing::warn!(%error, "housekeeping of accounts failed; it is tried again");
                }
            }
        })
    });
    if let Some(oidc) = base.oidc.clone() {
        supervisor.spawn(Stage::Background, "checks at the identity provider", |stop| {
            let leaving = stop.clone();
            repeat(TIDY_EVERY, stop, move || {
                let (oidc, leaving) = (Arc::clone(&oidc), leaving.clone());
                async move {
                    // Whoever was not asked about is the next time, here or at another leader.
                    let _unless_leaving = leaving.run_until_cancelled(Box::pin(oidc.check_due())).await;
                }
            })
        });
    }
    if let Some(ldap) = base.ldap.clone() {
        let accounts = base.accounts.clone();
        supervisor.spawn(Stage::Background, "checks in the directory", |stop| {
            let leaving = stop.clone();
            repeat(TIDY_EVERY, stop, move || {
                let (ldap, accounts, leaving) = (Arc::clone(&ldap), accounts.clone(), leaving.clone());
                async move {
                    let checked = Box::pin(ldap.check_due(&accounts));
                    let _unless_leaving = leaving.run_until_cancelled(checked).await;
                }
            })
        });
    }
    if let Some(every) = backup.every {
        let backups = Backups {
            store: base.store.clone(),
            node: base.id.clone(),
            directory: backup.directory.clone(),
            every,
            keep: backup.keep,
            clock: Arc::clone(&base.clock),
            metrics: base.backups.clone(),
        };
        supervisor.spawn(Stage::Background, "backups", |stop| backups.run(stop));
    }
    let own = (base.spool.as_ref().unwrap_or(&base.store), Some(base.id.clone()));
    let shared = base.spool.as_ref().map(|_| (&base.store, None));
    for (store, own) in [own].into_iter().chain(shared) {
        let (store, clock) = (store.clone(), Arc::clone(&base.clock));
        let retention = Retention { store, keep: base.retention, own, clock };
        supervisor.spawn(Stage::Background, "retention", |stop| retention.run(stop));
    }
}

/// Does `work` now and then, and once more when it is asked to end.
async fn repeat<F: Future<Output = ()>>(
    every: Duration,
    stop: CancellationToken,
    mut work: impl FnMut() -> F,
) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => work().await,
            () = stop.cancelled() => return work().await,
        }
    }
}
