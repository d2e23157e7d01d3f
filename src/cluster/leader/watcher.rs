//! A node that watches the leader's state. As long as its stream is open, it counts as alive.

use std::sync::Arc;

use crate::cluster::leader::requests::parse_sender;
use crate::cluster::leader::{Leader, LeaderStore};
use crate::domain::failure::Failure;
use crate::domain::ids::{InstanceId, NodeId};
use crate::wire::v1;

/// A stream of `WatchState` that is open. Its drop tells the registry that it ended.
pub struct Watcher<B> {
    leader: Arc<Leader<B>>,
    node: NodeId,
    instance: InstanceId,
}

impl<B: LeaderStore> Leader<B> {
    /// Checks that a node which wants to watch is a peer.
    ///
    /// # Errors
    /// Not found: the node has to register. Invalid.
    pub fn watcher(self: &Arc<Self>, request: &v1::WatchStateRequest) -> Result<Watcher<B>, Failure> {
        let (node, instance) = parse_sender(&request.node_id, &request.instance_id)?;
        self.registry.lock().watch_opened(&node, instance, self.clock.now())?;
        Ok(Watcher { leader: Arc::clone(self), node, instance })
    }
}

impl<B> Watcher<B> {
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    #[must_use]
    pub fn leader(&self) -> &Arc<Leader<B>> {
        &self.leader
    }
}

impl<B> Drop for Watcher<B> {
    fn drop(&mut self) {
        self.leader.registry.lock().watch_closed(&self.node, self.instance);
    }
}
