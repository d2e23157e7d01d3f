//! What the leader has not acknowledged, and noting that it has.

use sea_orm::sea_query::Expr;
use sea_orm::sqlx;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseConnection, EntityTrait as _, ExprTrait as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select, Statement,
};
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::ids::{LedgerId, NodeId, RequestId};
use crate::domain::usage::{UsageLog, UsageRecord};
use crate::store::usage::sqlite_sync::{LAST_BATCH, OWED};
use crate::store::usage::{UsageRepo, acknowledged, row, sqlite_sync};
use crate::store::{Error, Executor as _, MetaRepo, columns, meta, retried};

/// A position among records in the order of time.
pub(super) type SyncCursor = (Timestamp, RequestId);

/// Ids per transaction.
const CHUNK: usize = 1_000;

impl UsageRepo<'_> {
    /// What the leader has not acknowledged, oldest first, at most `limit`. Costs what it returns.
    pub async fn list_unsynced(&self, limit: usize) -> Result<Vec<UsageRecord>, Error> {
        self.list_unsynced_after(None, limit).await
    }

    /// The same, but only what comes after the record `after` in the order of time: several batches can be on their
    /// way at once.
    pub async fn list_unsynced_after(
        &self,
        after: Option<SyncCursor>,
        limit: usize,
    ) -> Result<Vec<UsageRecord>, Error> {
        if let Some(embedded) = &self.0.embedded {
            return embedded
                .usage
                .read(move |connection| sqlite_sync::list_unsynced(connection, after, limit))
                .await;
        }
        page_of(all_owed(), after, limit, &self.0.reader).await
    }

    /// Notes that the leader has these, and in which of its batches, if it counts them. Unknown ids are ignored. Costs
    /// the ids.
    ///
    /// # Errors
    /// [`Error`] of the database; marking again is harmless.
    pub async fn mark_synced(&self, ids: &[RequestId], batch: Option<u64>) -> Result<(), Error> {
        for ids in ids.chunks(CHUNK) {
            if let Some(embedded) = &self.0.embedded {
                let (ids, permit) = (ids.to_vec(), self.0.permit().await?);
                embedded
                    .usage
                    .write(permit, move |connection| sqlite_sync::mark_synced(connection, &ids, batch))
                    .await?;
            } else {
                // One shape of statement for any number of ids.
                let sql = "UPDATE usage_logs SET synced = TRUE, set_aside = NULL, batch = $2 WHERE NOT synced \
                           AND request_id = ANY($1)";
                let ids: &Vec<Uuid> = &ids.iter().map(|id| id.0).collect();
                retried(|| async move {
                    let mut tx = self.0.writer.get_postgres_connection_pool().begin().await?;
                    if let Some(batch) = batch {
                        let raise =
                            sqlx::query(meta::RAISE).bind(LAST_BATCH.as_str()).bind(batch.to_string());
                        raise.execute(&mut *tx).await?;
                    }
                    sqlx::query(sql).bind(ids).bind(batch.map(columns::count)).execute(&mut *tx).await?;
                    Ok::<_, Error>(tx.commit().await?)
                })
                .await?;
            }
        }
        Ok(())
    }

    /// What `node` itself has made since `from`, behind `after`, oldest first, at most `limit`. Costs what it returns, and what
    /// there is of other nodes meanwhile.
    pub async fn list_of_node(
        &self,
        node: &NodeId,
        from: Timestamp,
        after: Option<SyncCursor>,
        limit: usize,
    ) -> Result<Vec<UsageRecord>, Error> {
        let own = row::Entity::find()
            .filter(row::Column::SourceNode.eq(node.as_str()))
            .filter(row::Column::CreatedAt.gte(from.as_micros()));
        page_of(own, after, limit, &self.0.reader).await
    }

    /// How many the leader has not acknowledged, those set aside not counted. Grows with that number.
    pub async fn unsynced_count(&self) -> Result<u64, Error> {
        Ok(all_owed().count(&self.0.reader).await?)
    }

    /// When the oldest was made that the leader has not acknowledged; those set aside do not count. One look-up.
    pub async fn oldest_unsynced(&self) -> Result<Option<Timestamp>, Error> {
        self.first_time(&format!("WHERE {OWED} ORDER BY created_at, request_id LIMIT 1")).await
    }

    /// When the newest was made. One look-up.
    pub async fn newest_time(&self) -> Result<Option<Timestamp>, Error> {
        self.first_time("ORDER BY created_at DESC LIMIT 1").await
    }

    pub(super) async fn first_time(&self, of: &str) -> Result<Option<Timestamp>, Error> {
        let sql = format!("SELECT created_at FROM usage_logs {of}");
        let found = self.0.reader.query_one_raw(Statement::from_string(self.0.backend(), sql)).await?;
        Ok(found.map(|row| row.try_get_by_index(0)).transpose()?.map(Timestamp::from_micros))
    }

    /// Marks everything as this database's own, set aside or not: its node leads now, and has nobody to push to. What
    /// is counted is counted already. No leader's word holds from then on: one that the node follows again is offered
    /// everything. In steps, and to be repeated, like [`mark_all_unsynced`](Self::mark_all_unsynced); costs what was
    /// owed.
    ///
    /// # Errors
    /// [`Error`] of the database; what was marked before stays marked.
    pub async fn mark_owed_as_own(&self, step: u32) -> Result<u64, Error> {
        let sql = format!(
            "UPDATE usage_logs SET synced = TRUE, set_aside = NULL WHERE request_id IN (\
             SELECT request_id FROM usage_logs WHERE {OWED} ORDER BY created_at, request_id LIMIT {step})"
        );
        let mut kept = 0;
        self.retry_set_aside().await?;
        loop {
            let mark = || async {
                Ok::<_, Error>(self.0.writes().await?.execute_unprepared(&sql).await?.rows_affected())
            };
            let marked = retried(mark).await?;
            kept += marked;
            if marked == 0 {
                return Ok(kept);
            }
        }
    }

    /// Marks everything as unsynced, set aside or not, but not what was given up: the leader has another ledger. What
    /// the one before, `left`, had acknowledged is noted in the same transactions. Works in transactions of at most
    /// `step` rows, so that new records get in between; grows with the number of logs. Safe to repeat after a crash.
    /// Returns how many were marked.
    ///
    /// # Errors
    /// [`Error`] of the database; what was marked before stays marked.
    pub async fn mark_all_unsynced(&self, left: Option<LedgerId>, step: u32) -> Result<u64, Error> {
        let marked = self.mark_unsynced("synced OR set_aside IS NOT NULL", left, step).await?;
        self.forget_batches_after(0).await?;
        Ok(marked)
    }

    /// The highest number of a batch in which the leader has acknowledged anything; 0: none that it counted.
    pub async fn last_batch(&self) -> Result<u64, Error> {
        MetaRepo::on(self.0).number(LAST_BATCH).await
    }

    /// Marks what the leader acknowledged in later batches than `batch` as unsynced: it has no more than that. Then,
    /// and only then, `batch` is the last. Costs and can be repeated like
    /// [`mark_all_unsynced`](Self::mark_all_unsynced).
    ///
    /// # Errors
    /// [`Error`] of the database; what was marked before stays marked.
    pub async fn mark_unsynced_after(&self, batch: u64, step: u32) -> Result<u64, Error> {
        let marked = self.mark_unsynced(&format!("batch > {batch}"), None, step).await?;
        self.forget_batches_after(batch).await?;
        Ok(marked)
    }

    async fn forget_batches_after(&self, batch: u64) -> Result<(), Error> {
        MetaRepo::on(self.0).set(LAST_BATCH, &batch.to_string()).await
    }

    async fn mark_unsynced(&self, which: &str, left: Option<LedgerId>, step: u32) -> Result<u64, Error> {
        let sql = format!(
            "UPDATE usage_logs SET synced = FALSE, set_aside = NULL, batch = NULL \
             WHERE (created_at, request_id) > ($1, $2) AND (created_at, request_id) <= ($3, $4) \
             AND dismissed_at IS NULL AND ({which})"
        );
        let mut marked = 0;
        let mut after = (i64::MIN, Uuid::nil());
        while let Some(last) = self.position_after(after, step).await? {
            let values = &vec![after.0.into(), after.1.into(), last.0.into(), last.1.into()];
            let mark = || async {
                let tx = self.0.begin().await?;
                if let Some(left) = left {
                    let noted = values.iter().cloned().chain([left.to_string().into()]).collect();
                    tx.inner().execute_raw(self.statement(acknowledged::NOTE, noted)).await?;
                }
                let marked = tx.inner().execute_raw(self.statement(&sql, values.clone())).await?;
                tx.commit().await?;
                Ok::<_, Error>(marked.rows_affected())
            };
            marked += retried(mark).await?;
            after = last;
        }
        Ok(marked)
    }

    /// The place of the log that is `step` logs further than `after`, or of the last one.
    async fn position_after(&self, after: (i64, Uuid), step: u32) -> Result<Option<(i64, Uuid)>, Error> {
        let sql = "SELECT created_at, request_id FROM (SELECT created_at, request_id FROM usage_logs \
                   WHERE (created_at, request_id) > ($1, $2) ORDER BY created_at, request_id LIMIT $3) AS step \
                   ORDER BY created_at DESC, request_id DESC LIMIT 1";
        let values = [after.0.into(), after.1.into(), i64::from(step).into()];
        let statement = Statement::from_sql_and_values(self.0.backend(), sql, values);
        let found = self.0.reader.query_one_raw(statement).await?;
        found.map(|row| Ok::<_, Error>((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).transpose()
    }
}

/// The records of `which` behind `after`, oldest first, at most `limit`.
pub(super) async fn page_of(
    mut which: Select<row::Entity>,
    after: Option<SyncCursor>,
    limit: usize,
    reader: &DatabaseConnection,
) -> Result<Vec<UsageRecord>, Error> {
    if let Some((at, id)) = after {
        let at = at.as_micros();
        // The first condition is implied by the second; it is the one that an index understands.
        which = which
            .filter(row::Column::CreatedAt.gte(at))
            .filter(row::Column::CreatedAt.gt(at).or(row::Column::RequestId.gt(id.0)));
    }
    let oldest_first = which.order_by_asc(row::Column::CreatedAt).order_by_asc(row::Column::RequestId);
    let rows = oldest_first.limit(columns::page_rows(limit) - 1).all(reader).await?;
    rows.into_iter().map(|row| Ok(UsageLog::try_from(row)?.record)).collect()
}

fn all_owed() -> Select<row::Entity> {
    row::Entity::find().filter(Expr::cust(OWED))
}
