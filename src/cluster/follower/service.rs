//! A follower at work: its handle for the rest of the node, and its background tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::cluster::follower::client::GrpcLeaderClient;
use crate::cluster::follower::instances::{former_names, only, runs};
use crate::cluster::follower::leader_client::LeaderError;
use crate::cluster::follower::push::{Error, FollowerStore, Pushed, Session};
use crate::cluster::follower::store::FollowerDatabase;
use crate::cluster::follower::{Applied, Follower, Identity};
use crate::cluster::replication::provenance::token_keys;
use crate::cluster::retry::Backoff;
use crate::cluster::task::{Task, pause};
use crate::cluster::usage::remote::{RemoteUsage, share_from_kept, share_of_limits, share_to_keep};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::failure::Failure;
use crate::domain::ids::NodeId;
use crate::domain::peer::Peer;
use crate::ledger::Ledger;
use crate::quota::Quota;
use crate::store::{MetaKey, MetaRepo, Store};
use crate::telemetry::{Counter, Exposition, Gauge};

mod refused;

/// After the first new record others have this long to go along.
const TOGETHER: Duration = Duration::from_millis(20);
/// How long the last push and the farewell may take: both have ended, and said how, before the supervisor gives them up.
pub const FAREWELL_MAX: Duration = Duration::from_secs(4);
/// How often what others have used is written down.
const KEEP_EVERY: Duration = Duration::from_secs(5);
/// So many missed heartbeats of the leader's stream and it is opened anew.
const SILENCE_MAX: u32 = 3;

/// What a follower is made of.
pub struct Parts {
    /// The line to the leader.
    pub link: GrpcLeaderClient,
    /// How clients reach its HTTP side.
    pub addr: String,
    /// Its share of traffic.
    pub weight: u32,
    /// The longest that a record waits before it is pushed.
    pub sync_interval: Duration,
    /// The most records in one push.
    pub sync_batch: usize,
    /// How long the leader may be silent before this node calls itself stale; none: for ever.
    pub max_staleness: Option<Duration>,
    /// Whether a stale node refuses calls.
    pub refuse_when_stale: bool,
    /// Its database.
    pub store: Store,
    /// Its ledger.
    pub ledger: Ledger,
    /// Its users.
    pub accounts: Accounts,
    /// Its limits, filled with what this node alone has used.
    pub quota: Quota,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How many requests are being answered.
    pub in_flight: Arc<dyn Fn() -> u32 + Send + Sync>,
}

/// A follower's handle. Cheap to clone.
#[derive(Clone)]
pub struct FollowerService {
    shared: Arc<Shared>,
}

struct Shared {
    follower: Follower<FollowerDatabase, GrpcLeaderClient>,
    id: NodeId,
    parts: Kept,
    peers: Mutex<Vec<Peer>>,
    elsewhere: Mutex<RemoteUsage>,
    /// The share of limits that is written down.
    kept_share: Mutex<String>,
    /// When the leader was last heard of, microseconds; before that, when this node started.
    heard_at: AtomicI64,
    has_accounts: AtomicBool,
    /// An admin wants this node drained.
    drained: AtomicBool,
    /// This node is going.
    leaving: AtomicBool,
    metrics: Metrics,
}

