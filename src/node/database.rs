//! The node's database, which is this process's alone.

use std::sync::Arc;

use super::supervisor::{Stage, Supervisor};
use super::waiting::EarlyListener;
use crate::config::{self, Config, Database};
use crate::domain::clock::{Clock as _, Timestamp};
use crate::domain::plausible_clock::PlausibleClock;
use crate::store::{self, DatabaseLock, Location, MetaKey, MetaRepo, Store, UsageRepo};

/// Takes and opens the database. Whoever else may have it is waited for at the server: health is answered meanwhile.
pub(super) async fn open(
    config: &Config,
    entrance: &EarlyListener,
) -> Result<(Store, Arc<DatabaseLock>), store::Error> {
    let location = location(config);
    let taking = DatabaseLock::acquire(&location);
    let lock = match location {
        Location::Sqlite { .. } => taking.await?,
        Location::Postgres { .. } => {
            let reason = "the database may be in use by another process: waiting for its lock".to_owned();
            Box::pin(entrance.while_waiting(reason, taking)).await?
        }
    };
    Ok((Store::open(&location).await?, Arc::new(lock)))
}

/// Two that write into one database, each by its own memory, are worse than one that stops: the task ends, and the node
/// goes down with it.
pub(super) fn keep(lock: &Arc<DatabaseLock>, supervisor: &mut Supervisor) {
    let lock = Arc::clone(lock);
    supervisor.spawn(Stage::Background, "database lock", |stop| async move {
        if let Some(lost) = stop.run_until_cancelled(lock.keep()).await {
            tracing::error!("{lost}; this node had it before, and stops");
        }
    });
}

/// The machine's clock; while it cannot be right, the last time that the usage log knows.
pub(super) async fn clock_of(store: &Store) -> Result<PlausibleClock, store::Error> {
    let clock = PlausibleClock::new();
    if let Some(newest) = UsageRepo::on(store).newest_time().await? {
        clock.not_before(newest);
    }
    let heard = MetaRepo::on(store).get(MetaKey::LeaderHeardAt).await?;
    if let Some(heard) = heard.and_then(|micros| micros.parse().ok()) {
        clock.not_before(Timestamp::from_micros(heard));
    }
    if !clock.is_sound() {
        tracing::error!(
            goes_by = %clock.now(),
            "the machine's clock cannot be right: set it. Until then the node goes by what its books know"
        );
    }
    Ok(clock)
}

fn location(config: &Config) -> Location {
    match &config.store.database {
        Database::Sqlite(path) => Location::Sqlite {
            path: path.clone(),
            synchronous: match config.store.synchronous {
                config::Synchronous::Normal => store::Synchronous::Normal,
                config::Synchronous::Full => store::Synchronous::Full,
            },
        },
        Database::Postgres(url) => Location::Postgres { url: url.expose().to_owned() },
    }
}
