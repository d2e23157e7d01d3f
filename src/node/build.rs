//! Putting a node together: the only reader of the whole configuration. Sockets are bound early, so that an address that
//! is taken is known before anything is written; they are served last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::supervisor::{EndedEarly, Stage, Supervisor};
use crate::accounts::{self, Accounts};
use crate::config::{self, Config, Database};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::ids::NodeId;
use crate::http::dispatch::Dispatch;
use crate::http::health::{self, ClusterHealth, Health};
use crate::http::listen::{self, Door, Limits};
use crate::ledger::{Ledger, Retention};
use crate::proxy::{Budget, Drainer, Gateway, Parts};
use crate::quota::{Quota, SubjectId};
use crate::store::usage::Source;
use crate::store::{self, Location, MetaKey, MetaRepo, Store, UsageRepo};
use crate::telemetry::Exposition;
use crate::upstream::{Upstream, probe_all};

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system delivers no signals.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// A socket or a directory.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The database.
    #[error("{0}")]
    Store(#[from] store::Error),
    /// Accounts could not be read or made.
    #[error("{0}")]
    Accounts(#[from] accounts::Error),
    /// A certificate, a target, an address: something configured that cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// A task of the node ended by itself.
    #[error(transparent)]
    EndedEarly(EndedEarly),
}

/// A node that is ready to run: its sockets are bound, its tasks are started.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) http: SocketAddr,
    pub(super) grpc: Option<SocketAddr>,
    pub(super) supervisor: Supervisor,
}

impl Node {
    pub(super) async fn build(config: Config) -> Result<Self, Error> {
        let listener = listen::bind(config.http.listen).await?;
        let http = listener.local_addr()?;
        let tls = config.http.tls.as_ref().map(|tls| listen::tls(&tls.cert, &tls.key)).transpose();
        let tls = tls.map_err(Error::Unusable)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = open_store(&config).await?;
        let is_leader = config.cluster.leader.is_none();
        let id = own_id(&config, &store).await?;
        let accounts = open_accounts(&config, &store, is_leader, &clock).await?;
        let quota = Quota::new();
        fill_quota(&quota, &store, &*clock).await?;
        let (ledger, writer) = Ledger::open(store.clone(), &config.usage, is_leader, Arc::clone(&clock));
        let upstream =
            Upstream::new(&config.targets, Arc::clone(&clock)).map_err(|e| Error::Unusable(e.to_string()))?;
        let upstream = Arc::new(upstream);
        if config.targets.is_empty() {
            tracing::warn!(
                "no target is configured: every call will be told that no target serves its model"
            );
        }
        let mut supervisor = Supervisor::new();
        let drained = TaskTracker::new();
        let gateway = Arc::new(Gateway::new(Parts {
            accounts: accounts.clone(),
            quota: quota.clone(),
            ledger: ledger.clone(),
            upstream: Arc::clone(&upstream),
            intake: Budget::new(config.http.max_buffered_bytes, config.http.max_body_bytes),
            drainer: Drainer::new(drained.clone()),
            prices: Arc::new(config.prices),
            durability: config.usage.durability,
            clock: Arc::clone(&clock),
            node: id.clone(),
        }));
        let limits =
            Limits { connections: config.http.max_connections, header_timeout: config.http.header_timeout };
        let health = Arc::new(Health {
            gateway: Arc::clone(&gateway),
            ledger: ledger.clone(),
            upstream: Arc::clone(&upstream),
            quota: quota.clone(),
            leaving: supervisor.stop_of(Stage::Doors),
            cluster: Arc::new(Alone),
        });
        let control = health::router(health);
        let dispatch = Arc::new(Dispatch::new(gateway, control));
        let door = Door::new(listener, tls, dispatch, limits);
        supervisor.spawn(Stage::Doors, "http", |stop| async move {
            let connections = TaskTracker::new();
            door.run(stop, connections.clone()).await;
            for tasks in [connections, drained] {
                tasks.close();
                tasks.wait().await;
            }
        });
        supervisor.spawn(Stage::Ledger, "writer", |stop| writer.run(stop));
        let retention = Retention { ledger, own: id.clone(), clock };
        background(&mut supervisor, &upstream, &accounts, retention);
        Ok(Self { id, http, grpc: None, supervisor })
    }
}

