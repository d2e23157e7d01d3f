//! Putting a node together: the only reader of the whole configuration. Its directory is taken first, sockets are bound
//! early, so that an address that is taken is known before a database is touched; they are served last.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::background;
use super::backups::BackupMetrics;
use super::body_memory;
use super::error::Error;
use super::first_start::open_accounts;
use super::leaders::{self, Leaders};
use super::limits::LimitsKeeper;
use super::metrics;
use super::promotion::Promotions;
use super::reload::Reloader;
use super::role::Role;
use super::shared_parts::SharedParts;
use super::supervisor::{Stage, Supervisor};
use super::telemetry;
use super::waiting::EarlyListener;
use super::{LocalAddress, alerts, data_dir_lock, database, emergency, identity};
use crate::cluster::leader::Spool;
use crate::cluster::leader::freshness::Freshness;
use crate::cluster::leader::service::Books;
use crate::cluster::standing::Standing;
use crate::cluster::{self};
use crate::config::{Config, Secret, Sources};
use crate::dialect::default_target;
use crate::domain::clock::Clock;
use crate::domain::ids::NodeId;
use crate::domain::provider::{Provider, one_of};
use crate::grpc;
use crate::http::callers::Callers;
use crate::http::control::ControlState;
use crate::http::cors::Cors;
use crate::http::dispatch::Dispatch;
use crate::http::health::{self, Health, Readiness};
use crate::http::listen;
use crate::http::relay;
use crate::http::scim::token::ScimToken;
use crate::http::site::Sites;
use crate::http::stall::StallDetector;
use crate::inbound::tls::Tls;
use crate::inbound::{self, Shutdown};
use crate::ldap::Ldap;
use crate::ledger::{Ledger, UsageWriter};
use crate::oidc::Oidc;
use crate::proxy::{BodyMemory, Drainer, Gateway, Live, ModelLists, NoAccountsYet, Parts, StaleCheck};
use crate::quota::Quota;
use crate::store::{DatabaseLock, FileLock};
use crate::telemetry::log::Filter;
use crate::ui;
use crate::upstream::Configs;

/// A node that is ready to run: its sockets are bound, its tasks are started.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) http: SocketAddr,
    pub(super) grpc: Option<SocketAddr>,
    pub(super) supervisor: Supervisor,
    /// The lock on the data directory.
    pub(super) data_dir: FileLock,
    /// The lock on the database.
    pub(super) lock: Arc<DatabaseLock>,
    /// It leads from now on, or follows: it has to be built anew.
    pub(super) role_change: CancellationToken,
}

/// Where a node listens that is being built: what was a free port stays the same if it has to begin again.
#[derive(Default)]
pub(super) struct Bound(Mutex<Option<(SocketAddr, Option<SocketAddr>)>>);

impl Bound {
    pub(super) fn keep(&self, config: &mut Config) {
        let Some((http, grpc)) = *self.0.lock() else { return };
        config.http.listen = http;
        config.cluster.listen = grpc.unwrap_or(config.cluster.listen);
    }
}

