//! What was said to another ledger or run than this, and a database that has fallen back under a living leader: how the
//! leader finds out.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::cluster::leader::{Leader, LeaderStore};
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::{InstanceId, LedgerId, NodeId};
use crate::wire::malformed::{parse, parse_some};

impl<B: LeaderStore> Leader<B> {
    /// What was meant for another ledger, or said of it, does not count for this one.
    pub(super) fn check_ledger(&self, meant: &str) -> Result<(), Failure> {
        let meant: LedgerId = parse("ledger_id", meant)?;
        if meant == self.ledger {
            return Ok(());
        }
        let text = format!("the leader's ledger is {}, not {meant}: register", self.ledger);
        Err(Failure::new(Kind::NotFound, text))
    }

    /// What was said to an earlier run of this leader may be untrue of a database that was restored in between. A node
    /// that does not say whom it means is an older version.
    pub(super) fn check_run(&self, meant: &str) -> Result<(), Failure> {
        match parse_some::<InstanceId>("leader_instance_id", meant)? {
            Some(meant) if meant != self.instance => {
                Err(Failure::new(Kind::NotFound, "the leader was started anew: register"))
            }
            _ => Ok(()),
        }
    }

    /// A node to which more was acknowledged than the database holds must not take it for complete.
    pub(super) async fn check_batches(&self, node: &NodeId, last: u64) -> Result<(), Failure> {
        if last == 0 {
            return Ok(());
        }
        let held = self.store.batches_taken(node).await?;
        if held >= last {
            return Ok(());
        }
        let behind = Failure::behind(held);
        self.on_rollback(node, &behind);
        Err(behind)
    }

    /// What a node said of a database that has lost some of it since is untrue.
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
    pub(in crate::cluster) fn acknowledged(&self, node: &NodeId) -> Arc<AtomicU64> {
        Arc::clone(self.acknowledged.lock().entry(node.clone()).or_default())
    }
}
