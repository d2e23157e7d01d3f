//! A nameless `Register`: a name, and nothing else.

use crate::cluster::leader::name_reservations::UnnamedNode;
use crate::cluster::leader::{Leader, LeaderStore};
use crate::domain::failure::Failure;
use crate::domain::ids::NodeId;
use crate::wire::malformed::parse;
use crate::wire::v1;

impl<B: LeaderStore> Leader<B> {
    /// Gives a node a name that nobody else was ever given. It is a peer once it registers by it.
    ///
    /// # Errors
    /// As `NameReservations::check_room`; what the database says.
    pub(super) async fn assign_name(
        &self,
        node: &UnnamedNode,
        addr: &str,
    ) -> Result<v1::RegisterResponse, Failure> {
        // One at a time: what is asked twice at once gets one name, and no more wait than may.
        let mut names = self.names.lock().await;
        let now = self.clock.now();
        let known = names.find(node, &self.registry.lock());
        if let Some(id) = known {
            return Ok(self.register_response(&id));
        }
        names.check_room(&self.registry.lock(), now)?;
        let id = self.unused_name().await?;
        names.reserve(node, id.clone(), now);
        tracing::info!(name = %id, addr, "a node without an id was given one");
        Ok(self.register_response(&id))
    }

    /// Above all that the registry knows, and none of a forgotten peer that has pushed something.
    async fn unused_name(&self) -> Result<NodeId, Failure> {
        loop {
            let highest = self.registry.lock().highest_number();
            let number = self.store.next_node_number(highest).await?;
            let id: NodeId = parse("node_id", &format!("sp-{number}"))?;
            let is_known = self.registry.lock().knows(&id);
            if !is_known && self.store.batches_held(&id).await?.taken == 0 {
                return Ok(id);
            }
        }
    }

    /// Who answers, and to whom.
    pub(super) fn register_response(&self, node: &NodeId) -> v1::RegisterResponse {
        v1::RegisterResponse {
            node_id: node.to_string(),
            leader_id: self.id.to_string(),
            ledger_id: self.ledger.to_string(),
            heartbeat_interval: prost_types::Duration::try_from(self.heartbeat).ok(),
            leader_instance_id: self.instance.to_string(),
            leaders: self.leaders(),
            term: self.term(),
            ..v1::RegisterResponse::default()
        }
    }
}