impl Node {
    pub(super) async fn build(
        config: Config,
        sources: Sources,
        filter: Filter,
        reloads: watch::Receiver<u32>,
        bound: &Bound,
    ) -> Result<Self, Error> {
        let data_dir = take_data_dir(&config.node.data_dir)?;
        let listener = Arc::new(inbound::bind("http.listen", config.http.listen).await?);
        let http = listener.local_addr()?;
        let tls = config.http.tls.as_ref().map(|tls| listen::tls(&tls.cert, &tls.key)).transpose();
        let tls = tls.map_err(Error::Unusable)?;
        let early_listener = EarlyListener::new(listener, http, tls, &config.http);
        let mut grpc_listener = match config.cluster.leader {
            None => Some(inbound::bind("cluster.listen", config.cluster.listen).await?),
            Some(_) => None,
        };
        let grpc = grpc_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        *bound.0.lock() = Some((http, grpc));
        let mut supervisor = Supervisor::new();
        LocalAddress::new(http, config.http.tls.as_ref().map(|tls| tls.cert.as_path()))
            .write(&config.node.data_dir)?;
        let (mut base, link, writer) = foundation(&config, &early_listener).await?;
        base.spans = telemetry::open_spans(&config.telemetry, &base.id, &mut supervisor)?;
        match (&link, &grpc_listener) {
            // It was promoted.
            (None, None) => {
                grpc_listener = Some(inbound::bind("cluster.listen", config.cluster.listen).await?);
            }
            // It was superseded.
            (Some(_), Some(_)) => grpc_listener = None,
            _ => {}
        }
        let grpc = grpc_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let role_change = watch_role(&base, link.is_none(), &mut supervisor);
        let keeper = limits_keeper(&base);
        keeper.fill().await?;
        supervisor.spawn(Stage::Background, "limits", |stop| keeper.run(stop));
        let grpc_tls = match link {
            None => config.cluster.tls.as_ref().map(grpc::tls).transpose().map_err(Error::Unusable)?,
            Some(_) => None,
        };
        let servers = early_listener.tls.iter().chain(&grpc_tls).cloned().collect();
        let taking_over = (Arc::clone(&base.live), base.alerts.clone());
        let reloader = Reloader::new(sources, config.clone(), taking_over, filter, servers);
        let reloading = Arc::clone(&reloader);
        supervisor.spawn(Stage::Background, "reload", |stop| reloading.run(reloads, stop));
        let role = match link {
            None => start_leader(&config, &base, (grpc_listener, grpc_tls), &mut supervisor).await?,
            Some(link) => start_follower(&config, &base, link, &mut supervisor).await?,
        };
        let (leaving, says_so) = (supervisor.leaving(), role.clone());
        supervisor.spawn(Stage::Servers, "farewell", |stop| async move {
            leaving.cancelled().await;
            says_so.leaving();
            stop.cancelled().await;
        });
        supervisor.spawn(Stage::Ledger, "ledger writer", |stop| writer.run(stop));
        background::start(&mut supervisor, &base, &config.backup);
        database::keep(&base.lock, &mut supervisor);
        let drained = TaskTracker::new();
        let (leaving, stop) = (supervisor.leaving(), supervisor.stop_of(Stage::Servers));
        let shutdown = Shutdown::new(leaving, stop, supervisor.giving_up());
        let cors = early_listener.cors.clone();
        let dispatch =
            build_dispatch(config, &base, role, &mut supervisor, (drained.clone(), cors, reloader));
        let server =
            listen::server(early_listener.listener, early_listener.tls, dispatch, early_listener.limits);
        supervisor.spawn(Stage::Servers, "http", |_| async move {
            let connections = TaskTracker::new();
            server.run(shutdown, connections.clone()).await;
            for tasks in [connections, drained] {
                tasks.close();
                tasks.wait().await;
            }
        });
        Ok(Self { id: base.id, http, grpc, supervisor, data_dir, lock: base.lock, role_change })
    }
}

