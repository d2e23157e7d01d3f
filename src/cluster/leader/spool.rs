//! A leader's own usage, where the database is shared: booked in the node's own SQLite and pushed from there, as a
//! follower does, to the leader in this very process. So the node answers calls while the database is away, and a database
//! that has fallen back to a standby gets from here what it lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cluster::follower::Follower;
use crate::cluster::follower::instances::{begin_instance, forget_previous_instances, former_names};
use crate::cluster::follower::metrics::FollowerMetrics;
use crate::cluster::follower::pace::{next_heartbeat, next_push};
use crate::cluster::follower::service::LEAVE_TIMEOUT;
use crate::cluster::follower::store::FollowerDatabase;
use crate::cluster::leader::Leader;
use crate::cluster::leader::local::LocalClient;
use crate::cluster::leader::others::Connect;
use crate::cluster::leader::store::LeaderDatabase;
use crate::cluster::registration::Registration;
use crate::cluster::retry::Backoff;
use crate::cluster::task::{Task, pause};
use crate::domain::clock::Clock;
use crate::domain::failure::Failure;
use crate::domain::ids::NodeId;
use crate::ledger::Ledger;
use crate::store::Store;
use crate::telemetry::spans::Spans;

/// What a spool is made of.
pub struct Spool {
    /// The node's own database, and its books on it.
    pub store: Store,
    pub ledger: Ledger,
    /// How other nodes reach this leader's gRPC side.
    pub leads_at: String,
    /// The longest that a record waits before it is pushed.
    pub sync_interval: Duration,
    /// The most records in one push.
    pub sync_batch: usize,
    /// How many requests are being answered.
    pub in_flight: Arc<dyn Fn() -> u32 + Send + Sync>,
    /// How the other leaders are asked.
    pub connect: Connect,
    /// Who is told of pushes.
    pub spans: Option<Spans>,
    pub clock: Arc<dyn Clock>,
}

/// A spool at work.
pub(super) struct Pusher {
    follower: Follower<FollowerDatabase, LocalClient<LeaderDatabase>>,
    spool: Spool,
    /// An admin wants this node drained.
    drained: AtomicBool,
    leaving: AtomicBool,
    /// The next heartbeat is not waited for.
    news: Notify,
    metrics: FollowerMetrics,
}

impl Pusher {
    pub(super) async fn open(
        spool: Spool,
        leader: Arc<Leader<LeaderDatabase>>,
        id: NodeId,
        addr: String,
        weight: u32,
        is_drained: bool,
    ) -> Result<Self, Failure> {
        let (instance, former) = begin_instance(&spool.store).await?;
        let identity = Registration {
            node_id: id,
            instance,
            former,
            former_names: former_names(&spool.store).await?,
            addr,
            weight,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            leads_at: Some(spool.leads_at.clone()),
            led_ledger: None,
        };
        let disk = FollowerDatabase::without_accounts(spool.store.clone(), spool.ledger.clone());
        let metrics = FollowerMetrics::new(spool.spans.clone(), Arc::clone(&spool.clock));
        Ok(Self {
            follower: Follower::new(identity, disk, LocalClient(leader), spool.sync_batch),
            spool,
            drained: AtomicBool::new(is_drained),
            leaving: AtomicBool::new(false),
            news: Notify::new(),
            metrics,
        })
    }

    pub(super) fn tasks(self: &Arc<Self>) -> [Task; 2] {
        let [sync, heartbeats] = std::array::from_fn(|_| Arc::clone(self));
        [
            Task::new("usage sync", |stop| sync.run_sync(stop)),
            Task::new("heartbeat", |stop| heartbeats.run_heartbeats(stop)),
        ]
    }

    pub(super) fn connect(&self) -> Connect {
        Arc::clone(&self.spool.connect)
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.spool.ledger
    }

    /// Why this node should get no traffic; none: it may.
    pub(super) fn not_ready(&self) -> Option<String> {
        self.follower
            .refused()
            .or_else(|| self.drained.load(Ordering::Relaxed).then(|| "the node is drained".to_owned()))
    }

    /// The other leaders hear of it at once.
    pub(super) fn leaving(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// The word of an admin has changed: asks for it at once.
    pub(super) fn ask_at_once(&self) {
        self.news.notify_one();
    }

    pub(super) fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    async fn run_sync(self: Arc<Self>, stop: CancellationToken) {
        let mut retry = Backoff::new();
        let mut is_away = false;
        while !stop.is_cancelled() {
            let had_session = self.follower.session().is_some();
            let round = self.metrics.round();
            let Some(synced) = stop.run_until_cancelled(self.follower.sync_once()).await else { break };
            self.metrics.pushed(round, shared_database, synced.as_ref().copied());
            if !had_session {
                self.note_registration().await;
            }
            match synced {
                Ok(pushed) => {
                    if std::mem::take(&mut is_away) {
                        tracing::info!(pushed = pushed.total(), "the database takes usage again");
                    }
                    retry.reset();
                    let next = next_push(&self.spool.ledger, self.spool.sync_interval);
                    let _ = stop.run_until_cancelled(next).await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        tracing::warn!(%error, "usage does not reach the database; it is kept here and tried again");
                    }
                    pause(retry.wait(), &stop).await;
                }
            }
        }
        self.leave().await;
    }

    async fn note_registration(&self) {
        let Some(session) = self.follower.session() else { return };
        self.metrics.registrations.inc();
        if let Err(error) = forget_previous_instances(session.instance, &self.spool.store).await {
            tracing::warn!(%error, "this run could not be written down");
        }
    }

    async fn leave(&self) {
        let last = async {
            let round = self.metrics.round();
            let synced = self.follower.sync_once().await;
            self.metrics.pushed(round, shared_database, synced.as_ref().copied());
            synced?;
            self.follower.leave().await
        };
        match timeout(LEAVE_TIMEOUT, last).await {
            Ok(Ok(())) => tracing::info!("all usage is in the database; left the cluster"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "left without the database; what is owed is pushed after the next start");
            }
            Err(_) => {
                tracing::warn!("the database took too long; what is owed is pushed after the next start");
            }
        }
    }

    async fn run_heartbeats(self: Arc<Self>, stop: CancellationToken) {
        let mut sessions = self.follower.sessions();
        while !stop.is_cancelled() {
            let (in_flight, leaving) = ((self.spool.in_flight)(), self.leaving.load(Ordering::Relaxed));
            let heartbeat = self.follower.heartbeat_once(in_flight, leaving);
            match stop.run_until_cancelled(heartbeat).await {
                None => return,
                Some(Ok(None)) => {}
                Some(Ok(Some(draining))) => {
                    if self.drained.swap(draining, Ordering::Relaxed) != draining {
                        tracing::info!(draining, "an admin drains this node, or takes that back");
                    }
                }
                Some(Err(error)) => tracing::debug!(%error, "a heartbeat failed"),
            }
            self.metrics.update(self.follower.store(), &self.spool.ledger).await;
            let next = next_heartbeat(self.follower.session(), &mut sessions, &self.news);
            let _ = stop.run_until_cancelled(next).await;
        }
    }
}

/// Where a leader's own usage is pushed to.
fn shared_database() -> String {
    "the shared database".to_owned()
}
