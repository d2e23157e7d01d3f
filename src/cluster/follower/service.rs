//! A follower at work: its handle for the rest of the node, and its background tasks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::cluster::follower::client::GrpcLeaderClient;
use crate::cluster::follower::instances::{begin_instance, forget_previous_instances, former_names};
use crate::cluster::follower::leader_client::LeaderError;
use crate::cluster::follower::metrics::FollowerMetrics;
use crate::cluster::follower::push::{Error, Session};
use crate::cluster::follower::store::FollowerDatabase;
use crate::cluster::follower::{Applied, Follower};
use crate::cluster::registration::Registration;
use crate::cluster::retry::Backoff;
use crate::cluster::task::{Task, pause};
use crate::cluster::usage::remote::{RemoteUsage, restore_share, set_node_share, share_to_text};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::failure::Failure;
use crate::domain::ids::NodeId;
use crate::domain::peer::Peer;
use crate::ledger::Ledger;
use crate::quota::Quota;
use crate::store::{MetaKey, MetaRepo, Store};
use crate::telemetry::scrape::gauge;

/// How long a push waits after the first new record, so that others go with it.
const COALESCE_FOR: Duration = Duration::from_millis(20);
/// How long the last push and the leave may take: both have ended, and said how, before the supervisor gives them up.
pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(4);
/// How often what other nodes have used is written to the database, for a restart without the leader.
const PERSIST_EVERY: Duration = Duration::from_secs(5);
/// A watch is opened again after so many heartbeat intervals without a message.
const MISSED_HEARTBEATS_MAX: u32 = 3;

/// What a follower is made of.
pub struct Dependencies {
    pub client: GrpcLeaderClient,
    /// The URL of its HTTP side for clients.
    pub addr: String,
    /// Its share of traffic, and of limits per minute.
    pub weight: u32,
    /// The longest that a record waits before it is pushed.
    pub sync_interval: Duration,
    /// The most records in one push.
    pub sync_batch: usize,
    /// How long the leader may be silent before this node calls itself stale; `None`: for ever.
    pub max_staleness: Option<Duration>,
    pub refuse_when_stale: bool,
    pub store: Store,
    pub ledger: Ledger,
    pub accounts: Accounts,
    /// Filled with what this node alone has used.
    pub quota: Quota,
    pub clock: Arc<dyn Clock>,
    /// How many requests are being answered.
    pub in_flight: Arc<dyn Fn() -> u32 + Send + Sync>,
}

/// A follower's handle. Cheap to clone.
#[derive(Clone)]
pub struct FollowerService {
    inner: Arc<Inner>,
}

struct Inner {
    follower: Follower<FollowerDatabase, GrpcLeaderClient>,
    id: NodeId,
    context: Context,
    peers: Mutex<Vec<Peer>>,
    remote_usage: Mutex<RemoteUsage>,
    /// The share of limits that is written down.
    persisted_share: Mutex<String>,
    /// When the leader was last heard of, microseconds; before that, when this node started.
    last_contact: AtomicI64,
    has_accounts: AtomicBool,
    /// An admin wants this node drained.
    drained: AtomicBool,
    /// This node is shutting down.
    leaving: AtomicBool,
    /// The next heartbeat is not waited for.
    news: Notify,
    metrics: FollowerMetrics,
}

/// What of [`Dependencies`] is needed later.
struct Context {
    weight: u32,
    sync_interval: Duration,
    max_staleness: Option<Duration>,
    refuse_when_stale: bool,
    store: Store,
    ledger: Ledger,
    quota: Quota,
    clock: Arc<dyn Clock>,
    in_flight: Arc<dyn Fn() -> u32 + Send + Sync>,
}

