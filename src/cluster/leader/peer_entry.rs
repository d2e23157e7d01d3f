//! One peer: which process may register under its id, what its heartbeats said, and what of that is not written yet. Pure.

use std::time::Duration;

use crate::cluster::registration::Registration;
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, Kind};
use crate::domain::fence::BatchesHeld;
use crate::domain::ids::{InstanceId, LedgerId, NodeId, SessionId};
use crate::domain::peer::{Peer, PeerStatus};

/// A process that says it is a restarted run waits for so many heartbeat intervals of that run: it may run on a copy of the
/// data directory of one that lives. It does not wait where that run's watch broke off.
const TAKEOVER_HEARTBEATS: u32 = 2;

/// As long as that at most where the run has no watch open: one that lives opens one again within that time
/// ([`crate::cluster::retry`]).
const UNWATCHED_FOR: Duration = SETTLING;

/// The most runs of one node that are remembered as refused.
const REFUSED_MAX: usize = 16;

/// A new registry assigns no ids for so long: its leader may have lost its disk, and the nodes that have ids,
/// which notice a new leader and ask again within that time ([`crate::cluster::retry`]), come first.
pub const SETTLING: Duration = Duration::from_secs(5);

/// The most peers a registry holds; one more has to wait until an admin forgets another.
pub const PEERS_MAX: usize = 10_000;

/// The most names that wait for their nodes; who asks beyond that has to ask again later.
pub const UNCLAIMED_MAX: usize = 64;

/// What a heartbeat says.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeartbeatReport {
    /// The highest number of a batch that was acknowledged to it.
    pub last_batch: u64,
    /// Its registration.
    pub session: Option<SessionId>,
    /// Usage logs it owes.
    pub unsynced: u64,
    /// Up to here it owes nothing.
    pub synced_through: Option<Timestamp>,
    /// It is shutting down, or wants no new traffic.
    pub draining: bool,
}

/// Why the registry says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another living process has the id.
    #[error("the node id {id} belongs to another running node, at {addr}")]
    Taken { id: NodeId, addr: String },
    /// The run that it says it was before is still alive.
    #[error(
        "the node id {id} belongs to a run on this data directory that still lives, at {addr}: if this is a copy of that \
         node's data directory, stop this node, or start it with an empty one and another node.id"
    )]
    Lives { id: NodeId, addr: String },
    /// The registry does not know this node, or knows a later run of it.
    #[error("the leader does not know this run of {0}: register")]
    Unknown(NodeId),
    #[error("there is no peer {0}")]
    NoSuchPeer(NodeId),
    /// The leader itself can be neither registered nor forgotten.
    #[error("{0} is the leader itself")]
    Leader(NodeId),
    /// A peer that lives cannot be forgotten.
    #[error("{0} is active: stop it first, or drain it")]
    Active(NodeId),
    /// Nodes that have an id may register, nodes that want one have to wait.
    #[error(
        "this leader's registry is new: nodes that have an id come first, others are given one from {0} on"
    )]
    Settling(Timestamp),
    /// Too many nodes were given an id and are still to come with it.
    #[error(
        "{UNCLAIMED_MAX} nodes were given an id and have not come with it yet: ask for one later, or set node.id"
    )]
    Unclaimed,
    #[error("there are {PEERS_MAX} peers already: forget one first")]
    Full,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Taken { .. } | Error::Lives { .. } | Error::Leader(_) | Error::Active(_) => Kind::Conflict,
            Error::Unknown(_) | Error::NoSuchPeer(_) => Kind::NotFound,
            Error::Settling(_) | Error::Unclaimed | Error::Full => Kind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