/// The parts that do not depend on the role, and a follower's link to its leader.
async fn foundation(
    config: &Config,
    early_listener: &EarlyListener,
) -> Result<(SharedParts, Option<Leaders>, UsageWriter), Error> {
    let databases = database::open(config, early_listener).await?;
    let clock: Arc<dyn Clock> = Arc::new(database::clock_of(&databases).await?);
    let books = databases.books().clone();
    let database::Databases { store, lock, spool } = databases;
    let scheme = if early_listener.tls.is_some() { "https" } else { "http" };
    let addr = config.cluster.advertise.clone();
    let addr = addr.unwrap_or_else(|| format!("{scheme}://{}", early_listener.address));
    let standing = if spool.is_some() { None } else { Some(Standing::open(&store).await?) };
    let link = leaders::of(config, standing.as_ref())?;
    if let Some(leaders) = &link {
        cluster::restore_leaders(leaders, &store, clock.now()).await?;
    }
    let id = match &spool {
        Some(spool) => identity::of_shared(config, &store, spool, &*clock).await?,
        None => identity::of_alone(config, &store, link.as_ref(), &addr, early_listener).await?,
    };
    let accounts = open_accounts(config, &id, &store, link.is_none(), &clock).await?;
    let owes_nobody = link.is_none() && spool.is_none();
    let emergency = emergency::open(config, &books, owes_nobody).await;
    let quota = Quota::new();
    let (ledger, mut writer) = Ledger::open(books, &config.usage, owes_nobody, Arc::clone(&clock));
    if let Some((file, left)) = emergency {
        writer = writer.with_emergency(file, left);
    }
    let configs = Configs {
        targets: &config.targets,
        models: &config.models,
        upstream: &config.upstream,
        capabilities: &config.capabilities,
    };
    let live = Live::new(configs, config.prices.clone(), Arc::clone(&clock))
        .map_err(|e| Error::Unusable(e.to_string()))?;
    let alerts = alerts::open(config, &id, (&store, spool.as_ref()), &clock)?;
    if config.targets.is_empty() {
        let variables = Provider::ALL.map(|provider| default_target(provider).variable);
        tracing::warn!(
            "no target is configured, and every call will be told so: set {}, or write [[targets]] into sproxy.toml",
            one_of(&variables)
        );
    }
    let oidc = match &config.auth.oidc {
        Some(oidc) if link.is_none() => {
            let oidc = Oidc::new(oidc.clone(), accounts.clone(), Arc::clone(&clock));
            Some(Arc::new(oidc.map_err(|reason| Error::Unusable(format!("auth.oidc: {reason}")))?))
        }
        // The leader's pages are what people see.
        _ => None,
    };
    let ldap = match &config.auth.ldap {
        Some(ldap) if link.is_none() => {
            let ldap = Ldap::new(ldap.clone(), Arc::clone(&clock));
            let ldap = Arc::new(ldap.map_err(|reason| Error::Unusable(format!("auth.ldap: {reason}")))?);
            accounts.set_password_directory(Arc::clone(&ldap) as _);
            Some(ldap)
        }
        _ => None,
    };
    let base = SharedParts {
        id,
        store,
        standing,
        spool,
        lock,
        accounts,
        oidc,
        ldap,
        quota,
        ledger,
        live,
        alerts,
        clock,
        addr,
        retention: config.usage.retention,
        backups: BackupMetrics::default(),
        spans: None,
    };
    Ok((base, link, writer))
}

async fn start_leader(
    config: &Config,
    base: &SharedParts,
    (listener, tls): (Option<TcpListener>, Option<Arc<Tls>>),
    supervisor: &mut Supervisor,
) -> Result<Role, Error> {
    let books = match &base.spool {
        None => Books::Own(base.ledger.clone()),
        Some(spool) => Books::Spool(Box::new(Spool {
            store: spool.clone(),
            ledger: base.ledger.clone(),
            leads_at: leaders::own_url(config, listener.as_ref(), tls.is_some())?,
            sync_interval: config.cluster.sync_interval,
            sync_batch: config.cluster.sync_batch,
            in_flight: in_flight(&base.ledger),
            connect: leaders::connect(config)?,
            spans: base.spans.clone(),
            clock: Arc::clone(&base.clock),
        })),
    };
    let deps = cluster::leader::service::Dependencies {
        id: base.id.clone(),
        addr: base.addr.clone(),
        weight: config.cluster.weight,
        heartbeat_interval: config.cluster.heartbeat_interval,
        freshness: Freshness::new(config.cluster.max_staleness, config.cluster.refuse_when_stale),
        store: base.store.clone(),
        standing: base.standing.clone(),
        secret: config.cluster.secret.as_ref().map(|secret| secret.expose().to_owned()),
        books,
        accounts: base.accounts.clone(),
        quota: base.quota.clone(),
        clock: Arc::clone(&base.clock),
    };
    let (leader, tasks) = cluster::leader::service::start(deps).await?;
    run(supervisor, tasks);
    let Some(listener) = listener else { return Ok(Role::Leader(leader)) };
    let secret = config.cluster.secret.as_ref().map(Secret::expose);
    let stop = supervisor.stop_of(Stage::Servers);
    let services = grpc::Services::new(&leader, &base.store, &base.accounts, secret, &base.clock, stop);
    let give_up = supervisor.giving_up();
    let server = grpc::server(listener, tls, services, config.http.header_timeout).await?;
    supervisor.spawn(Stage::Servers, "grpc", |stop| async move {
        let connections = TaskTracker::new();
        // Followers have no other leader to go to.
        server.run(Shutdown::abrupt(stop, give_up), connections.clone()).await;
        connections.close();
        connections.wait().await;
    });
    Ok(Role::Leader(leader))
}