/// Opens a follower on its database. Its tasks have to be run. Works without the leader.
pub async fn start(id: NodeId, deps: Dependencies) -> Result<(FollowerService, Vec<Task>), Failure> {
    let (instance, former) = begin_instance(&deps.store).await?;
    let identity = Registration {
        node_id: id.clone(),
        instance,
        former,
        former_names: former_names(&deps.store).await?,
        addr: deps.addr,
        weight: deps.weight,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        leads_at: None,
    };
    let has_accounts = deps.accounts.counts().0 > 0;
    let kept = MetaRepo::on(&deps.store).get(MetaKey::UsageElsewhere).await?.unwrap_or_default();
    let remote_usage = RemoteUsage::restored(&kept, &deps.quota);
    if let Some(share) = MetaRepo::on(&deps.store).get(MetaKey::LimitShare).await? {
        restore_share(&share, &deps.quota);
    }
    let last_contact = MetaRepo::on(&deps.store).get(MetaKey::LeaderHeardAt).await?;
    let last_contact =
        last_contact.and_then(|text| text.parse().ok()).unwrap_or_else(|| deps.clock.now().as_micros());
    let drained = MetaRepo::on(&deps.store).get(MetaKey::Drained).await?.is_some();
    let disk = FollowerDatabase::new(deps.store.clone(), deps.ledger.clone(), deps.accounts);
    let inner = Arc::new(Inner {
        follower: Follower::new(identity, disk, deps.client, deps.sync_batch),
        id,
        context: Context {
            weight: deps.weight,
            sync_interval: deps.sync_interval,
            max_staleness: deps.max_staleness,
            refuse_when_stale: deps.refuse_when_stale,
            store: deps.store,
            ledger: deps.ledger,
            quota: deps.quota,
            clock: deps.clock,
            in_flight: deps.in_flight,
        },
        peers: Mutex::default(),
        remote_usage: Mutex::new(remote_usage),
        persisted_share: Mutex::default(),
        last_contact: AtomicI64::new(last_contact),
        has_accounts: AtomicBool::new(has_accounts),
        drained: AtomicBool::new(drained),
        leaving: AtomicBool::new(false),
        news: Notify::new(),
        metrics: FollowerMetrics::default(),
    });
    let [sync, heartbeats, watch, persisting] = std::array::from_fn(|_| Arc::clone(&inner));
    let tasks = vec![
        Task::new("usage sync", |stop| sync.run_sync(stop)),
        Task::new("heartbeat", |stop| heartbeats.run_heartbeats(stop)),
        Task::new("state watch", |stop| watch.run_watch(stop)),
        Task::new("cluster notes", |stop| persisting.run_persisting(stop)),
    ];
    Ok((FollowerService { inner }, tasks))
}

impl FollowerService {
    /// Every peer as the leader last told; empty before it did.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.inner.peers.lock().clone()
    }

    /// How the leader's HTTP side is reached, once this node has heard from it.
    #[must_use]
    pub fn leader_addr(&self) -> Option<String> {
        let leader = self.inner.follower.session()?.leader_id;
        self.inner.peers.lock().iter().find(|peer| peer.id == leader).map(|peer| peer.addr.clone())
    }

    /// Why nobody can be known here: none of the leader's users have come yet. None: they have.
    #[must_use]
    pub fn no_accounts_yet(&self) -> Option<String> {
        let leader = self.inner.follower.leader().address();
        let known = self.inner.has_accounts.load(Ordering::Relaxed);
        (!known).then(|| format!("the node has not heard from its leader at {leader} yet: it knows no users"))
    }

    /// Why this node should get no traffic; none: it may.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        if let Some(reason) = self.no_accounts_yet() {
            return Some(reason);
        }
        if let Some(refused) = self.inner.follower.refused() {
            return Some(refused);
        }
        if self.inner.drained.load(Ordering::Relaxed) {
            return Some("the node is drained".to_owned());
        }
        self.inner
            .staleness()
            .map(|silent| format!("stale: the leader has been silent for {} s", silent.as_secs()))
    }

    /// Whether calls are to be refused, because the leader has been silent for longer than is allowed.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.inner.context.refuse_when_stale && self.inner.staleness().is_some()
    }

    /// Tells the leader that this node is shutting down.
    pub fn leaving(&self) {
        self.inner.leaving.store(true, Ordering::Relaxed);
        self.inner.news.notify_one();
    }

    /// This node's books: what it owes its leader is in them.
    #[must_use]
    pub fn books(&self) -> &Ledger {
        &self.inner.context.ledger
    }

    /// The node's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.context.clock.now()
    }

    pub fn register_metrics(&self, registry: &mut Registry) {
        self.inner.metrics.register(registry);
        registry.register_collector(Box::new(self.clone()));
    }
}

impl fmt::Debug for FollowerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FollowerService")
    }
}

