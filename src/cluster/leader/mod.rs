//! The leader: the calls of its followers. Its rules are [`Registry`], [`PerNodeUsage`], [`StateLog`] and [`Provenance`];
//! what has to be kept is committed before a call is answered. Registration, heartbeats and departures are in `membership`,
//! pushes in `push`, offers of state in `replication`.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, Semaphore, broadcast, watch};

use crate::cluster::leader::name_reservations::NameReservations;
use crate::cluster::leader::registry::Registry;
use crate::cluster::replication::adoption::{Age, Provenance};
use crate::cluster::replication::state::State;
use crate::cluster::replication::state_log::StateLog;
use crate::cluster::standing::Standing;
use crate::cluster::usage::per_node::{NodeUse, PerNodeUsage};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::failure::Failure;
use crate::domain::fence::{BatchesHeld, Fence, KnownSession};
use crate::domain::ids::{InstanceId, KeyId, LedgerId, NodeId, SessionId};
use crate::domain::peer::{Incomplete, Peer, PeerStatus};
use crate::domain::usage::UsageRecord;
use crate::ledger::AppliedBatch;
use crate::store::SignInNews;
use crate::wire::v1;

pub mod announcer;
mod applied_batches;
mod assign_name;
mod fencing;
pub mod freshness;
mod local;
mod membership;
mod metrics;
pub mod name_reservations;
mod newcomer;
mod others;
mod past;
mod peer_entry;
mod push;
pub mod registry;
mod replication;
mod requests;
pub mod service;
mod spool;
pub(in crate::cluster) mod store;
mod watcher;

pub use applied_batches::LastLook;
pub use metrics::LeaderMetrics;
pub use newcomer::{join_cluster, new_name};
pub use others::Connect;
pub use push::RECORDS_MAX;
pub use spool::Spool;
pub use watcher::Watcher;

/// Batches that are being committed at the same time, those included for which nobody waits any more.
const COMMITS_MAX: usize = 32;

/// Batches that another leader which reads slowly may fall behind; then it misses some, and reads sums again.
const BATCHES_BEHIND_MAX: usize = 1_024;

