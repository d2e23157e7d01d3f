//! What leaders of one ledger tell each other of the usage that they take, so that the limits of each know of all of it.
//! The database has the truth: who has missed a batch notices by its number, and reads the node's sums again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::cluster::leader::{Leader, LeaderStore};
use crate::cluster::usage::per_node::UsageIncrement;
use crate::domain::failure::Failure;
use crate::domain::fence::BatchesHeld;
use crate::domain::ids::NodeId;
use crate::wire::malformed::{Malformed, parse, parse_some};
use crate::wire::{moment, v1};

impl<B: LeaderStore> Leader<B> {
    /// What is taken from here on, for another leader of this ledger.
    ///
    /// # Errors
    /// Not found: that one has another ledger. Invalid.
    pub fn watch_batches(
        &self,
        request: &v1::WatchBatchesRequest,
    ) -> Result<broadcast::Receiver<Arc<v1::AppliedBatch>>, Failure> {
        let _who: NodeId = parse("node_id", &request.node_id)?;
        self.check_ledger(&request.ledger_id)?;
        Ok(self.batches.subscribe())
    }

    /// Tells other leaders of a batch that is committed.
    pub(super) fn announce_batch(&self, node: &NodeId, number: u64, added: &[UsageIncrement]) {
        if self.batches.receiver_count() > 0 {
            let _nobody_listens = self.batches.send(Arc::new(to_wire(node, number, added)));
        }
    }

    /// Another leader has taken a batch.
    ///
    /// # Errors
    /// [`Malformed`]; nothing of it is counted then.
    pub fn batch_elsewhere(&self, batch: &v1::AppliedBatch) -> Result<(), Malformed> {
        if batch.node_id.is_empty() {
            return Ok(());
        }
        let node: NodeId = parse("node_id", &batch.node_id)?;
        let added = batch.uses.iter().map(from_wire).collect::<Result<Vec<_>, _>>()?;
        let former: BTreeSet<NodeId> =
            added.iter().map(|increment| increment.node.clone()).filter(|source| *source != node).collect();
        self.usage.lock().add_batch(&node, batch.number, added, self.clock.now());
        self.invalidate_former(&node, former);
        self.notify_watchers();
        Ok(())
    }

    /// Compares what the database holds of each node with what the limits know of: what they missed is read again, and what
    /// may be of another past, since the database fell back or the node has registered again after that. To be called now
    /// and then, with a look at the database.
    pub fn compare_batches(&self, last: &mut LastLook, held: HashMap<NodeId, BatchesHeld>) {
        let mut usage = self.usage.lock();
        let mut doubtful = BTreeSet::new();
        for (node, before) in &last.held {
            // By now every batch of then has been heard of.
            if usage.batches_known(node) < before.taken {
                doubtful.insert(node.clone());
            }
            if held.get(node).is_none_or(|now| now.session != before.session) {
                doubtful.insert(node.clone());
            }
        }
        for (node, known) in &last.known {
            if held.get(node).map_or(0, |now| now.taken) < *known {
                doubtful.insert(node.clone());
            }
        }
        for node in &doubtful {
            usage.invalidate(node);
        }
        last.known = held.keys().map(|node| (node.clone(), usage.batches_known(node))).collect();
        last.held = held;
    }
}

/// What a leader compared last: what the database held, and what the limits knew of after that.
#[derive(Debug, Default)]
pub struct LastLook {
    held: HashMap<NodeId, BatchesHeld>,
    known: HashMap<NodeId, u64>,
}

fn to_wire(node: &NodeId, number: u64, added: &[UsageIncrement]) -> v1::AppliedBatch {
    let mut sums = BTreeMap::new();
    for increment in added {
        let key = (
            &increment.node,
            increment.user.0,
            increment.group.map(|group| group.0),
            increment.at.day_start(),
        );
        let (tokens, nanousd, at) = sums.entry(key).or_insert((0_u64, 0_i64, increment.at));
        *tokens = tokens.saturating_add(increment.tokens);
        *nanousd = nanousd.saturating_add(increment.nanousd);
        *at = (*at).max(increment.at);
    }
    let uses = sums.into_iter().map(|((source, user, group, _), (tokens, nanousd, at))| v1::BatchUse {
        source_node: source.to_string(),
        user_id: user.to_string(),
        group_id: group.map(|group| group.to_string()).unwrap_or_default(),
        tokens,
        nanousd,
        at: Some(moment::to_wire(at)),
    });
    v1::AppliedBatch { node_id: node.to_string(), number, uses: uses.collect() }
}

fn from_wire(told: &v1::BatchUse) -> Result<UsageIncrement, Malformed> {
    Ok(UsageIncrement {
        node: parse("source_node", &told.source_node)?,
        user: parse("user_id", &told.user_id)?,
        group: parse_some("group_id", &told.group_id)?,
        tokens: told.tokens,
        nanousd: told.nanousd,
        at: moment::required("at", told.at)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Timestamp;
    use crate::domain::ids::{GroupId, UserId};

    #[test]
    fn a_batch_is_told_as_sums_that_count_the_same() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let node: NodeId = "sp-2".parse().expect("a name");
        let (alice, bob, research) = (UserId::new(), UserId::new(), GroupId::new());
        let used = |user, group, tokens, nanousd, moment| UsageIncrement {
            node: node.clone(),
            user,
            group,
            tokens,
            nanousd,
            at: at(moment),
        };
        let added = [
            used(alice, Some(research), 1, 10, "2026-11-28T23:59:58Z"),
            used(alice, Some(research), 2, 20, "2026-11-28T23:59:59Z"),
            used(alice, Some(research), 4, 40, "2026-11-29T00:00:01Z"),
            used(alice, None, 8, 80, "2026-11-29T00:00:01Z"),
            used(bob, None, 16, 160, "2026-11-29T00:00:02Z"),
        ];
        let told = to_wire(&node, 7, &added);
        assert_eq!((told.node_id.as_str(), told.number, told.uses.len()), ("sp-2", 7, 4));
        let heard: Vec<_> = told.uses.iter().map(|told| from_wire(told).expect("readable")).collect();
        let sum = |user, day: &str| {
            let of = heard.iter().filter(|use_| use_.user == user && use_.at.day_start() == at(day));
            of.fold((0, 0), |(tokens, nanousd), use_| (tokens + use_.tokens, nanousd + use_.nanousd))
        };
        assert_eq!(sum(alice, "2026-11-28"), (3, 30));
        assert_eq!(sum(alice, "2026-11-29"), (12, 120));
        assert_eq!(sum(bob, "2026-11-29"), (16, 160));
    }
}
