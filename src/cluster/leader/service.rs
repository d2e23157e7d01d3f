//! A leader at work: its handle for the rest of the node, and its background tasks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::cluster::leader::Leader;
use crate::cluster::leader::announcer::Announcer;
use crate::cluster::leader::freshness::Freshness;
use crate::cluster::leader::others::Others;
use crate::cluster::leader::past::{distrust_departures, take_over_unsynced};
use crate::cluster::leader::registry;
use crate::cluster::leader::spool::{Pusher, Spool};
use crate::cluster::leader::store::LeaderDatabase;
use crate::cluster::replication::provenance::note_origin;
use crate::cluster::retry::Backoff;
use crate::cluster::standing::{Standing, TERM, TERM_HELP};
use crate::cluster::task::{Task, pause};
use crate::cluster::usage::remote::set_node_share;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::failure::Failure;
use crate::domain::ids::{InstanceId, LedgerId, NodeId};
use crate::domain::peer::{Incomplete, Peer};
use crate::domain::summary::StatsBy;
use crate::ledger::Ledger;
use crate::quota::Quota;
use crate::store::{MetaRepo, PeerRepo, Store, UsageRepo};
use crate::telemetry::scrape::gauge;

/// Interval at which sums of usage are exchanged.
const USAGE_EVERY: Duration = Duration::from_millis(100);

/// Subjects that are passed on at once.
const SUBJECTS_MAX: usize = 1_000;

/// The most nodes whose past usage is counted apart.
const NODES_MAX: usize = registry::PEERS_MAX;

/// What a leader is made of.
pub struct Dependencies {
    pub id: NodeId,
    /// How clients reach its HTTP side.
    pub addr: String,
    /// Its share of traffic.
    pub weight: u32,
    /// How often followers are to be heard of.
    pub heartbeat_interval: Duration,
    pub store: Store,
    /// Whether it leads by promotion; none where its database is shared.
    pub standing: Option<Standing>,
    /// What nodes of the cluster prove themselves with.
    pub secret: Option<String>,
    pub books: Books,
    /// Its users; after the first start has made the user `admin`.
    pub accounts: Accounts,
    /// Its limits, filled with what this node alone has used.
    pub quota: Quota,
    pub clock: Arc<dyn Clock>,
    /// How old what is known of the shared database may be.
    pub freshness: Freshness,
}

/// Where a leader books its own usage.
pub enum Books {
    /// In its database, which is its alone.
    Own(Ledger),
    /// In a database of the node's own, from which it is pushed to the one that leaders share.
    Spool(Box<Spool>),
}

/// A leader's handle. Cheap to clone.
#[derive(Clone)]
pub struct LeaderService {
    inner: Arc<Inner>,
}

struct Inner {
    leader: Arc<Leader<LeaderDatabase>>,
    addr: String,
    weight: u32,
    store: Store,
    books: OpenBooks,
    accounts: Accounts,
    quota: Quota,
    clock: Arc<dyn Clock>,
    registered_at: Timestamp,
    /// An admin wants this node drained.
    draining: AtomicBool,
    /// This node is shutting down.
    leaving: AtomicBool,
    /// Up to here the leader's own ledger owes nothing; microseconds, looked up now and then.
    own_through: AtomicI64,
    freshness: Arc<Freshness>,
}

enum OpenBooks {
    Own(Ledger),
    Spool(Arc<Pusher>),
}

