//! Inserting usage logs: the hottest write of the gateway.
//!
//! One transaction per batch: the logs, as few statements as possible, then the sums of those that were new. Every
//! statement has one of a few fixed shapes, so that each is parsed once per connection. What is sent differs between
//! the databases, since each has its own cheapest way; what results is the same.

use std::sync::Arc;

use crate::domain::fence::Fence;
use crate::domain::ids::NodeId;
use crate::domain::usage::UsageRecord;
use crate::store::usage::batch::{BatchOwner, InsertedBatch};
use crate::store::usage::{UsageRepo, postgres, sqlite};
use crate::store::{Error, retried};

impl UsageRepo<'_> {
    /// Inserts those of `records` whose `request_id` is not in the database yet and adds them to the sums, all in one
    /// transaction. `synced`: nobody else has to be told (a leader's own database).
    ///
    /// Cost grows with the batch, and with the logarithm of what is in the database.
    ///
    /// # Errors
    /// [`Error`] of the database; then nothing was inserted. (When a PostgreSQL server dies during the commit,
    /// nobody can tell; inserting again is harmless.)
    pub async fn insert_batch(&self, records: &[UsageRecord], synced: bool) -> Result<InsertedBatch, Error> {
        self.insert_own_batch(&Arc::new(records.to_vec()), synced).await
    }

    /// The same without a copy, for a caller that can share the records with the thread that inserts them.
    ///
    /// # Errors
    /// As [`insert_batch`](Self::insert_batch).
    pub async fn insert_own_batch(
        &self,
        records: &Arc<Vec<UsageRecord>>,
        synced: bool,
    ) -> Result<InsertedBatch, Error> {
        self.insert_batch_of(records, BatchOwner::Own { synced }).await
    }

    /// The same on a leader, for records that the follower `node` pushed: in the same transaction the batch is counted,
    /// duplicates or not, and [`InsertedBatch::number`] says which one it is.
    ///
    /// # Errors
    /// As [`insert_batch`](Self::insert_batch); [`Error::Behind`] when the database holds fewer batches of the node
    /// than `fence` asks for: it has fallen back, and nothing was inserted.
    pub async fn insert_pushed_batch(
        &self,
        records: &Arc<Vec<UsageRecord>>,
        node: &NodeId,
        fence: &Fence,
    ) -> Result<InsertedBatch, Error> {
        self.insert_batch_of(records, BatchOwner::Follower(node.clone(), fence.clone())).await
    }

    /// How many batches of `node` this leader's database holds. One look-up.
    pub async fn batches_taken(&self, node: &NodeId) -> Result<u64, Error> {
        Ok(self.batches_held(node).await?.taken)
    }

    async fn insert_batch_of(
        &self,
        records: &Arc<Vec<UsageRecord>>,
        owner: BatchOwner,
    ) -> Result<InsertedBatch, Error> {
        if records.is_empty() {
            return Ok(InsertedBatch::default());
        }
        if let Some(embedded) = &self.0.embedded {
            let (records, permit) = (Arc::clone(records), self.0.permit().await?);
            embedded.usage.write(permit, move |writer| sqlite::insert_batch(writer, &records, &owner)).await
        } else {
            let pool = self.0.writer.get_postgres_connection_pool();
            // In a box: its state is large, and would be moved about with every batch of an embedded database too.
            retried(|| Box::pin(postgres::insert_batch(pool, records, &owner))).await
        }
    }
}
