//! The follower: its registration, what it pushes, what it replicates. Every method may be called at any time and
//! any number of times; [`service`] says when.

pub mod addresses;
pub mod client;
pub(in crate::cluster) mod instances;
pub(in crate::cluster) mod kept_leaders;
pub(in crate::cluster) mod kept_peers;
pub mod leader_client;
pub mod leader_set;
pub mod leaders;
pub(in crate::cluster) mod metrics;
pub(in crate::cluster) mod pace;
pub mod push;
pub mod service;
pub mod sessions;
pub(in crate::cluster) mod store;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cluster::follower::leader_client::{LeaderClient, LeaderError};
use crate::cluster::follower::leaders::{Call, Leaders};
use crate::cluster::follower::push::{
    Error, FollowerStore, KEY_USES_MAX, PushTotals, Session, check_leader_ledger, detect_rollback, push_all,
};
use crate::cluster::registration::Registration;
use crate::cluster::replication::snapshot::{
    SnapshotReader, delta_from_wire, lineage_to_wire, lineage_versions_to_wire, snapshot_to_wire,
};
use crate::cluster::replication::state::{Change, State, StateVersion};
use crate::domain::failure::Failure;
use crate::domain::fence::KnownSession;
use crate::domain::ids::{InstanceId, LedgerId, NodeId, SessionId};
use crate::domain::peer::Peer;
use crate::wire::malformed::{parse, parse_some};
use crate::wire::summary::peer_from_wire;
use crate::wire::v1::state_update::Update;
use crate::wire::{moment, v1};

/// A follower's copy of what the leader replicates, on its own disk.
pub trait Replica: Send + Sync {
    /// Whose state the copy is and how new; none: there is no copy yet.
    fn held_version(&self) -> impl Future<Output = Result<Option<StateVersion>, Failure>> + Send;

    /// The copy, for a leader that has lost its own.
    fn load(&self) -> impl Future<Output = Result<State, Failure>> + Send;

    /// Replaces the copy, in one transaction with its origin.
    fn replace(&self, origin: StateVersion, state: State)
    -> impl Future<Output = Result<(), Failure>> + Send;