/// Opens a leader on its database. Its tasks have to be run.
pub async fn start(deps: Dependencies) -> Result<(LeaderService, Vec<Task>), Failure> {
    note_origin(&deps.store).await?;
    take_over_unsynced(&deps.store).await?;
    distrust_departures(&deps.store).await?;
    let peers = PeerRepo::on(&deps.store).list().await?;
    let own = peers.iter().find(|peer| peer.id == deps.id);
    let (registered_at, is_drained) = (own.map(|own| own.registered_at), own.is_some_and(|own| own.draining));
    let disk = LeaderDatabase::new(deps.store.clone(), deps.accounts.clone());
    let clock = Arc::clone(&deps.clock);
    let instance = InstanceId::new();
    let leader = Leader::open(deps.id.clone(), instance, deps.heartbeat_interval, disk, peers, clock).await?;
    let leader = Arc::new(leader.with_standing(deps.standing.clone()));
    let books = match deps.books {
        Books::Own(ledger) => OpenBooks::Own(ledger),
        Books::Spool(spool) => {
            leader.set_leads_at(&spool.leads_at);
            let (leader, addr) = (Arc::clone(&leader), deps.addr.clone());
            OpenBooks::Spool(Arc::new(
                Pusher::open(*spool, leader, deps.id, addr, deps.weight, is_drained).await?,
            ))
        }
    };
    let inner = Arc::new(Inner {
        leader,
        addr: deps.addr,
        weight: deps.weight,
        registered_at: registered_at.unwrap_or_else(|| deps.clock.now()),
        draining: AtomicBool::new(false),
        leaving: AtomicBool::new(false),
        own_through: AtomicI64::new(0),
        freshness: Arc::new(deps.freshness),
        store: deps.store,
        books,
        accounts: deps.accounts,
        quota: deps.quota,
        clock: deps.clock,
    });
    inner.load_usage().await?;
    set_node_share(&inner.quota, inner.leader.id(), inner.weight, &inner.leader.peers());
    if let OpenBooks::Own(_) = &inner.books {
        inner.write_own_row(None).await?;
    }
    let mut tasks = vec![
        Task::new("cluster registry", {
            let inner = Arc::clone(&inner);
            |stop| inner.run_registry(stop)
        }),
        Task::new("cluster state", {
            let inner = Arc::clone(&inner);
            |stop| inner.run_state_publishing(stop)
        }),
        Task::new("cluster usage", {
            let inner = Arc::clone(&inner);
            |stop| inner.run_usage_exchange(stop)
        }),
    ];
    if let Some(standing) = deps.standing.filter(|standing| standing.own().is_some()) {
        let announcer = Announcer { standing, leader: Arc::clone(&inner.leader), secret: deps.secret };
        tasks.push(Task::new("leadership", |stop| announcer.run(stop)));
    }
    if let OpenBooks::Spool(pusher) = &inner.books {
        tasks.extend(pusher.tasks());
        let others = Others {
            leader: Arc::clone(&inner.leader),
            accounts: inner.accounts.clone(),
            store: inner.store.clone(),
            connect: pusher.connect(),
            freshness: Arc::clone(&inner.freshness),
        };
        tasks.extend(Arc::new(others).tasks());
    }
    Ok((LeaderService { inner }, tasks))
}

impl LeaderService {
    /// What the gRPC services answer from.
    #[must_use]
    pub fn leader(&self) -> Arc<Leader<LeaderDatabase>> {
        Arc::clone(&self.inner.leader)
    }

    /// The leader as a peer among the others: drained by an admin, or by itself.
    #[must_use]
    pub fn own_peer(&self) -> Peer {
        let own = self.inner.leader.peers().into_iter().find(|peer| peer.id == *self.inner.leader.id());
        let own = own.unwrap_or_else(|| self.inner.own_peer());
        Peer { draining: own.draining || self.inner.leaving.load(Ordering::Relaxed), ..own }
    }

    /// Tells followers, and whoever asks for the peers, that this node is shutting down.
    pub fn leaving(&self) {
        self.inner.leaving.store(true, Ordering::Relaxed);
        if let OpenBooks::Spool(pusher) = &self.inner.books {
            pusher.leaving();
        }
        self.inner.leader.notify_watchers();
    }

