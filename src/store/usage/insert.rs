//! Inserting usage logs: the hottest write of the gateway.
//!
//! One transaction per batch: the logs, as few statements as possible, then the sums of those that were new. Every
//! statement has one of a few fixed shapes, so that each is parsed once per connection. What is sent differs between
//! the databases, since each has its own cheapest way; what results is the same.

use std::sync::Arc;

use crate::domain::usage::UsageRecord;
use crate::store::Error;
use crate::store::usage::batch::Inserted;
use crate::store::usage::{UsageRepo, postgres, sqlite};

impl UsageRepo<'_> {
    /// Inserts those of `records` whose `request_id` is not in the database yet and adds them to the sums, all in one
    /// transaction. `synced`: nobody else has to be told (a leader's own database).
    ///
    /// Cost grows with the batch, and with the logarithm of what is in the database.
    ///
    /// # Errors
    /// [`Error`] of the database; then nothing was inserted. (When a PostgreSQL server dies during the commit,
    /// nobody can tell; inserting again is harmless.)
    pub async fn insert_batch(&self, records: &[UsageRecord], synced: bool) -> Result<Inserted, Error> {
        self.insert_shared(&Arc::new(records.to_vec()), synced).await
    }

    /// The same, for a caller that can share the records with the thread that inserts them: they are not copied.
    ///
    /// # Errors
    /// As [`insert_batch`](Self::insert_batch).
    pub async fn insert_shared(
        &self,
        records: &Arc<Vec<UsageRecord>>,
        synced: bool,
    ) -> Result<Inserted, Error> {
        if records.is_empty() {
            return Ok(Inserted::default());
        }
        match &self.0.embedded {
            Some(embedded) => {
                let (records, turn) = (Arc::clone(records), self.0.turn().await?);
                embedded.usage.write(turn, move |writer| sqlite::insert(writer, &records, synced)).await
            }
            None => postgres::insert(self.0.writer.get_postgres_connection_pool(), records, synced).await,
        }
    }
}
