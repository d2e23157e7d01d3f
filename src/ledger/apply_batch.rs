//! The leader's ledger takes what a follower pushed: each record is checked, then the batch is inserted.

use std::sync::Arc;

use crate::domain::fence::Fence;
use crate::domain::ids::{NodeId, RequestId};
use crate::domain::usage::UsageRecord;
use crate::ledger::bounds;
use crate::store::{Error, UsageRepo};

/// What became of the records of a pushed batch. Each record is in exactly one of the four groups.
#[derive(Clone, Debug, Default)]
pub struct AppliedBatch {
    /// Records that were new, in the order in which they came. They are committed.
    pub accepted: Vec<UsageRecord>,
    /// How many the ledger held already.
    pub duplicates: u64,
    /// Records that can never be accepted, each with the reason.
    pub rejected: Vec<(RequestId, String)>,
    /// Records that may have been counted before retention removed their rows, and were not counted now.
    pub below_floor: Vec<RequestId>,
    /// The number of the batch: one higher than that of the batch before of the same node. `None` for an empty batch.
    pub number: Option<u64>,
}

impl AppliedBatch {
    /// Applies a batch that the follower `node` pushed: each record is inserted once, in one transaction that also counts
    /// the batch. When it returns, the batch is committed and may be acknowledged.
    ///
    /// # Errors
    /// [`Error`] of the database, [`Error::Behind`] among them when it has fallen back behind `fence`; then nothing was
    /// inserted, and the same push can be repeated.
    pub async fn apply(
        usage: UsageRepo<'_>,
        node: &NodeId,
        records: Vec<UsageRecord>,
        fence: &Fence,
    ) -> Result<Self, Error> {
        let mut rejected = Vec::new();
        let mut acceptable = records;
        acceptable.retain(|record| match bounds::check(record) {
            Ok(()) => true,
            Err(reason) => {
                rejected.push((record.request_id, reason));
                false
            }
        });
        let records = Arc::new(acceptable);
        let inserted = usage.insert_pushed_batch(&records, node, fence).await?;
        let duplicates = inserted.duplicates() as u64;
        // The insert is over, so nobody shares the records any more and they are not copied.
        let mut accepted = Arc::unwrap_or_clone(records);
        let mut is_new = inserted.is_new.into_iter();
        accepted.retain(|_| is_new.next().unwrap_or(false));
        let (below_floor, number) = (inserted.below_floor, inserted.number);
        Ok(Self { accepted, duplicates, rejected, below_floor, number })
    }
}
