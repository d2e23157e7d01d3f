//! How a node introduces itself to its leader.

use crate::domain::ids::{InstanceId, LedgerId, NodeId};

/// A node that is, or wants to be, a peer.
#[derive(Clone, Debug)]
pub struct Registration {
    pub node_id: NodeId,
    pub instance: InstanceId,
    /// Runs on the same data directory that the leader may still know it by.
    pub former: Vec<InstanceId>,
    /// Names that nodes on that directory had before.
    pub former_names: Vec<NodeId>,
    /// The URL of its HTTP side for clients.
    pub addr: String,
    /// Its share of traffic, and of limits per minute.
    pub weight: u32,
    /// Of sproxy.
    pub version: String,
    /// The URL of its gRPC side, if it leads, too.
    pub leads_at: Option<String>,
    /// Its database's own ledger, which holds usage of other nodes if it led.
    pub led_ledger: Option<LedgerId>,
}
