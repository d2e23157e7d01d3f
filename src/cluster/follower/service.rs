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
use crate::cluster::follower::Follower;
use crate::cluster::follower::client::GrpcLeaderClient;
use crate::cluster::follower::instances::{begin_instance, forget_previous_instances, former_names};
use crate::cluster::follower::kept_leaders::keep_leaders;
use crate::cluster::follower::kept_peers::{known_peers, peers_to_text};
use crate::cluster::follower::leader_set::LeaderSet;
use crate::cluster::follower::metrics::FollowerMetrics;
use crate::cluster::follower::pace::{next_heartbeat, next_push};
use crate::cluster::follower::store::FollowerDatabase;
use crate::cluster::registration::Registration;
use crate::cluster::retry::Backoff;
use crate::cluster::standing::{Standing, TERM, TERM_HELP};
use crate::cluster::task::{Task, pause};
use crate::cluster::usage::remote::{RemoteUsage, restore_share, share_to_text};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::failure::Failure;
use crate::domain::ids::NodeId;
use crate::domain::leader_url::LeaderUrl;
use crate::domain::peer::Peer;
use crate::ledger::Ledger;
use crate::quota::Quota;
use crate::store::{MetaKey, MetaRepo, Store};
use crate::telemetry::scrape::{gauge, gauges};
use crate::telemetry::spans::Spans;

mod watch;

/// How long the last push and the leave may take: both have ended, and said how, before the supervisor gives them up.
pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(4);
/// How often what other nodes have used is written to the database, for a restart without the leader.
const PERSIST_EVERY: Duration = Duration::from_secs(5);
/// Nodes that have lost their leader come to another within so many first waits: from 150 to 450 ms later.
const SPREAD: u32 = 3;

/// What a follower is made of.
pub struct Dependencies {
    pub leaders: LeaderSet<GrpcLeaderClient>,
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
    pub standing: Standing,
    pub ledger: Ledger,
    pub accounts: Accounts,
    /// Filled with what this node alone has used.
    pub quota: Quota,
    pub clock: Arc<dyn Clock>,
    /// How many requests are being answered.
    pub in_flight: Arc<dyn Fn() -> u32 + Send + Sync>,
    /// Who is told of pushes.
    pub spans: Option<Spans>,
}

/// A follower's handle. Cheap to clone.
#[derive(Clone)]
pub struct FollowerService {
    inner: Arc<Inner>,
}

struct Inner {
    follower: Follower<FollowerDatabase, LeaderSet<GrpcLeaderClient>>,
    id: NodeId,
    context: Context,
    peers: Mutex<Vec<Peer>>,
    remote_usage: Mutex<RemoteUsage>,
    /// The peers that are written down.
    persisted_peers: Mutex<String>,
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
    standing: Standing,
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
        led_ledger: Some(MetaRepo::on(&deps.store).ledger_id().await?),
    };
    if let Some(promoted) = deps.standing.known() {
        deps.leaders.prefer(promoted);
    }
    let peers = known_peers(&deps.store).await?;
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
    let metrics = FollowerMetrics::new(deps.spans, Arc::clone(&deps.clock));
    let inner = Arc::new(Inner {
        follower: Follower::new(identity, disk, deps.leaders, deps.sync_batch),
        id,
        context: Context {
            weight: deps.weight,
            sync_interval: deps.sync_interval,
            max_staleness: deps.max_staleness,
            refuse_when_stale: deps.refuse_when_stale,
            store: deps.store,
            standing: deps.standing,
            ledger: deps.ledger,
            quota: deps.quota,
            clock: deps.clock,
            in_flight: deps.in_flight,
        },
        peers: Mutex::new(peers),
        persisted_peers: Mutex::default(),
        remote_usage: Mutex::new(remote_usage),
        persisted_share: Mutex::default(),
        last_contact: AtomicI64::new(last_contact),
        has_accounts: AtomicBool::new(has_accounts),
        drained: AtomicBool::new(drained),
        leaving: AtomicBool::new(false),
        news: Notify::new(),
        metrics,
    });
    let [sync, heartbeats, watch, persisting, successors] = std::array::from_fn(|_| Arc::clone(&inner));
    let tasks = vec![
        Task::new("usage sync", |stop| sync.run_sync(stop)),
        Task::new("heartbeat", |stop| heartbeats.run_heartbeats(stop)),
        Task::new("state watch", |stop| watch.run_watch(stop)),
        Task::new("cluster notes", |stop| persisting.run_persisting(stop)),
        Task::new("leadership", |stop| successors.run_successions(stop)),
    ];
    Ok((FollowerService { inner }, tasks))
}