    /// Every peer, the leader first.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let mut peers = self.inner.leader.peers();
        peers.retain(|peer| peer.id != *self.inner.leader.id());
        peers.insert(0, self.own_peer());
        peers
    }

    /// Who holds [`Self::complete_through`] back.
    #[must_use]
    pub fn incomplete(&self) -> Vec<Incomplete> {
        self.inner.leader.incomplete()
    }

    /// Up to here every peer that has not left with nothing owed, and the leader's own ledger, owes nothing. Looked up
    /// every tenth of a second.
    #[must_use]
    pub fn complete_through(&self) -> Option<Timestamp> {
        self.inner.leader.complete_through(self.inner.own_through())
    }

    /// Drains a peer, the leader itself included, or takes that back.
    ///
    /// # Errors
    /// No such peer; what the database says.
    pub async fn drain(&self, id: &NodeId, draining: bool) -> Result<Peer, Failure> {
        match &self.inner.books {
            OpenBooks::Own(_) if id == self.inner.leader.id() => {
                self.inner.write_own_row(Some(draining)).await
            }
            OpenBooks::Own(_) => self.inner.leader.drain(id, draining).await,
            OpenBooks::Spool(pusher) => {
                let peer = self.inner.leader.drain(id, draining).await?;
                pusher.ask_at_once();
                Ok(peer)
            }
        }
    }

    /// Forgets a peer that does not live.
    ///
    /// # Errors
    /// No such peer, or it lives; what the database says.
    pub async fn forget(&self, id: &NodeId) -> Result<(), Failure> {
        self.inner.leader.forget(id).await
    }

    /// The node's own books, where they are owed to a database that leaders share.
    #[must_use]
    pub fn spool(&self) -> Option<&Ledger> {
        match &self.inner.books {
            OpenBooks::Own(_) => None,
            OpenBooks::Spool(pusher) => Some(pusher.ledger()),
        }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    #[must_use]
    pub fn ledger_id(&self) -> LedgerId {
        self.inner.leader.ledger()
    }

    /// Why this node should get no traffic; none: it may.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        match &self.inner.books {
            OpenBooks::Own(_) => {
                self.inner.draining.load(Ordering::Relaxed).then(|| "the node is drained".to_owned())
            }
            OpenBooks::Spool(pusher) => pusher.not_ready().or_else(|| self.inner.freshness.not_ready()),
        }
    }

    /// Whether calls are to be refused, because what this leader knows of users and limits is too old.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(self.inner.books, OpenBooks::Spool(_)) && self.inner.freshness.refuses()
    }

    pub fn register_metrics(&self, registry: &mut Registry) {
        self.inner.leader.metrics().register(registry);
        if let OpenBooks::Spool(pusher) = &self.inner.books {
            pusher.register_metrics(registry);
        }
        registry.register_collector(Box::new(self.clone()));
    }
}

impl fmt::Debug for LeaderService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaderService")
    }
}

impl Collector for LeaderService {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        let peers = self.peers();
        let active = peers.iter().filter(|peer| peer.is_active).count();
        let owed: u64 = peers.iter().map(|peer| peer.unsynced).sum();
        let help = "Nodes in the registry, the leader included.";
        gauge(to, "sproxy_cluster_peers", help, peers.len())?;
        gauge(to, "sproxy_cluster_peers_active", "Nodes that were heard of lately.", active)?;
        gauge(to, "sproxy_cluster_unsynced", "Usage logs that followers owe, by their own word.", owed)?;
        gauge(to, TERM, TERM_HELP, self.inner.leader.term())?;
        let Some(through) = self.complete_through() else { return Ok(()) };
        let behind = self.inner.clock.now().since(through).as_secs_f64();
        let help = "How old the moment is up to which totals are complete.";
        gauge(to, "sproxy_cluster_complete_behind_seconds", help, behind)?;
        let help = "The moment up to which totals are complete, Unix time.";
        #[allow(clippy::cast_precision_loss, reason = "microseconds are below 2^53")]
        let through = through.as_micros() as f64 / 1e6;
        gauge(to, "sproxy_cluster_complete_through_seconds", help, through)
    }
}

