//! A batch of usage logs, as both databases insert it: whose records it holds, which of them were new, and their sums.

use std::sync::Arc;

use serde::Serialize;

use crate::domain::fence::{BatchesHeld, Fence};
use crate::domain::ids::{NodeId, RequestId};
use crate::domain::price::Price;
use crate::domain::usage::UsageRecord;
use crate::store::usage::rollup::Rollups;
use crate::store::{Error, columns};

/// The node whose records a batch holds.
#[derive(Clone, Debug)]
pub(super) enum BatchOwner {
    Own {
        /// Stored as synced: this node is the leader, and owes the records to nobody.
        synced: bool,
    },
    /// A follower, which pushed them to this leader; a leader counts the batches of each.
    Follower(NodeId, Fence),
}

impl BatchOwner {
    pub(super) fn synced(&self) -> bool {
        match self {
            Self::Own { synced } => *synced,
            Self::Follower(..) => true,
        }
    }
}

/// Counts a batch of node `$1`, in the transaction that inserts it and as its last statement: the row stays locked
/// until the commit, so numbers are in the order of commits. What has number N has everything up to N. Counts nothing
/// where fewer than `$2` are held.
pub(super) const COUNT_BATCH: &str = "INSERT INTO usage_batches (node, taken) VALUES ($1, 1) \
    ON CONFLICT (node) DO UPDATE SET taken = usage_batches.taken + 1 WHERE usage_batches.taken >= $2 \
    RETURNING taken";
/// The time of the youngest log of node `$1` that retention has removed. Written in the transaction that removes it.
pub(super) const SELECT_FLOOR: &str = "SELECT through FROM usage_floors WHERE node = $1";
/// The same where `$3` has to be the node's last registration, so that there is a row. Its batches are as the node knows them
/// from then on.
pub(super) const COUNT_BATCH_OF_SESSION: &str = "UPDATE usage_batches SET taken = taken + 1, resumes_after = NULL \
    WHERE node = $1 AND taken >= $2 AND session = $3 RETURNING taken";
/// How many batches of node `$1` were inserted, its last registration, and how many it was told of.
pub(super) const SELECT_BATCHES: &str =
    "SELECT taken, session, resumes_after FROM usage_batches WHERE node = $1";

/// Why a batch was not counted, by what the database holds of its node.
pub(super) fn refusal(held: BatchesHeld, fence: &Fence) -> Error {
    if held.are_those_of(0, fence.session()) {
        Error::Behind { held: held.taken }
    } else {
        Error::SessionOver
    }
}

/// The number that [`COUNT_BATCH`] gave, if it is above `least`: a row that was not there yet is 1 whatever was asked.
pub(super) fn above(least: u64, counted: Option<u64>) -> Option<u64> {
    counted.filter(|number| *number > least)
}

/// The result of inserting a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InsertedBatch {
    /// For each record, in order: whether it was new. A record that occurs twice in one batch is new once.
    pub is_new: Vec<bool>,
    /// The number of the batch among those that the same node pushed; `None` for a node's own.
    pub number: Option<u64>,
    /// Records that are not in the database and are as old as the logs of their node that retention has removed: they
    /// may have been counted before, and are not counted now.
    pub below_floor: Vec<RequestId>,
}

impl InsertedBatch {
    #[must_use]
    pub fn added(&self) -> usize {
        self.is_new.iter().filter(|new| **new).count()
    }

    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.is_new.len() - self.added() - self.below_floor.len()
    }

    /// The new ones among `records`, which are the batch that was inserted.
    pub fn new_of<'r>(&'r self, records: &'r [UsageRecord]) -> impl Iterator<Item = &'r UsageRecord> {
        records.iter().zip(&self.is_new).filter(|(_, new)| **new).map(|(record, _)| record)
    }
}

/// Marks which records were new, given the ids that the database took in.
pub(super) fn with_new_marked(
    records: &[UsageRecord],
    mut taken: std::collections::HashSet<RequestId>,
) -> InsertedBatch {
    let is_new = records.iter().map(|record| taken.remove(&record.request_id)).collect();
    InsertedBatch { is_new, ..InsertedBatch::default() }
}

pub(super) fn sums_of_new(records: &[UsageRecord], inserted: &InsertedBatch) -> Rollups {
    let mut rollups = Rollups::default();
    for record in inserted.new_of(records) {
        rollups.add(record);
    }
    rollups
}

/// Prices as JSON. A batch knows few different ones, so each is written out once.
#[derive(Default)]
pub(super) struct PriceTexts(Vec<(Price, Arc<str>)>);

impl PriceTexts {
    /// More prices than this in one batch are not looked up but written out again.
    const REMEMBERED: usize = 16;

    pub(super) fn text(&mut self, price: &Price) -> Result<Arc<str>, Error> {
        if let Some((_, text)) = self.0.iter().find(|(known, _)| known == price) {
            return Ok(Arc::clone(text));
        }
        let text = Arc::from(columns::to_json("usage_logs.price", price)?);
        if self.0.len() < Self::REMEMBERED {
            self.0.push((price.clone(), Arc::clone(&text)));
        }
        Ok(text)
    }
}

/// A list of a record as JSON; `None` where it is empty.
pub(super) fn list_text<T: Serialize>(column: &str, list: &[T]) -> Result<Option<String>, Error> {
    Some(list).filter(|list| !list.is_empty()).map(|list| columns::to_json(column, &list)).transpose()
}
