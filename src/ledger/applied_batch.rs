//! The leader's intake: records of other nodes.

use std::sync::Arc;

use crate::domain::fence::Fence;
use crate::domain::ids::{NodeId, RequestId};
use crate::domain::usage::UsageRecord;
use crate::ledger::{Ledger, bounds};
use crate::store::Error;
use crate::store::usage::Inserted;

/// The result of taking a push into the ledger.
#[derive(Debug)]
pub struct AppliedBatch {
    /// Those that could be accepted, in the order in which they came.
    records: Arc<Vec<UsageRecord>>,
    /// Which of `records` were new.
    inserted: Inserted,
    /// Records that can never be accepted, each with the reason.
    pub rejected: Vec<(RequestId, String)>,
}

impl AppliedBatch {
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.inserted.added()
    }

    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.inserted.duplicates()
    }

    /// The number of the batch: one higher than that of the batch before of the same node. `None` for an empty batch.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.inserted.number
    }

    /// Records that may have been counted before retention removed their rows, and were not counted now.
    #[must_use]
    pub fn below_floor(&self) -> &[RequestId] {
        &self.inserted.below_floor
    }

    pub fn new_records(&self) -> impl Iterator<Item = &UsageRecord> {
        self.inserted.new_of(&self.records)
    }
}

impl Ledger {
    /// Takes records of the follower `node`, each once, in one transaction that also counts the batch. When it returns,
    /// they are committed and may be acknowledged.
    ///
    /// # Errors
    /// [`Error`] of the database, [`Error::Behind`] among them when it has fallen back behind `fence`; then nothing was
    /// taken, and the same push can be repeated.
    pub async fn take(
        &self,
        node: &NodeId,
        records: Vec<UsageRecord>,
        fence: &Fence,
    ) -> Result<AppliedBatch, Error> {
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
        let inserted = self.usage().take_batch(&records, node, fence).await?;
        Ok(AppliedBatch { records, inserted, rejected })
    }
}