impl Collector for FollowerService {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        let is_registered = u64::from(self.inner.follower.session().is_some());
        let is_stale = u64::from(self.inner.staleness().is_some());
        let silent = self.inner.silent_for().as_secs_f64();
        gauge(to, "sproxy_cluster_registered", "Whether the leader knows this node.", is_registered)?;
        let help = "How long ago the leader was last heard of.";
        gauge(to, "sproxy_cluster_leader_silent_seconds", help, silent)?;
        gauge(to, "sproxy_cluster_stale", "Whether that is longer than cluster.max_staleness.", is_stale)
    }
}

impl Inner {
    /// Pushes what is owed: when there is something new, at the latest after the interval, and after failures with
    /// growing waits. When asked to stop, it pushes once more and leaves the cluster.
    async fn run_sync(self: Arc<Self>, stop: CancellationToken) {
        let mut retry = Backoff::new();
        let mut is_away = false;
        while !stop.is_cancelled() {
            let had_session = self.follower.session().is_some();
            let Some(synced) = stop.run_until_cancelled(self.follower.sync_once()).await else { break };
            let registered = !had_session && self.follower.session().is_some();
            if registered {
                self.registered().await;
            }
            match synced {
                Ok(pushed) => {
                    if std::mem::take(&mut is_away) || registered {
                        tracing::info!(leader = %self.leader_name(), pushed = pushed.total(), "in touch with the leader");
                    }
                    self.metrics.count(pushed);
                    retry.reset();
                    let new = async {
                        self.context.ledger.nudged().await;
                        tokio::time::sleep(COALESCE_FOR).await;
                    };
                    let _ = stop.run_until_cancelled(timeout(self.context.sync_interval, new)).await;
                }
                Err(error) => {
                    self.metrics.failures.inc();
                    if !std::mem::replace(&mut is_away, true) {
                        let leader = self.follower.leader().address();
                        tracing::warn!(leader, %error, "cannot push usage to the leader; it is kept and tried again");
                    }
                    pause(retry.wait(), &stop).await;
                }
            }
        }
        self.leave().await;
    }