    /// Applies a change, in one transaction with the version that it leads to.
    fn apply_change(
        &self,
        origin: StateVersion,
        change: Change,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What a message of the leader meant to this node.
#[derive(Debug)]
pub enum Applied {
    /// A keep-alive, a part of a snapshot that is still to come, or something known already.
    Nothing,
    /// Users, groups or keys are as the leader has them now.
    Accounts,
    /// What others have used.
    Usage(v1::UsageElsewhere),
    Peers(Vec<Peer>),
}

/// A session, and the leader that it was made with.
#[derive(Clone, Debug)]
pub struct Connected<C> {
    pub session: Session,
    pub leader: C,
    /// Which of this process's sessions: two with one leader may say the same.
    number: u64,
}

/// A follower: its store, and the leaders that it may ask.
pub struct Follower<B, L: Leaders> {
    identity: Registration,
    store: B,
    leaders: L,
    batch_max: usize,
    connected: watch::Sender<Option<Connected<L::Client>>>,
    /// How many sessions there were.
    sessions_made: AtomicU64,
    snapshot_reader: Mutex<SnapshotReader>,
    /// A leader of another cluster was reported: once per leader's ledger is enough.
    reported: Mutex<Option<LedgerId>>,
    /// Why the leader refuses this node, if it does.
    refused: Mutex<Option<String>>,
}

impl<B: FollowerStore + Replica, L: Leaders> Follower<B, L> {
    /// A follower that has not met its leader yet; `leaders` may be a client of a single one.
    pub fn new(identity: Registration, store: B, leaders: L, batch_max: usize) -> Self {
        Self {
            identity,
            store,
            leaders,
            batch_max,
            connected: watch::Sender::new(None),
            sessions_made: AtomicU64::new(0),
            snapshot_reader: Mutex::default(),
            reported: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Registers with the first leader that takes this node, marks as unsynced what its ledger lacks, and offers this node's
    /// copy of the state to a leader that has lost its own or the latest part of it. Not while a push is in flight: its
    /// acknowledgement might be of the ledger before.
    ///
    /// # Errors
    /// [`LeaderError::Taken`] when another living process has the id; all leaders away; the own database failing.
    pub async fn register(&self) -> Result<Session, Error> {
        let mut misses = Vec::new();
        for leader in self.leaders.in_turn() {
            match self.register_with(&leader).await {
                Ok(session) => return Ok(session),
                Err(Error::Call(error)) => {
                    self.leaders.note_miss(&leader, &error);
                    misses.push((self.leaders.name_of(&leader), error));
                }
                Err(error @ Error::Store(_)) => return Err(error),
            }
        }
        Err(LeaderError::of_all(misses).into())
    }

    async fn register_with(&self, leader: &L::Client) -> Result<Session, Error> {
        let held = self.store.held_version().await?;
        let offer = held.as_ref().filter(|origin| !origin.pristine);
        let (mut sessions, seen) = (self.store.sessions().await?, self.store.seen_ledger().await?);
        let id = sessions.next(SessionId::new);
        self.store.keep_sessions(&sessions).await?;
        let request = v1::RegisterRequest {
            session_id: id.to_string(),
            sessions: sessions.known().iter().map(session_to_wire).collect(),
            sessions_ledger_id: seen.as_ref().map(LedgerId::to_string).unwrap_or_default(),
            ..self.registration(offer)
        };
        let answer = leader.register(request).await;
        self.record_refusal(answer.as_ref().err());
        let answer = answer?;
        let session = Session {
            id,
            node_id: parse("node_id", &answer.node_id).map_err(LeaderError::from)?,
            instance: self.identity.instance,
            leader_id: parse("leader_id", &answer.leader_id).map_err(LeaderError::from)?,
            ledger: parse("ledger_id", &answer.ledger_id).map_err(LeaderError::from)?,
            leader_instance: parse_some("leader_instance_id", &answer.leader_instance_id)
                .map_err(LeaderError::from)?,
            heartbeat: heartbeat(&answer),
            term: answer.term,
        };
        if let Err(refused) = self.leaders.check(leader, &session, seen) {
            self.take_back(leader, &session).await;
            return Err(refused.into());
        }
        if check_leader_ledger(&self.store, session.ledger).await? {
            tracing::info!(ledger = %session.ledger, "a new ledger at the leader: everything held is pushed");
            sessions.forget();
        }
        if let Some(taken) = answer.batches_taken {
            self.mark_lost_unsynced(taken).await?;
        }
        sessions.begin(id, self.store.last_batch().await?);
        self.store.keep_sessions(&sessions).await?;
        if let Some(origin) = offer.filter(|_| answer.state_wanted) {
            let pieces = snapshot_to_wire(origin.clone(), Arc::new(self.store.load().await?));
            let offered = leader.offer_state(pieces).await?;
            tracing::warn!(
                adopted = offered.adopted,
                "the leader has lost some of its state: offered this node's"
            );
        }
        self.leaders.follow(leader, &session);
        self.leaders.learn(session.ledger, &answer.leaders);
        let number = self.sessions_made.fetch_add(1, Ordering::Relaxed);
        let connected = Connected { session: session.clone(), leader: leader.clone(), number };
        self.connected.send_replace(Some(connected));
        Ok(session)
    }

    fn registration(&self, offer: Option<&StateVersion>) -> v1::RegisterRequest {
        let lineage = offer.map(|origin| origin.lineage.as_slice()).unwrap_or_default();
        v1::RegisterRequest {
            node_id: self.identity.node_id.to_string(),
            instance_id: self.identity.instance.to_string(),
            former_instance_ids: self.identity.former.iter().map(InstanceId::to_string).collect(),
            former_node_ids: self.identity.former_names.iter().map(NodeId::to_string).collect(),
            advertise_url: self.identity.addr.clone(),
            weight: self.identity.weight,
            version: self.identity.version.clone(),
            leads_at: self.identity.leads_at.clone().unwrap_or_default(),
            state_ledger_id: offer.map(|origin| origin.ledger.to_string()).unwrap_or_default(),
            state_version: offer.map_or(0, |origin| origin.version),
            state_lineage: lineage_to_wire(lineage),
            state_lineage_versions: lineage_versions_to_wire(lineage),
            highest_term: self.leaders.highest_term(),
            led_ledger_id: self.identity.led_ledger.as_ref().map(LedgerId::to_string).unwrap_or_default(),
            ..v1::RegisterRequest::default()
        }
    }

    /// Leaves a leader again that is not followed: its totals need not wait for this node.
    async fn take_back(&self, leader: &L::Client, session: &Session) {
        let request = v1::LeaveRequest {
            node_id: session.node_id.to_string(),
            instance_id: session.instance.to_string(),
            unsynced: Some(0),
            ledger_id: session.ledger.to_string(),
            leader_instance_id: session.leader_instance_text(),
            last_batch: 0,
            session_id: session.id.to_string(),
        };
        if let Err(error) = leader.leave(request).await {
            tracing::debug!(%error, "a leader that is not followed was not told");
        }
    }

    /// Remembers, and logs once, that the leader refuses this node because another living run has its id. Only the leader can
    /// tell, and what this node knows may be wrong, so it is not ready meanwhile.
    fn record_refusal(&self, error: Option<&LeaderError>) {
        let refused = match error {
            None => None,
            Some(LeaderError::Taken(said)) => Some(format!("the leader refuses this node: {said}")),
            Some(_) => return,
        };
        let mut held = self.refused.lock();
        if let Some(refused) = refused.as_ref().filter(|_| held.is_none()) {
            tracing::warn!("{refused}; it is not ready, and asks again");
        }
        *held = refused;
    }

    /// Why the leader refuses this node; `None`: it does not, or was not asked.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        self.refused.lock().clone()
    }

    /// Registers if need be, then pushes everything that is unsynced.
    ///
    /// # Errors
    /// Whatever was in the way; the next round starts where this one ended.
    pub async fn sync_once(&self) -> Result<PushTotals, Error> {
        if self.connected.borrow().is_none() {
            // Rare, and large.
            Box::pin(self.register()).await?;
        }
        let Some(connected) = self.connected() else { return Ok(PushTotals::default()) };
        let Connected { session, leader, .. } = &connected;
        let result = push_all(&self.store, leader, session, self.batch_max).await;
        match &result {
            Ok(pushed) if pushed.total() > 0 => self.leaders.note_answer(leader, Call::Push),
            Ok(_) => {}
            Err(error) => {
                if let Error::Call(LeaderError::Behind(held)) = error {
                    // Nothing is in flight any more.
                    self.mark_lost_unsynced(*held).await?;
                }
                self.note_failure(&connected, Call::Push, error);
            }
        }
        result
    }

    /// Marks as unsynced what the leader's database lacks if it has taken no more than `taken` batches of this node.
    async fn mark_lost_unsynced(&self, taken: u64) -> Result<(), Failure> {
        if let Some(owed) = detect_rollback(&self.store, taken).await? {
            tracing::warn!(
                records = owed,
                "the leader's database is older than what it acknowledged: what it lacks is pushed again"
            );
        }
        Ok(())
    }

    /// One heartbeat; none without a session. The answer says whether an admin wants this node drained.
    ///
    /// # Errors
    /// The leader away; [`LeaderError::Unknown`]: the next round registers.
    pub async fn heartbeat_once(&self, in_flight: u32, draining: bool) -> Result<Option<bool>, Error> {
        // In this order: what is owed now is owed to the ledger of this session or of a later one, never an earlier.
        let Some(connected) = self.connected() else { return Ok(None) };
        let Connected { session, leader, .. } = &connected;
        let status = self.store.sync_status().await?;
        let uses = self.store.take_key_uses(KEY_USES_MAX);
        let key_uses = uses
            .iter()
            .map(|(key, at)| v1::KeyUse { key_id: key.to_string(), at: Some(moment::to_wire(*at)) });
        let request = v1::HeartbeatRequest {
            node_id: session.node_id.to_string(),
            instance_id: session.instance.to_string(),
            unsynced: status.unsynced,
            oldest_unsynced_at: status.oldest.map(moment::to_wire),
            in_flight,
            draining,
            synced_through: status.synced_through.map(moment::to_wire),
            ledger_id: session.ledger.to_string(),
            key_uses: key_uses.collect(),
            leader_instance_id: session.leader_instance_text(),
            last_batch: self.store.last_batch().await?,
            session_id: session.id.to_string(),
            ..v1::HeartbeatRequest::default()
        };
        match leader.heartbeat(request).await {
            Ok(answer) => {
                self.leaders.note_answer(leader, Call::Heartbeat);
                Ok(Some(answer.draining))
            }
            Err(error) => {
                self.store.put_back_key_uses(&uses);
                let error = error.into();
                self.note_failure(&connected, Call::Heartbeat, &error);
                Err(error)
            }
        }
    }

    /// Tells the leader that this node goes.
    ///
    /// # Errors
    /// The leader away: it will notice the silence.
    pub async fn leave(&self) -> Result<(), Error> {
        if let Some(Connected { session, leader, .. }) = self.connected.send_replace(None) {
            let request = v1::LeaveRequest {
                node_id: session.node_id.to_string(),
                instance_id: session.instance.to_string(),
                unsynced: Some(self.store.sync_status().await?.unsynced),
                ledger_id: session.ledger.to_string(),
                leader_instance_id: session.leader_instance_text(),
                last_batch: self.store.last_batch().await?,
                session_id: session.id.to_string(),
            };
            leader.leave(request).await?;
        }
        Ok(())
    }

    /// How to ask for the state from where this node is.
    ///
    /// # Errors
    /// The own database failing.
    pub async fn watch_request(&self, session: &Session) -> Result<v1::WatchStateRequest, Failure> {
        *self.snapshot_reader.lock() = SnapshotReader::default();
        let held = self.store.held_version().await?;
        Ok(v1::WatchStateRequest {
            node_id: session.node_id.to_string(),
            instance_id: session.instance.to_string(),
            known_version: held.as_ref().map_or(0, |origin| origin.version),
            known_ledger_id: held.map(|origin| origin.ledger.to_string()).unwrap_or_default(),
            signs_of_life_every: self.leaders.signs_of_life().and_then(|every| every.try_into().ok()),
        })
    }

    /// Takes a message of `WatchState`.
    ///
    /// # Errors
    /// A message that cannot be read, or a step from a version that this node is not at: ask anew with
    /// [`Self::watch_request`]. The own database failing.
    pub async fn apply(&self, update: v1::StateUpdate) -> Result<Applied, Error> {
        match update.update {
            None => Ok(Applied::Nothing),
            Some(Update::Usage(usage)) => Ok(Applied::Usage(usage)),
            Some(Update::Peers(list)) => {
                if let Some(session) = self.session() {
                    self.leaders.learn(session.ledger, &list.leaders);
                }
                let peers = list.peers.into_iter().map(peer_from_wire).collect::<Result<_, _>>();
                Ok(Applied::Peers(peers.map_err(LeaderError::from)?))
            }
            Some(Update::Snapshot(part)) => {
                let whole = self.snapshot_reader.lock().read_piece(part).map_err(LeaderError::from)?;
                match whole {
                    Some((origin, state)) => self.apply_snapshot(origin, state).await,
                    None => Ok(Applied::Nothing),
                }
            }
            Some(Update::Change(step)) => self.apply_delta(step).await,
        }
    }

    async fn apply_snapshot(&self, origin: StateVersion, state: State) -> Result<Applied, Error> {
        let held = self.store.held_version().await?;
        if let Some(held) = held.filter(|held| !held.may_become(&origin)) {
            if held.ledger != origin.ledger && origin.goes_back_to(held.ledger) {
                // That leader has adopted an earlier version from another node: the next registration offers it this one.
                self.connected.send_replace(None);
            } else {
                self.report_other_cluster(&held, &origin);
            }
            return Ok(Applied::Nothing);
        }
        self.store.replace(origin, state).await?;
        Ok(Applied::Accounts)
    }

    async fn apply_delta(&self, step: v1::AccountsChange) -> Result<Applied, Error> {
        let (ledger, base, version, change) = delta_from_wire(step).map_err(LeaderError::from)?;
        let Some(held) = self.store.held_version().await?.filter(|held| held.ledger == ledger) else {
            return Ok(Applied::Nothing);
        };
        if version <= held.version {
            return Ok(Applied::Nothing);
        }
        if base != held.version {
            let text = format!("a step from version {base} to {version} for a node at {}", held.version);
            return Err(LeaderError::Protocol(text).into());
        }
        self.store.apply_change(StateVersion { version, ..held }, change).await?;
        Ok(Applied::Accounts)
    }

    /// Logs that users of another cluster are not taken over.
    fn report_other_cluster(&self, held: &StateVersion, offered: &StateVersion) {
        if held.ledger != offered.ledger
            && self.reported.lock().replace(offered.ledger) != Some(offered.ledger)
        {
            tracing::error!(
                ledger = %offered.ledger,
                "the leader has users of another ledger and has not adopted this node's: they are not taken over. \
                 If that leader is the right one, start this node with an empty data directory once it owes nothing"
            );
        }
    }

    /// A call of a session failed. A leader that does not know this node, or has lost some of what it acknowledged, is asked
    /// anew with the next round; one that is away, if others can be asked, is asked for nothing more.
    pub fn note_failure(&self, connected: &Connected<L::Client>, call: Call, error: &Error) {
        let Error::Call(error) = error else { return };
        let is_over = matches!(error, LeaderError::Unknown(_) | LeaderError::Behind(_))
            || self.leaders.note_failure(&connected.leader, call, error);
        if is_over {
            let is_it = |held: &mut Connected<L::Client>| held.number == connected.number;
            self.connected.send_if_modified(|held| held.take_if(is_it).is_some());
        }
    }

    /// The node turns to another leader.
    pub fn end_session(&self) {
        self.connected.send_replace(None);
    }

    #[must_use]
    pub fn session(&self) -> Option<Session> {
        self.connected.borrow().as_ref().map(|connected| connected.session.clone())
    }

    #[must_use]
    pub fn connected(&self) -> Option<Connected<L::Client>> {
        self.connected.borrow().clone()
    }

    /// Changes with the session.
    #[must_use]
    pub fn sessions(&self) -> watch::Receiver<Option<Connected<L::Client>>> {
        self.connected.subscribe()
    }

    #[must_use]
    pub fn leaders(&self) -> &L {
        &self.leaders
    }

    #[must_use]
    pub fn store(&self) -> &B {
        &self.store
    }
}

/// What the leader asks for, within what makes sense.
fn session_to_wire(session: &KnownSession) -> v1::KnownSession {
    v1::KnownSession { session_id: session.id.to_string(), after_batch: session.after }
}

fn heartbeat(answer: &v1::RegisterResponse) -> Duration {
    let asked = answer.heartbeat_interval.and_then(|interval| Duration::try_from(interval).ok());
    asked.unwrap_or(Duration::from_secs(5)).clamp(Duration::from_millis(10), Duration::from_mins(10))
}
