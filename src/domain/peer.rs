//! Peers: the nodes of the cluster as the registry knows them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::fence::BatchesHeld;
use crate::domain::ids::{InstanceId, NodeId, SessionId};

/// A node as the registry knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    pub id: NodeId,
    /// How clients reach its HTTP side.
    pub addr: String,
    /// Its share of traffic relative to the others.
    pub weight: u32,
    /// Heard of within three heartbeats, and has not left.
    pub is_active: bool,
    /// Should get no new traffic.
    pub draining: bool,
    pub registered_at: Timestamp,
    /// When it last registered, sent a heartbeat or pushed.
    pub last_seen: Option<Timestamp>,
    /// Usage logs it still owes the leader, as it last reported.
    pub unsynced: u64,
    /// Up to here it owes nothing.
    pub synced_through: Option<Timestamp>,
    pub version: String,
    /// The URL of its gRPC side, if it leads on a database that it shares with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leads_at: Option<String>,
    /// The run of the process that holds the id now.
    #[serde(skip)]
    pub instance_id: Option<InstanceId>,
}

impl Peer {
    /// It has left, and owed nothing then: totals need not wait for it.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        // Only a peer that has left, and said what it owes, has no run; one that fell silent keeps its last.
        !self.is_active && self.instance_id.is_none() && self.unsynced == 0
    }

    /// The registry is a copy of an earlier time: a peer that had left by then with nothing owed may have come back
    /// since. Totals wait for it as for one that fell silent.
    pub fn distrust_departure(&mut self) {
        if self.has_settled() {
            // Of a run that nobody knows.
            self.instance_id = Some(InstanceId(Uuid::nil()));
        }
    }
}

/// What a leader heard of a peer's run since it last stored that: everything stored that a heartbeat or a push changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub id: NodeId,
    /// The run that was heard of.
    pub instance_id: InstanceId,
    /// When.
    pub last_seen: Timestamp,
    /// Usage logs it owes; `None` if it did not report that.
    pub unsynced: Option<u64>,
    /// Up to here it owes nothing; `None` if it did not report that.
    pub synced_through: Option<Timestamp>,
    /// What it said of that before is untrue: the leader's database has lost some of it.
    pub sync_point_invalid: bool,
    /// The highest number of a batch that had been acknowledged to it when it said so: it is true of a database that holds
    /// as many.
    pub last_batch: u64,
    /// And its registration then.
    pub session: Option<SessionId>,
}

impl PeerStatus {
    /// What of it is true of a database that holds this of the node.
    #[must_use]
    pub fn held_by(&self, held: BatchesHeld) -> Self {
        let is_true = held.are_those_of(self.last_batch, self.session);
        Self { synced_through: self.synced_through.filter(|_| is_true), ..self.clone() }
    }

    /// Changes `peer` accordingly while that run holds the id. Nothing else is touched: not what an admin said of it,
    /// nor where it is.
    pub fn apply(&self, peer: &mut Peer) {
        if peer.id != self.id || peer.instance_id != Some(self.instance_id) {
            return;
        }
        peer.is_active = true;
        peer.last_seen = Some(self.last_seen);
        peer.unsynced = self.unsynced.unwrap_or(peer.unsynced);
        let before = peer.synced_through.filter(|_| !self.sync_point_invalid);
        peer.synced_through = before.max(self.synced_through);
    }
}

/// A node that holds the totals back: they are not known to be complete because of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incomplete {
    pub node: NodeId,
    /// From here on some of its usage may be missing.
    pub since: Timestamp,
    /// How many usage logs it owes, as it last reported.
    pub unsynced: u64,
}