    async fn leave(&self) {
        let last = async {
            self.metrics.count(self.follower.sync_once().await?);
            self.follower.leave().await
        };
        match timeout(LEAVE_TIMEOUT, last).await {
            Ok(Ok(())) => tracing::info!("everything is pushed; left the cluster"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "left without the leader; what is owed is pushed after the next start");
            }
            Err(_) => tracing::warn!("the leader took too long; what is owed is pushed after the next start"),
        }
    }

    /// The leader knows this run now: the ones before need not be remembered.
    async fn registered(&self) {
        self.metrics.registrations.inc();
        self.note_contact();
        if let Some(session) = self.follower.session()
            && let Err(error) = forget_previous_instances(session.instance, &self.context.store).await
        {
            tracing::warn!(%error, "this run could not be written down");
        }
    }

    /// A heartbeat as often as the leader wants one, and at once after a registration or with news.
    async fn run_heartbeats(self: Arc<Self>, stop: CancellationToken) {
        let mut sessions = self.follower.sessions();
        while !stop.is_cancelled() {
            let in_flight = (self.context.in_flight)();
            let heartbeat = self.follower.heartbeat_once(in_flight, self.leaving.load(Ordering::Relaxed));
            // A leader that accepts and says nothing must not hold up a node that leaves.
            let Some(response) = stop.run_until_cancelled(heartbeat).await else { return };
            match response {
                Ok(None) => {}
                Ok(Some(draining)) => {
                    self.note_contact();
                    self.note_drained(draining).await;
                }
                Err(error) => tracing::debug!(%error, "a heartbeat failed"),
            }
            self.metrics.update(self.follower.store(), &self.context.ledger).await;
            let wait = self.follower.session().map_or(Duration::from_secs(5), |session| session.heartbeat);
            let due = async {
                tokio::select! {
                    _ = timeout(wait, sessions.changed()) => {}
                    () = self.news.notified() => {}
                }
            };
            let _ = stop.run_until_cancelled(due).await;
        }
    }

    /// Applies what the leader sends.
    async fn run_watch(self: Arc<Self>, stop: CancellationToken) {
        let mut sessions = self.follower.sessions();
        let mut retry = Backoff::new();
        while !stop.is_cancelled() {
            let session = sessions.borrow_and_update().clone();
            let Some(session) = session else {
                let _ = stop.run_until_cancelled(sessions.changed()).await;
                continue;
            };
            let Some(ended) = stop.run_until_cancelled(self.watch_once(&session, &mut retry)).await else {
                return;
            };
            if let Err(error) = ended {
                self.follower.invalidate_session(&session, &error);
                tracing::debug!(%error, "the leader's news broke off; asking anew");
            }
            pause(retry.wait(), &stop).await;
        }
    }

    async fn watch_once(&self, session: &Session, retry: &mut Backoff) -> Result<(), Error> {
        let request = self.follower.watch_request(session).await?;
        let mut stream = self.follower.leader().watch(request).await?;
        loop {
            let limit = session.heartbeat * MISSED_HEARTBEATS_MAX;
            let message = timeout(limit, stream.message()).await;
            let message = message
                .map_err(|_| LeaderError::Unavailable("no news, not even that there are none".to_owned()))?;
            let message = message.map_err(|status| crate::cluster::follower::client::call_error(&status))?;
            let Some(message) = message else { return Ok(()) };
            retry.reset();
            self.note_contact();
            match self.follower.apply(message).await? {
                Applied::Nothing => {}
                Applied::Accounts => self.has_accounts.store(true, Ordering::Relaxed),
                Applied::Usage(usage) => {
                    let heard = self.remote_usage.lock().apply(usage, &self.context.quota);
                    heard.map_err(LeaderError::from)?;
                }
                Applied::Peers(peers) => self.apply_peers(peers).await,
            }
        }
    }

    async fn apply_peers(&self, peers: Vec<Peer>) {
        set_node_share(&self.context.quota, &self.id, self.context.weight, &peers);
        let own = peers.iter().find(|peer| peer.id == self.id);
        // One that leaves is listed as draining by its own word.
        let draining = own.map(|own| own.draining).filter(|_| !self.leaving.load(Ordering::Relaxed));
        if let Some(draining) = draining {
            self.note_drained(draining).await;
        }
        *self.peers.lock() = peers;
    }

    /// What an admin wants, also for a start without the leader.
    async fn note_drained(&self, drained: bool) {
        if self.drained.load(Ordering::Relaxed) == drained {
            return;
        }
        let meta = MetaRepo::on(&self.context.store);
        let noted = if drained {
            tracing::info!("drained by an admin: not ready, and whoever comes all the same is served");
            meta.set(MetaKey::Drained, "true").await
        } else {
            tracing::info!("an admin lets this node have traffic again");
            meta.unset(MetaKey::Drained).await
        };
        if let Err(error) = noted {
            tracing::warn!(%error, "this could not be written down; a start without the leader will not know of it");
        }
        self.drained.store(drained, Ordering::Relaxed);
    }

    /// Writes what a restart without the leader needs to the database.
    async fn run_persisting(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let goes_on = pause(PERSIST_EVERY, &stop).await;
            if let Err(error) = self.persist_once().await {
                tracing::warn!(%error, "what other nodes have used could not be written down");
            }
            if !goes_on {
                return;
            }
        }
    }

    async fn persist_once(&self) -> Result<(), Failure> {
        let meta = MetaRepo::on(&self.context.store);
        meta.set(MetaKey::LeaderHeardAt, &self.last_contact.load(Ordering::Relaxed).to_string()).await?;
        let share = share_to_text(&self.context.quota);
        if *self.persisted_share.lock() != share {
            meta.set(MetaKey::LimitShare, &share).await?;
            *self.persisted_share.lock() = share;
        }
        let kept = self.remote_usage.lock().take_changes();
        if let Some(text) = kept {
            meta.set(MetaKey::UsageElsewhere, &text).await?;
        }
        Ok(())
    }

    fn note_contact(&self) {
        self.last_contact.fetch_max(self.context.clock.now().as_micros(), Ordering::Relaxed);
    }

    fn silent_for(&self) -> Duration {
        let last_contact = Timestamp::from_micros(self.last_contact.load(Ordering::Relaxed));
        self.context.clock.now().since(last_contact)
    }

    /// How long the leader has been silent, if that is longer than allowed.
    fn staleness(&self) -> Option<Duration> {
        let silent = self.silent_for();
        self.context.max_staleness.filter(|most| silent > *most).map(|_| silent)
    }

    fn leader_name(&self) -> String {
        self.follower.session().map_or_else(|| "none".to_owned(), |session| session.leader_id.to_string())
    }
}