/// What of [`Parts`] is needed later.
struct Kept {
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

#[derive(Debug, Default)]
struct Metrics {
    accepted: Counter,
    duplicates: Counter,
    rejected: Counter,
    failures: Counter,
    registrations: Counter,
    unsynced: Gauge,
    set_aside: Gauge,
}

/// Opens a follower on its database. Its tasks have to be run. Works without the leader.
///
/// # Errors
/// What the database says.
pub async fn start(id: NodeId, parts: Parts) -> Result<(FollowerService, Vec<Task>), Failure> {
    let (instance, former) = runs(&parts.store).await?;
    let identity = Identity {
        node_id: id.clone(),
        instance,
        former,
        former_names: former_names(&parts.store).await?,
        addr: parts.addr,
        weight: parts.weight,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let accounts = parts.store.accounts_state().await?;
    let has_accounts = !accounts.users.is_empty();
    parts.accounts.adopt(&accounts, &token_keys(&parts.store).await?);
    let kept = MetaRepo::on(&parts.store).get(MetaKey::UsageElsewhere).await?.unwrap_or_default();
    let elsewhere = RemoteUsage::from_kept(&kept, &parts.quota);
    if let Some(share) = MetaRepo::on(&parts.store).get(MetaKey::LimitShare).await? {
        share_from_kept(&share, &parts.quota);
    }
    let heard_at = MetaRepo::on(&parts.store).get(MetaKey::LeaderHeardAt).await?;
    let heard_at =
        heard_at.and_then(|text| text.parse().ok()).unwrap_or_else(|| parts.clock.now().as_micros());
    let disk = FollowerDatabase::new(parts.store.clone(), parts.ledger.clone(), parts.accounts);
    let shared = Arc::new(Shared {
        follower: Follower::new(identity, disk, parts.link, parts.sync_batch),
        id,
        parts: Kept {
            weight: parts.weight,
            sync_interval: parts.sync_interval,
            max_staleness: parts.max_staleness,
            refuse_when_stale: parts.refuse_when_stale,
            store: parts.store,
            ledger: parts.ledger,
            quota: parts.quota,
            clock: parts.clock,
            in_flight: parts.in_flight,
        },
        peers: Mutex::default(),
        elsewhere: Mutex::new(elsewhere),
        kept_share: Mutex::default(),
        heard_at: AtomicI64::new(heard_at),
        has_accounts: AtomicBool::new(has_accounts),
        drained: AtomicBool::new(false),
        leaving: AtomicBool::new(false),
        metrics: Metrics::default(),
    });
    let [sync, heartbeat_once, watch, keep] = std::array::from_fn(|_| Arc::clone(&shared));
    let tasks = vec![
        Task::new("usage sync", |stop| sync.sync(stop)),
        Task::new("heartbeat", |stop| heartbeat_once.heartbeat_once(stop)),
        Task::new("state watch", |stop| watch.watch(stop)),
        Task::new("cluster notes", |stop| keep.keep(stop)),
    ];
    Ok((FollowerService { shared }, tasks))
}

impl FollowerService {
    /// Every peer as the leader last told; empty before it did.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.shared.peers.lock().clone()
    }

    /// How the leader's HTTP side is reached, once this node has heard from it.
    #[must_use]
    pub fn leader_addr(&self) -> Option<String> {
        let leader = self.shared.follower.session()?.leader_id;
        self.shared.peers.lock().iter().find(|peer| peer.id == leader).map(|peer| peer.addr.clone())
    }

    /// Why nobody can be known here: none of the leader's users have come yet. None: they have.
    #[must_use]
    pub fn no_accounts_yet(&self) -> Option<String> {
        let leader = self.shared.follower.leader().address();
        let known = self.shared.has_accounts.load(Ordering::Relaxed);
        (!known).then(|| format!("the node has not heard from its leader at {leader} yet: it knows no users"))
    }

    /// Why this node should get no traffic; none: it may.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        if let Some(reason) = self.no_accounts_yet() {
            return Some(reason);
        }
        if let Some(refused) = self.shared.follower.refused() {
            return Some(refused);
        }
        if self.shared.drained.load(Ordering::Relaxed) {
            return Some("the node is drained".to_owned());
        }
        self.shared
            .staleness()
            .map(|silent| format!("stale: the leader has been silent for {} s", silent.as_secs()))
    }

    /// Whether calls are to be refused, because the leader has been silent for longer than is allowed.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.shared.parts.refuse_when_stale && self.shared.staleness().is_some()
    }

    /// Tells the leader with the next heartbeats that this node is going.
    pub fn leaving(&self) {
        self.shared.leaving.store(true, Ordering::Relaxed);
    }

    /// Writes the follower's metrics.
    pub fn expose(&self, to: &mut Exposition) {
        let metrics = &self.shared.metrics;
        to.counter(
            "sproxy_sync_accepted_total",
            "Usage logs that were new to the leader.",
            metrics.accepted.get(),
        );
        to.counter(
            "sproxy_sync_duplicates_total",
            "Usage logs that the leader had already.",
            metrics.duplicates.get(),
        );
        to.counter(
            "sproxy_sync_rejected_total",
            "Usage logs that the leader rejects; they are set aside.",
            metrics.rejected.get(),
        );
        to.counter("sproxy_sync_failures_total", "Rounds of pushing that failed.", metrics.failures.get());
        to.counter(
            "sproxy_cluster_registrations_total",
            "Times this node registered.",
            metrics.registrations.get(),
        );
        to.gauge(
            "sproxy_sync_unsynced",
            "Usage logs that the leader has not acknowledged, those set aside included.",
            metrics.unsynced.get(),
        );
        to.gauge(
            "sproxy_sync_set_aside",
            "Usage logs that the leader refused. `sproxy usage retry-rejected` offers them again, dismiss-rejected gives them up.",
            metrics.set_aside.get(),
        );
        to.gauge(
            "sproxy_cluster_registered",
            "Whether the leader knows this node.",
            u8::from(self.shared.follower.session().is_some()),
        );
        let silent = self.shared.silent_for().as_secs_f64();
        to.gauge(
            "sproxy_cluster_leader_silent_seconds",
            "How long ago the leader was last heard of.",
            silent,
        );
        to.gauge(
            "sproxy_cluster_stale",
            "Whether that is longer than cluster.max_staleness.",
            u8::from(self.shared.staleness().is_some()),
        );
    }
}