impl Inner {
    fn own_peer(&self) -> Peer {
        Peer {
            id: self.leader.id().clone(),
            addr: self.addr.clone(),
            weight: self.weight,
            is_active: true,
            draining: self.draining.load(Ordering::Relaxed),
            registered_at: self.registered_at,
            last_seen: Some(self.clock.now()),
            unsynced: 0,
            synced_through: self.own_through(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            leads_at: None,
            instance_id: None,
        }
    }

    /// Writes this leader's own row of the peers: it lives, and owes nothing up to here. `draining` stays as an admin set it,
    /// unless `drain` says otherwise.
    async fn write_own_row(&self, drain: Option<bool>) -> Result<Peer, Failure> {
        let tx = self.store.begin().await?;
        let peers = PeerRepo::on(&tx);
        let held = peers.get_for_update(self.leader.id()).await?;
        if let Some(draining) = drain.or(held.map(|own| own.draining)) {
            self.draining.store(draining, Ordering::Relaxed);
        }
        let own = self.own_peer();
        peers.upsert(&own).await?;
        tx.commit().await?;
        Ok(own)
    }

    fn own_through(&self) -> Option<Timestamp> {
        Some(self.own_through.load(Ordering::Relaxed))
            .filter(|micros| *micros > 0)
            .map(Timestamp::from_micros)
    }

    /// What each node has used in the present windows, from the rollups: grows with those of this month. The leader's own
    /// limits know what the leader itself has used.
    async fn load_usage(&self) -> Result<(), Failure> {
        let now = self.clock.now();
        let usage = UsageRepo::on(&self.store);
        let nodes =
            usage.stats_by(StatsBy::Node, now.month_start(), now.next_month_start(), NODES_MAX).await?;
        let nodes = nodes.iter().filter_map(|row| row.key.parse::<NodeId>().ok());
        let own = matches!(self.books, OpenBooks::Own(_)).then(|| self.leader.id());
        self.leader.invalidate(nodes.filter(|node| Some(node) != own));
        self.leader.reload_invalidated().await?;
        self.pass_on_local_usage(now);
        Ok(())
    }

    /// What this node itself has used. From a spool it comes as from a follower, with the batches that it pushes.
    fn pass_on_local_usage(&self, now: Timestamp) {
        let sums = self.quota.take_changed(now);
        if let OpenBooks::Own(_) = self.books {
            self.leader.set_local_usage(&sums);
        }
    }

    /// Once per heartbeat: marks silent peers inactive, and writes what the others said.
    async fn run_registry(self: Arc<Self>, stop: CancellationToken) {
        while pause(self.leader.heartbeat_interval(), &stop).await {
            if let Err(error) = self.leader.sweep().await {
                tracing::warn!(%error, "the registry could not be written; it is tried again");
            }
            if let Err(error) = self.check_state_rollback().await {
                tracing::warn!(%error, "accounts could not be compared with the database; it is tried again");
            }
        }
    }

    /// A database that has fallen back under this process gets the accounts back that it lost.
    async fn check_state_rollback(&self) -> Result<(), Failure> {
        let version = MetaRepo::on(&self.store).state_version().await?;
        if self.leader.has_seen_version_above(version) {
            self.leader.state_changed().await?;
        }
        Ok(())
    }

    /// Publishes accounts to followers whenever they have changed.
    async fn run_state_publishing(self: Arc<Self>, stop: CancellationToken) {
        let mut versions = self.accounts.versions();
        let mut retry = Backoff::new();
        loop {
            versions.mark_unchanged();
            if let Err(error) = self.leader.state_changed().await {
                tracing::warn!(%error, "changed accounts could not be read for followers; it is tried again");
                if !pause(retry.wait(), &stop).await {
                    return;
                }
                continue;
            }
            retry.reset();
            if !matches!(stop.run_until_cancelled(versions.changed()).await, Some(Ok(()))) {
                // The other end lives as long as this node's accounts, which are held here.
                return;
            }
        }
    }

    /// Ten times a second: passes on what was used here to the followers, and what was used there to this node's limits.
    async fn run_usage_exchange(self: Arc<Self>, stop: CancellationToken) {
        let mut through = 0;
        while pause(USAGE_EVERY, &stop).await {
            let now = self.clock.now();
            if let Err(error) = self.leader.reload_invalidated().await {
                tracing::warn!(%error, "what nodes have used cannot be read; limits go by what is known");
            }
            if self.leader.take_clock_setback() {
                self.quota.mark_all_changed();
            }
            self.pass_on_local_usage(now);
            loop {
                let delta = self.leader.remote_usage(through, self.leader.id(), SUBJECTS_MAX);
                if delta.through == through {
                    break;
                }
                through = delta.through;
                for (subject, used) in delta.subjects {
                    self.quota.set_remote(subject, used, now);
                }
            }
            set_node_share(&self.quota, self.leader.id(), self.weight, &self.leader.peers());
            let OpenBooks::Own(ledger) = &self.books else { continue };
            match ledger.synced_through().await {
                Ok(own) => self.own_through.store(own.as_micros(), Ordering::Relaxed),
                Err(error) => tracing::warn!(%error, "the ledger cannot say how far it is complete"),
            }
        }
    }
}
