//! What the leader refuses: set aside with its reason, offered again, or given up.
//!
//! A log that is set aside is owed like any other, and only not offered. One that is given up stays as a row with its
//! reason, and that is all: it is owed no more, never pushed to any leader, and taken out of this node's own sums, so
//! that they agree with the leader's, also should this node become the leader. Limits go by those sums when a node
//! starts; until then they count what was spent.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, EntityTrait as _, ExprTrait as _,
    FromQueryResult as _, PaginatorTrait as _, QueryFilter as _,
};

use crate::domain::clock::Timestamp;
use crate::domain::ids::RequestId;
use crate::domain::usage::{UsageLog, UsageRecord};
use crate::store::usage::rollup::{Rollups, SUMS, Sums};
use crate::store::usage::sync::{SyncCursor, page_of};
use crate::store::usage::{UsageRepo, row};
use crate::store::{Error, Executor as _, retried};

/// Word for word the condition of the partial index `index_usage_logs_set_aside`: SQLite uses it only then.
pub(super) const SET_ASIDE: &str = "set_aside IS NOT NULL AND dismissed_at IS NULL";

impl UsageRepo<'_> {
    /// Sets records aside that the leader refuses, each with its reason: they are kept and no longer offered, until
    /// [`mark_all_unsynced`](Self::mark_all_unsynced). Costs the ids.
    ///
    /// # Errors
    /// [`Error`] of the database; then none is set aside.
    pub async fn set_aside(&self, refused: &[(RequestId, String)]) -> Result<(), Error> {
        retried(|| self.set_aside_once(refused)).await
    }

    async fn set_aside_once(&self, refused: &[(RequestId, String)]) -> Result<(), Error> {
        let tx = self.0.begin().await?;
        for (id, reason) in refused {
            let note = row::Entity::update_many()
                .col_expr(row::Column::SetAside, Expr::value(reason.replace('\0', "")));
            let which = row::Column::RequestId.eq(id.0).and(row::Column::Synced.eq(false));
            note.filter(which).exec(tx.inner()).await?;
        }
        tx.commit().await.map(drop)
    }

    /// Offers again what is set aside: the next push has it. Returns how many. Grows with that number.
    ///
    /// # Errors
    /// [`Error`] of the database; then none is offered.
    pub async fn retry_set_aside(&self) -> Result<u64, Error> {
        let sql = format!("UPDATE usage_logs SET set_aside = NULL WHERE {SET_ASIDE} AND NOT synced");
        retried(|| async { Ok(self.0.writes().await?.execute_unprepared(&sql).await?.rows_affected()) }).await
    }

    /// How many are set aside. Grows with that number.
    pub async fn set_aside_count(&self) -> Result<u64, Error> {
        let aside = row::Entity::find().filter(Expr::cust(SET_ASIDE));
        Ok(aside.count(&self.0.reader).await?)
    }

    /// When the oldest was made that is set aside. One look-up.
    pub async fn oldest_set_aside(&self) -> Result<Option<Timestamp>, Error> {
        self.first_time(&format!("WHERE {SET_ASIDE} ORDER BY created_at, request_id LIMIT 1")).await
    }

    /// What is set aside behind `after`, oldest first, at most `limit`. Costs what it returns.
    pub async fn list_set_aside(
        &self,
        after: Option<SyncCursor>,
        limit: usize,
    ) -> Result<Vec<UsageRecord>, Error> {
        let aside = row::Entity::find().filter(Expr::cust(SET_ASIDE));
        page_of(aside, after, limit, &self.0.reader).await
    }

    /// Gives up at most `most` of what is set aside, the oldest first, at the time `now`; returns them. Costs what it
    /// returns.
    ///
    /// # Errors
    /// [`Error`] of the database; then none is given up.
    pub async fn dismiss_set_aside(&self, now: Timestamp, most: u32) -> Result<Vec<UsageRecord>, Error> {
        retried(|| self.dismiss_once(now, most)).await
    }

    async fn dismiss_once(&self, now: Timestamp, most: u32) -> Result<Vec<UsageRecord>, Error> {
        let sql = format!(
            "UPDATE usage_logs SET dismissed_at = $1 WHERE {SET_ASIDE} AND NOT synced AND request_id IN (\
             SELECT request_id FROM usage_logs WHERE {SET_ASIDE} ORDER BY created_at, request_id LIMIT $2) RETURNING *"
        );
        let tx = self.0.begin().await?;
        let values = vec![now.as_micros().into(), i64::from(most).into()];
        let rows = tx.inner().query_all_raw(self.statement(&sql, values)).await?;
        let read = |row| Ok(UsageLog::try_from(row::Model::from_query_result(&row, "")?)?.record);
        let dismissed = rows.into_iter().map(read).collect::<Result<Vec<_>, Error>>()?;
        let mut rollups = Rollups::default();
        for record in &dismissed {
            rollups.add(record);
        }
        self.subtract(&rollups, tx.inner()).await?;
        tx.commit().await?;
        Ok(dismissed)
    }

    /// Subtracts `rollups` from the stored sums.
    async fn subtract(self, rollups: &Rollups, tx: &DatabaseTransaction) -> Result<(), Error> {
        let less = SUMS.iter().enumerate().map(|(at, sum)| format!("{sum} = {sum} - ${}", at + 1));
        let less = less.collect::<Vec<_>>().join(", ");
        let next = SUMS.len() + 1;
        let of = |columns: &[&str]| {
            let equal = columns.iter().enumerate().map(|(at, column)| format!("{column} = ${}", next + at));
            equal.collect::<Vec<_>>().join(" AND ")
        };
        let key = of(&["hour", "user_id", "group_id", "model", "node"]);
        let by_user = format!("UPDATE usage_rollups SET {less} WHERE {key}");
        let by_node = format!("UPDATE usage_totals SET {less} WHERE {}", of(&["hour", "node"]));
        let sums = |sums: &Sums| sums.values().into_iter().map(sea_orm::Value::from).collect::<Vec<_>>();
        for (key, (_, less)) in &rollups.by_user {
            let mut values = sums(less);
            values.extend([key.hour.into(), key.user.into(), key.group.into()]);
            values.extend([(*key.model).into(), (*key.node).into()]);
            tx.execute_raw(self.statement(&by_user, values)).await?;
        }
        for ((hour, node), less) in &rollups.by_node {
            let mut values = sums(less);
            values.extend([(*hour).into(), (**node).into()]);
            tx.execute_raw(self.statement(&by_node, values)).await?;
        }
        Ok(())
    }
}