async fn start_follower(
    config: &Config,
    base: &SharedParts,
    leaders: Leaders,
    supervisor: &mut Supervisor,
) -> Result<Role, Error> {
    let deps = cluster::follower::service::Dependencies {
        leaders,
        addr: base.addr.clone(),
        weight: config.cluster.weight,
        sync_interval: config.cluster.sync_interval,
        sync_batch: config.cluster.sync_batch,
        max_staleness: config.cluster.max_staleness,
        refuse_when_stale: config.cluster.refuse_when_stale,
        store: base.store.clone(),
        standing: base
            .standing
            .clone()
            .ok_or_else(|| Error::Unusable("a follower shares no database".to_owned()))?,
        ledger: base.ledger.clone(),
        accounts: base.accounts.clone(),
        quota: base.quota.clone(),
        clock: Arc::clone(&base.clock),
        in_flight: in_flight(&base.ledger),
        spans: base.spans.clone(),
    };
    let (follower, tasks) = cluster::follower::service::start(base.id.clone(), deps).await?;
    run(supervisor, tasks);
    Ok(Role::Follower(follower))
}

/// Done once the node is to lead, if it follows now, or to follow, if it leads now.
fn watch_role(base: &SharedParts, leads: bool, supervisor: &mut Supervisor) -> CancellationToken {
    let changed = CancellationToken::new();
    if let Some(standing) = base.standing.clone() {
        let changed = changed.clone();
        supervisor.spawn(Stage::Background, "role", |stop| async move {
            if stop.run_until_cancelled(standing.role_changed(leads)).await.is_some() {
                changed.cancel();
                stop.cancelled().await;
            }
        });
    }
    changed
}

/// How many requests are being answered.
fn in_flight(ledger: &Ledger) -> Arc<dyn Fn() -> u32 + Send + Sync> {
    let ledger = ledger.clone();
    Arc::new(move || {
        let books = ledger.stats();
        u32::try_from(books.taken.saturating_sub(books.queued)).unwrap_or(u32::MAX)
    })
}

fn run(supervisor: &mut Supervisor, tasks: Vec<cluster::Task>) {
    for task in tasks {
        supervisor.spawn(Stage::Background, task.name, task.run);
    }
}

