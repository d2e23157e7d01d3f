//! Fencing: refuses what followers say of another ledger or another run of the leader, and finds out that the database has
//! fallen back under a living leader.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::cluster::leader::{Leader, LeaderStore};
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::{InstanceId, LedgerId, NodeId};
use crate::store;
use crate::wire::malformed::{parse, parse_some};

impl<B: LeaderStore> Leader<B> {
    /// Refuses what was meant for another ledger, or said of it.
    pub(super) fn check_ledger(&self, meant: &str) -> Result<(), Failure> {
        let meant: LedgerId = parse("ledger_id", meant)?;
        if meant == self.ledger {
            return Ok(());
        }
        let text = format!("the leader's ledger is {}, not {meant}: register", self.ledger);
        Err(Failure::new(Kind::NotFound, text))
    }

    /// Refuses what was said to an earlier run of this leader: the database may have been restored in between. A node that
    /// names no run is an older version.
    pub(super) fn check_leader_instance(&self, meant: &str) -> Result<(), Failure> {
        match parse_some::<InstanceId>("leader_instance_id", meant)? {
            Some(meant) if meant != self.instance => {
                Err(Failure::new(Kind::NotFound, "the leader was started anew: register"))
            }
            _ => Ok(()),
        }
    }

    /// Fails if the database holds fewer batches of the node than were acknowledged to it, or does not know its registration
    /// as the last: it must not count as complete.
    pub(super) async fn check_batches(&self, node: &NodeId, last: u64, session: &str) -> Result<(), Failure> {
        let session = parse_some("session_id", session)?;
        if last == 0 && session.is_none() {
            return Ok(());
        }
        let held = self.store.batches_held(node).await?;
        if held.are_those_of(last, session) {
            return Ok(());
        }
        if !held.are_those_of(0, session) {
            self.registry.lock().invalidate_sync_point(node);
            return Err(store::Error::SessionOver.into());
        }
        let behind = Failure::behind(held.taken);
        self.on_rollback(node, &behind);
        Err(behind)
    }

    /// The database has lost acknowledged batches of a node: what the node said of it does not hold any more.
    pub(in crate::cluster) fn on_rollback(&self, node: &NodeId, error: &Failure) {
        if let Some(held) = error.batches_held {
            tracing::error!(
                peer = %node, held,
                "the database has fallen back behind what was acknowledged to a node, which pushes again what is missing"
            );
            self.registry.lock().invalidate_sync_point(node);
            // What was counted of it for the limits is to be read anew too.
            self.usage.lock().invalidate(node);
        }
    }

    /// The highest number of a batch that this run has acknowledged to a node.
    pub(in crate::cluster) fn last_acknowledged(&self, node: &NodeId) -> Arc<AtomicU64> {
        Arc::clone(self.acknowledged.lock().entry(node.clone()).or_default())
    }
}