/// A peer, and what only this process knows of its present run.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// As the database had it, and what was heard since; `draining` is the admin's word.
    pub peer: Peer,
    /// What was heard since and is still to be written down.
    pub status: Option<PeerStatus>,
    /// The node itself wants no new traffic.
    pub self_draining: bool,
    /// From here its silence counts: when it, or that another leader heard of it, was last heard of, or when this leader
    /// started. By this leader's clock: what another's says is only compared with what it said before.
    pub silent_since: Timestamp,
    /// Its streams of `WatchState` that are open.
    pub watches: u32,
    /// The last of them ended, and nothing was heard of it since.
    pub watch_disconnected: bool,
    /// Runs that wanted its place while it was heard of, and since when.
    pub refused: Vec<(InstanceId, Timestamp)>,
    /// Runs on its data directory before the one that registered.
    pub former: Vec<InstanceId>,
    /// Names that it had.
    pub former_names: Vec<NodeId>,
    /// Its database's own ledger.
    pub led_ledger: Option<LedgerId>,
}

impl Entry {
    pub fn new(peer: Peer, now: Timestamp) -> Self {
        Self {
            peer,
            status: None,
            self_draining: false,
            silent_since: now,
            watches: 0,
            watch_disconnected: false,
            refused: Vec::new(),
            former: Vec::new(),
            former_names: Vec::new(),
            led_ledger: None,
        }
    }

    /// The peer as lists show it: drained by an admin or by itself.
    pub fn listed(&self) -> Peer {
        Peer { draining: self.peer.draining || self.self_draining, ..self.peer.clone() }
    }

    /// Checks that `node` may register under this id: it is this run, or its successor, or the id is free.
    pub fn check_takeover(
        &mut self,
        node: &Registration,
        heartbeat: Duration,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(held) = self.peer.instance_id.filter(|held| self.peer.is_active && *held != node.instance)
        else {
            return Ok(());
        };
        let (id, addr) = (node.node_id.clone(), self.peer.addr.clone());
        if !node.former.contains(&held) {
            return Err(Error::Taken { id, addr });
        }
        let waits = self.refused.iter().find(|(run, _)| *run == node.instance);
        // A run ends before its successor starts. One that was heard of a heartbeat after the other was refused shows that
        // the other runs on a copy of the data directory, whatever breaks off later.
        let is_copy = waits.is_some_and(|(_, since)| self.silent_since >= since.plus(heartbeat));
        let patience = heartbeat * TAKEOVER_HEARTBEATS;
        let patience = if self.watches == 0 { patience.min(UNWATCHED_FOR) } else { patience };
        let is_heard = !self.watch_disconnected && now.since(self.silent_since) <= patience;
        if !is_copy && !is_heard {
            return Ok(());
        }
        if waits.is_none() {
            if self.refused.len() == REFUSED_MAX {
                self.refused.remove(0);
            }
            self.refused.push((node.instance, now));
        }
        Err(Error::Lives { id, addr })
    }

    /// It gave a sign of life.
    pub fn mark_alive(&mut self, now: Timestamp) {
        self.silent_since = now;
        self.watch_disconnected = false;
        self.update_status(|status| status.last_seen = now);
    }

    /// Notes what was heard of the present run.
    pub fn update_status(&mut self, what: impl FnOnce(&mut PeerStatus)) {
        let Some(instance_id) = self.peer.instance_id else { return };
        let status = self.status.get_or_insert_with(|| PeerStatus {
            id: self.peer.id.clone(),
            instance_id,
            last_seen: self.peer.last_seen.unwrap_or(self.silent_since),
            unsynced: None,
            synced_through: None,
            sync_point_invalid: false,
            last_batch: 0,
            session: None,
        });
        what(status);
        status.apply(&mut self.peer);
    }

    /// The database says this of it now, and holds that of its usage, if it was asked.
    pub fn refresh(&mut self, row: Peer, held: Option<BatchesHeld>, now: Timestamp) {
        if row.instance_id != self.peer.instance_id {
            // What was known was of another run.
            *self = Self::new(row, now);
            return;
        }
        match &self.status {
            None if row.last_seen != self.peer.last_seen => {
                (self.silent_since, self.watch_disconnected) = (now, false);
            }
            _ => {}
        }
        self.peer = row;
        if let Some(status) = &mut self.status {
            if let Some(held) = held {
                *status = status.held_by(held);
            }
            status.apply(&mut self.peer);
        }
    }
}
