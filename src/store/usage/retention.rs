//! Removing old usage logs. Sums stay.

use sea_orm::{ConnectionTrait as _, Statement};

use crate::domain::clock::Timestamp;
use crate::domain::ids::NodeId;
use crate::store::usage::UsageRepo;
use crate::store::{Error, Ground as _};

impl UsageRepo<'_> {
    /// Removes at most `most` synced logs made before `before`, the oldest first; returns how many. Logs that are
    /// unsynced or set aside are never touched. On a leader, a log that came from another node (not `own`) stays until
    /// that peer has said that it owes nothing from that time: as long as it may push the log once more, its row is
    /// what tells that it was counted. Forgetting a peer releases its logs.
    ///
    /// Costs what it removes, and what it has to pass over.
    ///
    /// # Errors
    /// [`Error`] of the database.
    pub async fn delete_synced_before(
        &self,
        before: Timestamp,
        own: &NodeId,
        most: u32,
    ) -> Result<u64, Error> {
        let sql = "DELETE FROM usage_logs WHERE request_id IN (\
                     SELECT l.request_id FROM usage_logs l WHERE l.created_at < $1 AND l.synced AND (\
                       l.source_node = $2 OR NOT EXISTS (SELECT 1 FROM peers p WHERE p.id = l.source_node \
                       AND (p.synced_through IS NULL OR p.synced_through < l.created_at))) \
                     ORDER BY l.created_at LIMIT $3)";
        let values = [before.as_micros().into(), own.as_str().into(), i64::from(most).into()];
        let statement = Statement::from_sql_and_values(self.0.backend(), sql, values);
        Ok(self.0.writes().await?.execute_raw(statement).await?.rows_affected())
    }
}