impl FollowerService {
    /// Every peer as the leader last told, this process or the one before it; empty before it did.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.inner.peers.lock().clone()
    }

    /// The leader that is followed, or was last; none: this node has met none yet.
    #[must_use]
    pub fn leader_id(&self) -> Option<NodeId> {
        self.inner.follower.leaders().followed().map(|(leader, _)| leader)
    }

    /// How the leader's HTTP side is reached, once this node has heard from it.
    #[must_use]
    pub fn leader_addr(&self) -> Option<String> {
        let leader = self.inner.follower.session()?.leader_id;
        self.inner.peers.lock().iter().find(|peer| peer.id == leader).map(|peer| peer.addr.clone())
    }

    /// How long the leader has been silent.
    #[must_use]
    pub fn leader_silent_for(&self) -> Duration {
        self.inner.silent_for()
    }

    /// Why nobody can be known here: none of the leader's users have come yet. None: they have.
    #[must_use]
    pub fn no_accounts_yet(&self) -> Option<String> {
        let known = self.inner.has_accounts.load(Ordering::Relaxed);
        let leaders = self.inner.follower.leaders();
        (!known)
            .then(|| format!("the node has not heard from its leader at {leaders} yet: it knows no users"))
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
        let followed = self.inner.follower.leaders().followed();
        let labels =
            |(leader, at): (NodeId, LeaderUrl)| [("leader", leader.to_string()), ("address", at.to_string())];
        let followed = followed.map(|followed| (labels(followed), 1));
        gauges(to, "sproxy_cluster_following", "The leader that is followed, or was last.", followed)?;
        gauge(to, TERM, TERM_HELP, self.inner.context.standing.term())?;
        gauge(to, "sproxy_cluster_stale", "Whether that is longer than cluster.max_staleness.", is_stale)
    }
}

impl Inner {
    /// Pushes what is owed: when there is something new, at the latest after the interval, and after failures with
    /// growing waits. When asked to stop, it pushes once more and leaves the cluster.
    async fn run_sync(self: Arc<Self>, stop: CancellationToken) {
        let mut sessions = self.follower.sessions();
        let mut retry = Backoff::new();
        let mut is_away = false;
        while !stop.is_cancelled() {
            let had_session = self.follower.session().is_some();
            let round = self.metrics.round();
            let Some(synced) = stop.run_until_cancelled(self.follower.sync_once()).await else { break };
            self.metrics.pushed(round, || self.leader_name(), synced.as_ref().copied());
            let registered = !had_session && self.follower.session().is_some();
            if registered {
                self.registered().await;
            }
            match synced {
                Ok(pushed) => {
                    if std::mem::take(&mut is_away) || registered {
                        tracing::info!(leader = %self.leader_name(), pushed = pushed.total(), "in touch with the leader");
                    }
                    retry.reset();
                    let due = next_push(&self.context.ledger, self.context.sync_interval);
                    let lost = sessions.wait_for(Option::is_none);
                    let is_lost = stop.run_until_cancelled(async {
                        tokio::select! {
                            () = due => false,
                            _ = lost => true,
                        }
                    });
                    if is_lost.await == Some(true) {
                        pause(spread(&mut retry), &stop).await;
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        let leader = self.follower.leaders();
                        tracing::warn!(%leader, %error, "cannot push usage to the leader; it is kept and tried again");
                    }
                    let is_lost = had_session && self.follower.session().is_none();
                    pause(if is_lost { spread(&mut retry) } else { retry.wait() }, &stop).await;
                }
            }
        }
        self.leave().await;
    }

    async fn leave(&self) {
        let last = async {
            let round = self.metrics.round();
            let synced = self.follower.sync_once().await;
            self.metrics.pushed(round, || self.leader_name(), synced.as_ref().copied());
            synced?;
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
        if let Some(promoted) = self.follower.leaders().promoted()
            && let Err(error) = self.context.standing.learn(promoted).await
        {
            tracing::warn!(%error, "it could not be written down that the leader was promoted");
        }
        self.keep_leaders().await;
    }

    async fn keep_leaders(&self) {
        let (leaders, now) = (self.follower.leaders(), self.context.clock.now());
        if let Err(error) = keep_leaders(leaders, &self.context.store, now).await {
            tracing::warn!(%error, "the leaders could not be written down; a start without those of the configuration will not know the others");
        }
    }

    /// Turns to a leader that was promoted as soon as this node hears of it.
    async fn run_successions(self: Arc<Self>, stop: CancellationToken) {
        let standing = &self.context.standing;
        let mut known = standing.known();
        while stop.run_until_cancelled(standing.changed(known.as_ref())).await.is_some() {
            known = standing.known();
            let leaders = self.follower.leaders();
            if let Some(promoted) =
                standing.superseded_by().filter(|to| leaders.promoted().as_ref() != Some(to))
            {
                tracing::warn!(leader = %promoted, "a leader was promoted: this node follows it");
                leaders.prefer(promoted);
                self.follower.end_session();
            }
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
            let next = next_heartbeat(self.follower.session(), &mut sessions, &self.news);
            let _ = stop.run_until_cancelled(next).await;
        }
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
        let peers = peers_to_text(&self.peers.lock())?;
        if *self.persisted_peers.lock() != peers {
            meta.set(MetaKey::Peers, &peers).await?;
            *self.persisted_peers.lock() = peers;
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

/// How long a node waits before it looks for another leader, for those that have lost one with it not to come all at once.
fn spread(retry: &mut Backoff) -> Duration {
    retry.wait().max(Backoff::new().wait() * SPREAD)
}
