//! Table `usage_acknowledged`: what a node's leaders have acknowledged, noted when it goes to another one.
//!
//! `usage_logs.synced` speaks of one leader's ledger only. A node that is pointed at another leader, or whose leader
//! has lost its disk, owes everything anew; when it comes back to a ledger it had before, that one may have removed the
//! rows of what it counted, and then only the node can tell that it was counted. The note is written where `synced` is
//! taken back, so that pushing and acknowledging cost nothing more; with one leader the table stays empty.

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, Statement, Value};
use uuid::Uuid;

use crate::domain::ids::{LedgerId, RequestId};
use crate::store::columns::count;
use crate::store::usage::UsageRepo;
use crate::store::{Error, Executor as _};

/// Ids per statement.
const CHUNK: usize = 500;

/// Notes that `$5` has acknowledged what is synced between the places `$1`, `$2` and `$3`, `$4`. An id that is noted
/// with an earlier batch keeps it. Without the number of a batch nobody could tell whether it still has it.
pub(super) const NOTE: &str = "INSERT INTO usage_acknowledged (request_id, ledger, batch) \
    SELECT request_id, $5, batch FROM usage_logs WHERE (created_at, request_id) > ($1, $2) \
    AND (created_at, request_id) <= ($3, $4) AND synced AND batch IS NOT NULL \
    ON CONFLICT (request_id, ledger) DO NOTHING";

/// Removes the notes on logs that are going: `which` selects their ids, with `values`.
pub(super) async fn forget(tx: &DatabaseTransaction, which: &str, values: &[Value]) -> Result<(), Error> {
    let backend = tx.get_database_backend();
    let any = Statement::from_string(backend, "SELECT 1 FROM usage_acknowledged LIMIT 1");
    if tx.query_one_raw(any).await?.is_none() {
        return Ok(());
    }
    let sql = format!("DELETE FROM usage_acknowledged WHERE request_id IN ({which})");
    tx.execute_raw(Statement::from_sql_and_values(backend, sql, values.to_vec())).await?;
    Ok(())
}

impl UsageRepo<'_> {
    /// Those of `ids` that `ledger` had acknowledged when this node went to another one. Costs the ids.
    pub async fn acknowledged_by(
        &self,
        ledger: LedgerId,
        ids: &[RequestId],
    ) -> Result<Vec<RequestId>, Error> {
        let mut known = Vec::new();
        for ids in ids.chunks(CHUNK) {
            let places: Vec<String> = (0..ids.len()).map(|n| format!("${}", n + 2)).collect();
            let sql = format!(
                "SELECT request_id FROM usage_acknowledged WHERE ledger = $1 AND request_id IN ({})",
                places.join(", ")
            );
            let ids = ids.iter().map(|id| Value::from(id.0));
            let values = [ledger.to_string().into()].into_iter().chain(ids).collect();
            for row in self.0.reader.query_all_raw(self.statement(&sql, values)).await? {
                known.push(RequestId(row.try_get_by_index::<Uuid>(0)?));
            }
        }
        Ok(known)
    }

    /// Forgets what `ledger` had acknowledged in later batches than `batch`: it has no more than that. Costs what it
    /// forgets.
    pub async fn forget_acknowledged_after(&self, ledger: LedgerId, batch: u64) -> Result<(), Error> {
        let sql = "DELETE FROM usage_acknowledged WHERE ledger = $1 AND batch > $2";
        let statement = self.statement(sql, vec![ledger.to_string().into(), count(batch).into()]);
        self.0.writes().await?.execute_raw(statement).await?;
        Ok(())
    }
}