/// Both planes, health and metrics.
fn build_dispatch(
    config: Config,
    base: &SharedParts,
    role: Role,
    supervisor: &mut Supervisor,
    (drained, cors, reload): (TaskTracker, Option<Arc<Cors>>, Arc<Reloader>),
) -> Arc<Dispatch> {
    let stale = role.clone();
    let bodies = body_memory::limit(config.http.max_buffered_bytes, config.http.max_body_bytes);
    let no_accounts_yet: Option<NoAccountsYet> = match &role {
        Role::Leader(_) => None,
        Role::Follower(follower) => {
            let follower = follower.clone();
            Some(Arc::new(move || follower.no_accounts_yet()))
        }
    };
    let is_stale =
        config.cluster.refuse_when_stale.then(|| -> StaleCheck { Arc::new(move || stale.is_stale()) });
    let models = Arc::<ModelLists>::default();
    let gateway = Arc::new(Gateway::new(Parts {
        accounts: base.accounts.clone(),
        quota: base.quota.clone(),
        ledger: base.ledger.clone(),
        live: Arc::clone(&base.live),
        models: Arc::clone(&models),
        body_memory: BodyMemory::new(bodies, config.http.max_body_bytes),
        drainer: Drainer::new(drained, supervisor.giving_up()),
        durability: config.usage.durability,
        clock: Arc::clone(&base.clock),
        node: base.id.clone(),
        user_metrics: config.telemetry.user_metrics,
        reports: telemetry::reports(&config.telemetry, base.spans.clone()),
        is_stale,
        no_accounts_yet,
    }));
    alerts::start(base, gateway.sightings(), &role, supervisor);
    let role = Arc::new(role);
    let readiness = Readiness {
        ledger: base.ledger.clone(),
        live: Arc::clone(&base.live),
        lock: Arc::clone(&base.lock),
        leaving: supervisor.leaving(),
        cluster: Arc::clone(&role) as _,
    };
    let backups = config.backup.every.map(|_| &base.backups);
    let metrics = metrics::registry(base, &gateway, &role, &readiness, backups);
    let health = Arc::new(Health { metrics, readiness });
    let leads_at = leaders::url_if_promoted(&config);
    let callers = Callers {
        trusted: config.http.trusted_proxies,
        secret: config.cluster.secret.as_ref().map(|secret| secret.expose().to_owned()),
        clock: Arc::clone(&base.clock),
    };
    let (is_tls, public_url) = (config.http.tls.is_some(), config.http.public_url);
    let sites = Arc::new(Sites { callers, is_tls, public_url });
    let relay = match &*role {
        Role::Leader(_) => None,
        Role::Follower(follower) => {
            let follower = follower.clone();
            let address = Arc::new(move || follower.leader_addr());
            Some(relay::to_leader(address, base.accounts.clone(), Arc::clone(&sites)))
        }
    };
    let control = ui::router(ControlState {
        accounts: base.accounts.clone(),
        quota: base.quota.clone(),
        store: base.store.clone(),
        live: Arc::clone(&base.live),
        models,
        alerts: base.alerts.clone(),
        cluster: Arc::clone(&role) as _,
        oidc: base.oidc.clone(),
        ldap: base.ldap.clone(),
        promotion: Arc::new(Promotions {
            id: base.id.clone(),
            standing: base.standing.clone(),
            listen: config.cluster.listen,
            leads_at,
            is_embedded: base.store.is_embedded(),
            role,
        }),
        relay,
        sites,
        clock: Arc::clone(&base.clock),
        node: base.id.clone(),
        reload,
        data_dir: config.node.data_dir,
        scim: config.auth.scim.as_ref().map(|scim| ScimToken::new(&scim.token)),
    });
    let routes = health::router(health).merge(control);
    let stall_detector = StallDetector::new(config.http.stall_timeout);
    let dispatch = Dispatch::new(gateway, routes, Arc::clone(&stall_detector), cors);
    supervisor.spawn(Stage::Background, "stalled callers", |stop| stall_detector.run(stop));
    Arc::new(dispatch)
}

fn limits_keeper(base: &SharedParts) -> LimitsKeeper {
    LimitsKeeper {
        quota: base.quota.clone(),
        stores: base.spool.iter().chain([&base.store]).cloned().collect(),
        accounts: base.accounts.clone(),
        node: base.id.clone(),
        clock: Arc::clone(&base.clock),
    }
}

pub(super) fn take_data_dir(data_dir: &Path) -> Result<FileLock, Error> {
    let made = std::fs::create_dir_all(data_dir);
    made.map_err(|e| Error::Unusable(format!("node.data_dir {}: {e}", data_dir.display())))?;
    data_dir_lock::take(data_dir).map_err(Error::Unusable)
}
