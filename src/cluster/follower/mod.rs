//! The follower: its registration, what it pushes, what it replicates. Every method may be called at any time and
//! any number of times; [`service`] says when.

pub mod client;
pub(in crate::cluster) mod instances;
pub mod leader_client;
pub(in crate::cluster) mod metrics;
pub mod push;
pub mod service;
pub(in crate::cluster) mod store;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cluster::follower::leader_client::{LeaderClient, LeaderError};
use crate::cluster::follower::push::{
    Error, FollowerStore, KEY_USES_MAX, PushTotals, Session, check_leader_ledger, detect_rollback, push_all,
};
use crate::cluster::registration::Registration;
use crate::cluster::replication::snapshot::{
    SnapshotReader, delta_from_wire, lineage_to_wire, lineage_versions_to_wire, snapshot_to_wire,
};
use crate::cluster::replication::state::{Change, State, StateVersion};
use crate::domain::failure::Failure;
use crate::domain::ids::{InstanceId, LedgerId, NodeId};
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

/// A follower: its store, and a client of its leader.
pub struct Follower<B, L> {
    identity: Registration,
    store: B,
    leader: L,
    batch_max: usize,
    session: watch::Sender<Option<Session>>,
    snapshot_reader: Mutex<SnapshotReader>,
    /// A leader of another cluster was reported: once per leader's ledger is enough.
    reported: Mutex<Option<LedgerId>>,
    /// Why the leader refuses this node, if it does.
    refused: Mutex<Option<String>>,
}

impl<B: FollowerStore + Replica, L: LeaderClient> Follower<B, L> {
    /// A follower that has not met its leader yet.
    pub fn new(identity: Registration, store: B, leader: L, batch_max: usize) -> Self {
        Self {
            identity,
            store,
            leader,
            batch_max,
            session: watch::Sender::new(None),
            snapshot_reader: Mutex::default(),
            reported: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Registers, marks as unsynced what the leader's ledger lacks, and offers this node's copy of the state to a leader that
    /// has lost its own or the latest part of it. Not while a push is in flight: its acknowledgement might be of the ledger
    /// before.
    ///
    /// # Errors
    /// [`LeaderError::Taken`] when another living process has the id; the leader away; the own database failing.
    pub async fn register(&self) -> Result<Session, Error> {
        let held = self.store.held_version().await?;
        let offer = held.as_ref().filter(|origin| !origin.pristine);
        let lineage = offer.map(|origin| origin.lineage.as_slice()).unwrap_or_default();
        let request = v1::RegisterRequest {
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
            ..v1::RegisterRequest::default()
        };
        let answer = self.leader.register(request).await;
        self.record_refusal(answer.as_ref().err());
        let answer = answer?;
        let session = Session {
            node_id: parse("node_id", &answer.node_id).map_err(LeaderError::from)?,
            instance: self.identity.instance,
            leader_id: parse("leader_id", &answer.leader_id).map_err(LeaderError::from)?,
            ledger: parse("ledger_id", &answer.ledger_id).map_err(LeaderError::from)?,
            leader_instance: parse_some("leader_instance_id", &answer.leader_instance_id)
                .map_err(LeaderError::from)?,
            heartbeat: heartbeat(&answer),
        };
        if check_leader_ledger(&self.store, session.ledger).await? {
            tracing::info!(ledger = %session.ledger, "a new ledger at the leader: everything held is pushed");
        }
        if let Some(taken) = answer.batches_taken {
            self.mark_lost_unsynced(taken).await?;
        }
        if let Some(origin) = offer.filter(|_| answer.state_wanted) {
            let pieces = snapshot_to_wire(origin.clone(), Arc::new(self.store.load().await?));
            let offered = self.leader.offer_state(pieces).await?;
            tracing::warn!(
                adopted = offered.adopted,
                "the leader has lost some of its state: offered this node's"
            );
        }
        self.session.send_replace(Some(session.clone()));
        Ok(session)
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
        let session = match self.session() {
            Some(session) => session,
            None => self.register().await?,
        };
        let result = push_all(&self.store, &self.leader, &session, self.batch_max).await;
        if let Err(error) = &result {
            if let Error::Call(LeaderError::Behind(held)) = error {
                // Nothing is in flight any more.
                self.mark_lost_unsynced(*held).await?;
            }
            self.invalidate_session(&session, error);
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
        let Some(session) = self.session() else { return Ok(None) };
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
            ..v1::HeartbeatRequest::default()
        };
        match self.leader.heartbeat(request).await {
            Ok(answer) => Ok(Some(answer.draining)),
            Err(error) => {
                self.store.put_back_key_uses(&uses);
                let error = error.into();
                self.invalidate_session(&session, &error);
                Err(error)
            }
        }
    }

    /// Tells the leader that this node goes.
    ///
    /// # Errors
    /// The leader away: it will notice the silence.
    pub async fn leave(&self) -> Result<(), Error> {
        if let Some(session) = self.session.send_replace(None) {
            let request = v1::LeaveRequest {
                node_id: session.node_id.to_string(),
                instance_id: session.instance.to_string(),
                unsynced: Some(self.store.sync_status().await?.unsynced),
                ledger_id: session.ledger.to_string(),
                leader_instance_id: session.leader_instance_text(),
                last_batch: self.store.last_batch().await?,
            };
            self.leader.leave(request).await?;
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
                self.session.send_replace(None);
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

    /// A leader that does not know this node, or has lost some of what it acknowledged, is asked anew with the next round.
    pub fn invalidate_session(&self, session: &Session, error: &Error) {
        if matches!(error, Error::Call(LeaderError::Unknown(_) | LeaderError::Behind(_))) {
            self.session.send_if_modified(|held| held.take_if(|held| held == session).is_some());
        }
    }

    #[must_use]
    pub fn session(&self) -> Option<Session> {
        self.session.borrow().clone()
    }

    #[must_use]
    pub fn sessions(&self) -> watch::Receiver<Option<Session>> {
        self.session.subscribe()
    }

    #[must_use]
    pub fn leader(&self) -> &L {
        &self.leader
    }

    #[must_use]
    pub fn store(&self) -> &B {
        &self.store
    }
}

/// What the leader asks for, within what makes sense.
fn heartbeat(answer: &v1::RegisterResponse) -> Duration {
    let asked = answer.heartbeat_interval.and_then(|interval| Duration::try_from(interval).ok());
    asked.unwrap_or(Duration::from_secs(5)).clamp(Duration::from_millis(10), Duration::from_mins(10))
}