/// The name of a leader that is given none.
const FIRST: &str = "sp-1";

async fn open_store(config: &Config) -> Result<Store, Error> {
    let made = std::fs::create_dir_all(&config.node.data_dir);
    made.map_err(|e| Error::Unusable(format!("node.data_dir {}: {e}", config.node.data_dir.display())))?;
    let location = match &config.store.database {
        Database::Sqlite(path) => Location::Sqlite {
            path: path.clone(),
            synchronous: match config.store.synchronous {
                config::Synchronous::Normal => store::Synchronous::Normal,
                config::Synchronous::Full => store::Synchronous::Full,
            },
        },
        Database::Postgres(url) => Location::Postgres { url: url.expose().to_owned() },
    };
    Ok(Store::open(&location).await?)
}

/// The name in the configuration, else the one this database knows, else a leader's default.
async fn own_id(config: &Config, store: &Store) -> Result<NodeId, Error> {
    let meta = MetaRepo::on(store);
    let known = meta.get(MetaKey::NodeId).await?;
    let text = config
        .node
        .id
        .as_ref()
        .map(|id| id.as_str().to_owned())
        .or(known)
        .unwrap_or_else(|| FIRST.to_owned());
    meta.set(MetaKey::NodeId, &text).await?;
    text.parse().map_err(|e: crate::domain::ids::NotANodeId| Error::Unusable(e.to_string()))
}

async fn open_accounts(
    config: &Config,
    store: &Store,
    is_leader: bool,
    clock: &Arc<dyn Clock>,
) -> Result<Accounts, Error> {
    let settings = accounts::Settings::new(&config.auth, is_leader);
    let accounts = Accounts::open(store.clone(), settings, Arc::clone(clock)).await?;
    accounts.keep_admin_token(&config.node.data_dir)?;
    if is_leader {
        let password = std::env::var("SPROXY_ADMIN_PASSWORD").ok().filter(|password| !password.is_empty());
        let first = accounts.first_start(password).await?;
        if let Some(password) = first.and_then(|first| first.generated_password) {
            show_once(&password);
        }
    }
    Ok(accounts)
}

/// Not through the log: logs are kept and shipped, and a password has no place there.
#[allow(clippy::print_stderr, reason = "for the one person who starts the node for the first time")]
fn show_once(password: &str) {
    eprintln!("first start: the password of the user `admin` is {password} (shown only now)");
}

async fn fill_quota(quota: &Quota, store: &Store, clock: &dyn Clock) -> Result<(), Error> {
    let now = clock.now();
    let used = UsageRepo::on(store).used(now, Source::All).await?;
    for (user, used) in used.users {
        quota.fill(SubjectId::User(user), used, now);
    }
    for (group, used) in used.groups {
        quota.fill(SubjectId::Group(group), used, now);
    }
    Ok(())
}

/// Between two rounds of checks on targets.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// Between two rounds of housekeeping.
const TIDY_EVERY: Duration = Duration::from_mins(1);

fn background(
    supervisor: &mut Supervisor,
    upstream: &Arc<Upstream>,
    accounts: &Accounts,
    retention: Retention,
) {
    let upstream = Arc::clone(upstream);
    supervisor.spawn(Stage::Background, "probe", |stop| {
        repeat(PROBE_EVERY, stop, move || {
            let upstream = Arc::clone(&upstream);
            async move { probe_all(&upstream).await }
        })
    });
    let accounts = accounts.clone();
    supervisor.spawn(Stage::Background, "tidy", |stop| {
        repeat(TIDY_EVERY, stop, move || {
            let accounts = accounts.clone();
            async move {
                if let Err(error) = accounts.tidy().await {
                    tracing::warn!(%error, "housekeeping of accounts failed; it is tried again");
                }
            }
        })
    });
    supervisor.spawn(Stage::Background, "retention", |stop| retention.run(stop));
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

/// The cluster's side of a node that is alone.
struct Alone;

impl ClusterHealth for Alone {
    fn not_ready(&self) -> Option<String> {
        None
    }

    fn expose(&self, _: &mut Exposition) {}
}
