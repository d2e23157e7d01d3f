//! The node's database, which is this process's alone; of a leader on PostgreSQL, the one that leaders share, and one of
//! its own beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::supervisor::{Stage, Supervisor};
use super::waiting::{EarlyListener, Reason};
use crate::cluster::retry::Backoff;
use crate::config::{self, Config, Database};
use crate::domain::clock::{Clock as _, Timestamp};
use crate::domain::plausible_clock::PlausibleClock;
use crate::store::{self, DatabaseLock, Location, MetaKey, MetaRepo, Sharing, Store, UsageRepo};

/// The file of a leader's own books, where its database is shared.
pub(super) const SPOOL: &str = "spool.db";
const MAY_BE_IN_USE: &str = "the database may be in use by another process: waiting for its lock";
/// A server that stays away is logged again after so long.
const SAY_AGAIN: Duration = Duration::from_secs(30);
/// The file of a node's database, where nothing else is configured.
const EMBEDDED: &str = "sproxy.db";

pub(super) struct Databases {
    /// Accounts, and the usage of the node or of the whole cluster.
    pub(super) store: Store,
    /// The right to it.
    pub(super) lock: Arc<DatabaseLock>,
    /// This node's own usage, which is pushed to `store`.
    pub(super) spool: Option<Store>,
}

impl Databases {
    /// Where this node books its own usage.
    pub(super) fn books(&self) -> &Store {
        self.spool.as_ref().unwrap_or(&self.store)
    }
}

/// Takes and opens the databases of a node that leads if it has no leader to follow. A server that is away is waited for,
/// and so is whoever else may have the database: health is answered meanwhile.
pub(super) async fn open(config: &Config, entrance: &EarlyListener) -> Result<Databases, store::Error> {
    let location = location(config);
    let shares = matches!(location, Location::Postgres { .. }) && config.cluster.leader.is_none();
    let sharing = if shares { Sharing::Shared } else { Sharing::Alone };
    let spool = if shares { Some(open_spool(config).await?) } else { None };
    let (lock, store) = match location {
        Location::Sqlite { .. } => take(&location, sharing).await?,
        Location::Postgres { .. } => {
            let reason = Reason::new(MAY_BE_IN_USE);
            let taking = take_when_there(&location, sharing, &reason);
            Box::pin(entrance.while_waiting(reason.clone(), taking)).await?
        }
    };
    store.refuse_in_copy().await?;
    Ok(Databases { store, lock: Arc::new(lock), spool })
}

async fn take(location: &Location, sharing: Sharing) -> Result<(DatabaseLock, Store), store::Error> {
    let lock = DatabaseLock::acquire(location, sharing).await?;
    Ok((lock, Store::open(location).await?))
}

/// Tries again for as long as the server cannot be reached: it may start after this node, or be away just now.
async fn take_when_there(
    location: &Location,
    sharing: Sharing,
    reason: &Reason,
) -> Result<(DatabaseLock, Store), store::Error> {
    let (mut backoff, mut said) = (Backoff::new(), None::<Instant>);
    loop {
        let error = match take(location, sharing).await {
            Err(error @ store::Error::Unavailable(_)) => error,
            done => return done,
        };
        if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            tracing::warn!("{error}; waiting for it");
            said = Some(Instant::now());
        }
        reason.change(format!("{error}; waiting for it"));
        sleep(backoff.wait()).await;
        reason.change(MAY_BE_IN_USE.to_owned());
    }
}

/// The data directory is this process's alone, and so is what is in it.
async fn open_spool(config: &Config) -> Result<Store, store::Error> {
    refuse_owed(config).await?;
    let synchronous = synchronous(config);
    Store::open(&Location::Sqlite { path: config.node.data_dir.join(SPOOL), synchronous }).await
}

/// A node that followed before may owe usage, which nobody would ask for any more.
async fn refuse_owed(config: &Config) -> Result<(), store::Error> {
    let path = config.node.data_dir.join(EMBEDDED);
    if !path.is_file() {
        return Ok(());
    }
    let store =
        Store::open(&Location::Sqlite { path: path.clone(), synchronous: synchronous(config) }).await?;
    let usage = UsageRepo::on(&store);
    let owed = usage.unsynced_count().await? + usage.set_aside_count().await?;
    store.close().await;
    if owed == 0 {
        return Ok(());
    }
    Err(store::Error::Unsupported(format!(
        "{} holds {owed} usage logs that its leader has not taken: start this node with cluster.leader and without store.url \
         once more, until they are pushed (sproxy peer list), or move that file away",
        path.display()
    )))
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
pub(super) async fn clock_of(databases: &Databases) -> Result<PlausibleClock, store::Error> {
    let clock = PlausibleClock::new();
    for store in databases.spool.iter().chain([&databases.store]) {
        if let Some(newest) = UsageRepo::on(store).newest_time().await? {
            clock.not_before(newest);
        }
    }
    let heard = MetaRepo::on(&databases.store).get(MetaKey::LeaderHeardAt).await?;
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
    location_of(&config.store.database, config)
}

/// Where a database is, as this node opens it.
pub(super) fn location_of(database: &Database, config: &Config) -> Location {
    match database {
        Database::Sqlite(path) => Location::Sqlite { path: path.clone(), synchronous: synchronous(config) },
        Database::Postgres(url) => Location::Postgres { url: url.expose().to_owned() },
    }
}

fn synchronous(config: &Config) -> store::Synchronous {
    match config.store.synchronous {
        config::Synchronous::Normal => store::Synchronous::Normal,
        config::Synchronous::Full => store::Synchronous::Full,
    }
}