/// What a leader keeps on its disk. Implemented on a database, and by the simulation.
pub trait LeaderStore: Send + Sync + 'static {
    /// Whether other leaders may work on it at the same time. Then each of them, this one too, is a peer to all, pushes its
    /// own usage, and counts none of it otherwise.
    fn is_shared(&self) -> bool {
        false
    }

    /// Applies a batch that a node pushed in one transaction, rollups and the count of the node's batches included; answers
    /// after its commit. Records it holds already are duplicates. Fails with [`Failure::behind`], and applies nothing, when
    /// the disk holds fewer batches of the node than `fence` asks for; not found, when that is of an earlier registration.
    fn apply_batch(
        &self,
        node: &NodeId,
        records: Vec<UsageRecord>,
        fence: &Fence,
    ) -> impl Future<Output = Result<AppliedBatch, Failure>> + Send;

    /// What a node has used in the windows of `as_of`, as far as it is committed, and how many batches that includes: one
    /// view of the database.
    fn used_by(
        &self,
        node: &NodeId,
        as_of: Timestamp,
    ) -> impl Future<Output = Result<NodeUse, Failure>> + Send;

    /// Runs `work` to its end in the background; nobody waits for it.
    fn detach(&self, work: BoxFuture<'static, ()>);

    /// How many batches of a node were ever applied, and its last registration.
    fn batches_held(&self, node: &NodeId) -> impl Future<Output = Result<BatchesHeld, Failure>> + Send;

    /// A node registers as `new`, and batches of no other registration are taken from then on. `known` are those that it
    /// remembers. Answers how many of the batches that were acknowledged to it are surely held ([`surely_held`]), and the
    /// same again until it pushes.
    ///
    /// [`surely_held`]: crate::domain::fence::surely_held
    fn begin_session(
        &self,
        node: &NodeId,
        new: SessionId,
        known: &[KnownSession],
    ) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// The next number for the name of a node: above `above` and above every number returned before, committed.
    fn next_node_number(&self, above: u64) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Changes a peer in one transaction: `rule` is asked with what is held of it, which nobody else changes meanwhile, and
    /// of its usage, and answers with what is held from now on; none is no such peer. Asked again when another leader was the first to add
    /// one.
    fn change_peer(
        &self,
        id: NodeId,
        rule: impl Fn(Option<Peer>, BatchesHeld) -> Result<Option<Peer>, registry::Error> + Send + Sync + 'static,
    ) -> impl Future<Output = Result<Option<Peer>, Failure>> + Send;

    /// Writes what was heard of peers, each while the run that was heard of still holds the id; marks those inactive that are
    /// `silent`, each unless it has changed since it was as given; answers with all peers as they are then.
    fn update_peers(
        &self,
        heard: Vec<PeerStatus>,
        silent: Vec<Peer>,
    ) -> impl Future<Output = Result<Vec<Peer>, Failure>> + Send;

    /// Makes what was committed so far survive also the death of the machine, where a commit alone does not.
    fn make_durable(&self) -> impl Future<Output = Result<(), Failure>> + Send {
        std::future::ready(Ok(()))
    }

    /// Notes when API keys were used on a follower. A leader without keys has nothing to note.
    fn note_key_uses(&self, uses: &[(KeyId, Timestamp)]) {
        let _ = uses;
    }

    /// While this is held, nobody changes what is replicated. A leader without users of its own has nothing to hold.
    fn hold_accounts(&self) -> impl Future<Output = Option<OwnedMutexGuard<()>>> + Send {
        std::future::ready(None)
    }

    /// The latest version of it that this process has written; 0: none, or it is not known.
    fn version_written(&self) -> u64 {
        0
    }

    /// Everything that is replicated, and what it goes back to.
    fn load_state(&self) -> impl Future<Output = Result<(Provenance, State), Failure>> + Send;

    /// What has changed since the own state was at `version`, if that is about sign-in alone. `None`: it has to be read as
    /// a whole.
    fn sign_in_news(
        &self,
        _version: u64,
    ) -> impl Future<Output = Result<Option<SignInNews>, Failure>> + Send {
        std::future::ready(Ok(None))
    }

    /// Raises the state version to at least `version`.
    fn raise_version(&self, version: u64) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Replaces the own state by `state`, in one transaction with its provenance; fails, and changes nothing, when the own
    /// state is not at `version` any more, the one that `state` was made from.
    fn adopt(
        &self,
        version: u64,
        provenance: Provenance,
        state: State,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

pub struct Leader<B> {
    pub(super) id: NodeId,
    /// This run: followers register with each, since its database may be an older one than that of the run before.
    instance: InstanceId,
    ledger: LedgerId,
    /// How other nodes reach it, where several lead.
    leads_at: OnceLock<String>,
    heartbeat: Duration,
    pub(super) store: B,
    pub(super) clock: Arc<dyn Clock>,
    registry: Arc<Mutex<Registry>>,
    /// Names that wait for their nodes.
    names: tokio::sync::Mutex<NameReservations>,
    /// Held while peers are read from the disk until the registry has it, so that it is told nothing older afterwards.
    refreshing: tokio::sync::Mutex<()>,
    pub(super) usage: Mutex<PerNodeUsage>,
    /// Permits for batches that are being committed.
    pub(super) commits: Arc<Semaphore>,
    state_log: Mutex<StateLog>,
    provenance: Mutex<Provenance>,
    age: Mutex<Age>,
    /// The highest number of a batch that this run has acknowledged to a node, of those that registered and have not left.
    acknowledged: Arc<Mutex<HashMap<NodeId, Arc<AtomicU64>>>>,
    /// One adoption at a time, and none while the state is loaded anew.
    adopting: tokio::sync::Mutex<()>,
    /// Whether it leads by promotion. None: it shares its database with others, or is simulated.
    standing: Option<Standing>,
    /// What is taken, for other leaders.
    batches: broadcast::Sender<Arc<v1::AppliedBatch>>,
    /// Goes up whenever there is something to tell watchers.
    changes: watch::Sender<u64>,
    metrics: LeaderMetrics,
}

impl<B: LeaderStore> Leader<B> {
    /// A leader that knows what its disk knows; `instance` is this run of it, `kept` are the peers.
    pub async fn open(
        id: NodeId,
        instance: InstanceId,
        heartbeat: Duration,
        store: B,
        kept: Vec<Peer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let (provenance, state) = store.load_state().await?;
        let now = clock.now();
        Ok(Self {
            registry: Arc::new(Mutex::new(if store.is_shared() {
                Registry::shared(heartbeat, kept, now)
            } else {
                Registry::new(id.clone(), heartbeat, kept, now)
            })),
            names: tokio::sync::Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
            usage: Mutex::new(PerNodeUsage::new(now)),
            commits: Arc::new(Semaphore::new(COMMITS_MAX)),
            ledger: provenance.origin.ledger,
            age: Mutex::new(Age::of(provenance.origin.ledger, now)),
            state_log: Mutex::new(StateLog::new(provenance.origin.clone(), state)),
            provenance: Mutex::new(provenance),
            acknowledged: Arc::default(),
            adopting: tokio::sync::Mutex::new(()),
            standing: None,
            batches: broadcast::Sender::new(BATCHES_BEHIND_MAX),
            changes: watch::Sender::new(0),
            metrics: LeaderMetrics::default(),
            id,
            instance,
            leads_at: OnceLock::new(),
            heartbeat,
            store,
            clock,
        })
    }

    /// The same, of a node that may have been promoted, and may be superseded.
    #[must_use]
    pub fn with_standing(mut self, standing: Option<Standing>) -> Self {
        self.standing = standing;
        self
    }

    /// How often leadership was taken over until this node led.
    pub(super) fn term(&self) -> u64 {
        self.standing.as_ref().map_or(0, Standing::term)
    }

    /// Changes whenever there may be something to tell a watcher.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Every peer; the leader itself only where its database is shared.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.registry.lock().peers()
    }

    /// The living leaders of this ledger, as far as they say how they are reached: followers may go on to any of them.
    #[must_use]
    pub fn leaders(&self) -> Vec<v1::Leader> {
        let leading = self.peers().into_iter().filter(|peer| peer.is_active && !peer.draining);
        let leader = |peer: Peer| {
            // What the database has of this one may be where it was before.
            let own = self.leads_at.get().filter(|_| peer.id == self.id);
            let address = own.cloned().or(peer.leads_at)?;
            let (id, ledger_id) = (peer.id.to_string(), self.ledger.to_string());
            Some(v1::Leader { id, address, ledger_id, ..v1::Leader::default() })
        };
        let promoted = self.standing.as_ref().and_then(Standing::own).map(|own| v1::Leader {
            id: own.node.to_string(),
            address: own.leads_at.to_string(),
            ledger_id: own.ledger.to_string(),
            ..v1::Leader::default()
        });
        leading.filter_map(leader).chain(promoted).collect()
    }

    /// Says once how other nodes reach it.
    pub(super) fn set_leads_at(&self, address: &str) {
        let _said_before = self.leads_at.set(address.to_owned());
    }

    /// Who holds [`Self::complete_through`] back.
    #[must_use]
    pub fn incomplete(&self) -> Vec<Incomplete> {
        self.registry.lock().incomplete(self.clock.now())
    }

    /// Up to here every peer that has not left with nothing owed, and the leader's own ledger, owes nothing.
    #[must_use]
    pub fn complete_through(&self, own: Option<Timestamp>) -> Option<Timestamp> {
        self.registry.lock().complete_through(own)
    }

    #[must_use]
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    #[must_use]
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// How often followers are to be heard of.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        self.heartbeat
    }

    #[must_use]
    pub fn metrics(&self) -> &LeaderMetrics {
        &self.metrics
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    #[must_use]
    pub fn store(&self) -> &B {
        &self.store
    }

    pub(super) fn notify_watchers(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests;