impl Shared {
    /// Pushes what is owed: when there is something new, at the latest after the interval, and after failures with
    /// growing waits. At the end once more, and then farewell.
    async fn sync(self: Arc<Self>, stop: CancellationToken) {
        let mut retry = Backoff::new();
        let mut away = false;
        while !stop.is_cancelled() {
            let had_session = self.follower.session().is_some();
            let Some(round) = stop.run_until_cancelled(self.follower.sync_once()).await else { break };
            let registered = !had_session && self.follower.session().is_some();
            if registered {
                self.registered().await;
            }
            match round {
                Ok(pushed) => {
                    if std::mem::take(&mut away) || registered {
                        tracing::info!(leader = %self.leader_name(), pushed = pushed.total(), "in touch with the leader");
                    }
                    self.count(pushed);
                    retry.reset();
                    let new = async {
                        self.parts.ledger.nudged().await;
                        tokio::time::sleep(TOGETHER).await;
                    };
                    let _ = stop.run_until_cancelled(timeout(self.parts.sync_interval, new)).await;
                }
                Err(error) => {
                    self.metrics.failures.increment();
                    if !std::mem::replace(&mut away, true) {
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
            self.count(self.follower.sync_once().await?);
            self.follower.leave().await
        };
        match timeout(FAREWELL_MAX, last).await {
            Ok(Ok(())) => tracing::info!("everything is pushed; left the cluster"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "left without the leader; what is owed is pushed after the next start");
            }
            Err(_) => tracing::warn!("the leader took too long; what is owed is pushed after the next start"),
        }
    }

    /// The leader knows this run now: the ones before need not be remembered.
    async fn registered(&self) {
        self.metrics.registrations.increment();
        self.heard();
        if let Some(session) = self.follower.session()
            && let Err(error) = only(session.instance, &self.parts.store).await
        {
            tracing::warn!(%error, "this run could not be written down");
        }
    }

    /// A sign of life as often as the leader wants one, and at once after a registration.
    async fn heartbeat_once(self: Arc<Self>, stop: CancellationToken) {
        let mut sessions = self.follower.sessions();
        while !stop.is_cancelled() {
            let in_flight = (self.parts.in_flight)();
            let beating = self.follower.heartbeat_once(in_flight, self.leaving.load(Ordering::Relaxed));
            // A leader that accepts and says nothing must not hold up a node that leaves.
            let Some(beaten) = stop.run_until_cancelled(beating).await else { return };
            match beaten {
                Ok(None) => {}
                Ok(Some(draining)) => {
                    self.heard();
                    self.drained.store(draining, Ordering::Relaxed);
                }
                Err(error) => tracing::debug!(%error, "a heartbeat failed"),
            }
            self.gauge_debts().await;
            let wait = self.follower.session().map_or(Duration::from_secs(5), |session| session.heartbeat);
            let changed = timeout(wait, sessions.changed());
            let _ = stop.run_until_cancelled(changed).await;
        }
    }

    /// Takes over what the leader tells, as it tells it.
    async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut sessions = self.follower.sessions();
        let mut retry = Backoff::new();
        while !stop.is_cancelled() {
            let session = sessions.borrow_and_update().clone();
            let Some(session) = session else {
                let _ = stop.run_until_cancelled(sessions.changed()).await;
                continue;
            };
            let Some(ended) = stop.run_until_cancelled(self.listen(&session, &mut retry)).await else {
                return;
            };
            if let Err(error) = ended {
                self.follower.invalidate_session(&session, &error);
                tracing::debug!(%error, "the leader's news broke off; asking anew");
            }
            pause(retry.wait(), &stop).await;
        }
    }

    async fn listen(&self, session: &Session, retry: &mut Backoff) -> Result<(), Error> {
        let request = self.follower.watch_request(session).await?;
        let mut stream = self.follower.leader().watch(request).await?;
        loop {
            let patience = session.heartbeat * SILENCE_MAX;
            let message = timeout(patience, stream.message()).await;
            let message =
                message.map_err(|_| LeaderError::Away("no news, not even that there are none".to_owned()))?;
            let message = message.map_err(|status| crate::cluster::follower::client::call_error(&status))?;
            let Some(message) = message else { return Ok(()) };
            retry.reset();
            self.heard();
            match self.follower.apply(message).await? {
                Applied::Nothing => {}
                Applied::Accounts => self.has_accounts.store(true, Ordering::Relaxed),
                Applied::Usage(usage) => {
                    let heard = self.elsewhere.lock().apply(usage, &self.parts.quota);
                    heard.map_err(LeaderError::from)?;
                }
                Applied::Peers(peers) => self.meet(peers),
            }
        }
    }

    fn meet(&self, peers: Vec<Peer>) {
        share_of_limits(&self.parts.quota, &self.id, self.parts.weight, &peers);
        if let Some(own) = peers.iter().find(|peer| peer.id == self.id) {
            self.drained.store(own.draining && !self.leaving.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        *self.peers.lock() = peers;
    }

    /// Writes down what a restart without the leader needs.
    async fn keep(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let goes_on = pause(KEEP_EVERY, &stop).await;
            if let Err(error) = self.keep_once().await {
                tracing::warn!(%error, "what other nodes have used could not be written down");
            }
            if !goes_on {
                return;
            }
        }
    }

    async fn keep_once(&self) -> Result<(), Failure> {
        let meta = MetaRepo::on(&self.parts.store);
        meta.set(MetaKey::LeaderHeardAt, &self.heard_at.load(Ordering::Relaxed).to_string()).await?;
        let share = share_to_keep(&self.parts.quota);
        if *self.kept_share.lock() != share {
            meta.set(MetaKey::LimitShare, &share).await?;
            *self.kept_share.lock() = share;
        }
        let kept = self.elsewhere.lock().take_news();
        if let Some(text) = kept {
            meta.set(MetaKey::UsageElsewhere, &text).await?;
        }
        Ok(())
    }

    async fn gauge_debts(&self) {
        if let Ok(debts) = self.follower.books().debts().await {
            self.metrics.unsynced.set(i64::try_from(debts.unsynced).unwrap_or(i64::MAX));
        }
        if let Ok(aside) = self.parts.ledger.usage().set_aside_count().await {
            self.metrics.set_aside.set(i64::try_from(aside).unwrap_or(i64::MAX));
        }
    }

    fn count(&self, pushed: Pushed) {
        self.metrics.accepted.add(pushed.accepted);
        self.metrics.duplicates.add(pushed.duplicates);
        self.metrics.rejected.add(pushed.rejected);
    }

    fn heard(&self) {
        self.heard_at.fetch_max(self.parts.clock.now().as_micros(), Ordering::Relaxed);
    }

    fn silent_for(&self) -> Duration {
        let heard_at = Timestamp::from_micros(self.heard_at.load(Ordering::Relaxed));
        self.parts.clock.now().since(heard_at)
    }

    /// How long the leader has been silent, if that is longer than allowed.
    fn staleness(&self) -> Option<Duration> {
        let silent = self.silent_for();
        self.parts.max_staleness.filter(|most| silent > *most).map(|_| silent)
    }

    fn leader_name(&self) -> String {
        self.follower.session().map_or_else(|| "none".to_owned(), |session| session.leader_id.to_string())
    }
}
