//! Table `alert_outbox`: what receivers of alerts are still to be told, a row for each event and receiver; and what they were
//! told, which keeps them from being told it again.
//!
//! Several leaders may work on one outbox. A row is added once, by its key; and it is tried by whoever moves its time of the
//! next try, which only one can from where it was.

use std::collections::BTreeMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{IntoActiveModel, QueryOrder as _, QuerySelect as _, QueryTrait as _};

use crate::domain::clock::Timestamp;
use crate::domain::ids::NodeId;
use crate::store::{Cursor, Error, Executor, Page, columns, page};

/// Rows that a claim looks at before it gives up: others are at them.
const CANDIDATES: u64 = 8;

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "alert_outbox")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub event: Uuid,
        pub receiver: String,
        pub kind: String,
        pub subject: String,
        pub dedupe_key: String,
        pub node: String,
        pub body: String,
        pub created_at: i64,
        pub attempts: i64,
        pub next_try: i64,
        pub claimed_by: Option<String>,
        pub done_at: Option<i64>,
        pub outcome: Option<String>,
        pub status: Option<i64>,
        pub error: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// An event that a receiver is, or was, to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRow {
    /// UUIDv7, of this row.
    pub id: Uuid,
    /// UUIDv7, the same for all receivers that the node which raised it tells.
    pub event: Uuid,
    /// Its name.
    pub receiver: String,
    pub kind: String,
    /// Whom or what it is about: `kind/id`.
    pub subject: String,
    /// One receiver is told only one event with this key.
    pub dedupe_key: String,
    /// Who raised it.
    pub node: String,
    /// What is told, JSON.
    pub body: String,
    pub created_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it may be tried next.
    pub next_try: Timestamp,
    /// How it ended; `None`: it is still to be told.
    pub ended: Option<AlertEnd>,
    /// The status of the last answer.
    pub status: Option<u16>,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// How the delivery of an event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertEnd {
    pub at: Timestamp,
    /// `delivered`, or why not.
    pub outcome: String,
}

/// Reads and changes the outbox.
#[derive(Debug)]
pub struct AlertRepo<'a, G>(&'a G);

impl<'a, G: Executor> AlertRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    /// Adds a row. False: the receiver was, or will be, told an event with this key.
    pub async fn add(&self, row: &AlertRow) -> Result<bool, Error> {
        let keep = OnConflict::new().do_nothing().to_owned();
        let insert = row::Entity::insert(to_row(row).into_active_model()).on_conflict(keep);
        Ok(insert.exec_without_returning(&*self.0.writes().await?).await? > 0)
    }

    /// The number of rows of each receiver that are still to be told.
    pub async fn waiting(&self) -> Result<BTreeMap<String, u64>, Error> {
        let counts: Vec<(String, i64)> = row::Entity::find()
            .select_only()
            .column(row::Column::Receiver)
            .column_as(row::Column::Id.count(), "rows")
            .filter(row::Column::DoneAt.is_null())
            .group_by(row::Column::Receiver)
            .into_tuple()
            .all(&self.0.reads())
            .await?;
        Ok(counts.into_iter().map(|(receiver, rows)| (receiver, columns::counted(rows))).collect())
    }

    /// Takes the row of a receiver that may be tried the longest, for `node`, until `until`: then others may.
    pub async fn claim(
        &self,
        receiver: &str,
        node: &NodeId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<AlertRow>, Error> {
        let due = row::Entity::find()
            .filter(row::Column::DoneAt.is_null())
            .filter(row::Column::Receiver.eq(receiver))
            .filter(row::Column::NextTry.lte(now.as_micros()))
            .order_by_asc(row::Column::NextTry)
            .limit(CANDIDATES);
        for found in due.all(&self.0.reads()).await? {
            let claim = row::Entity::update_many()
                .col_expr(row::Column::NextTry, Expr::value(until.as_micros()))
                .col_expr(row::Column::ClaimedBy, Expr::value(node.as_str()))
                .col_expr(row::Column::Attempts, Expr::value(found.attempts.saturating_add(1)))
                .filter(row::Column::Id.eq(found.id))
                .filter(row::Column::DoneAt.is_null())
                .filter(row::Column::NextTry.eq(found.next_try));
            if claim.exec(&*self.0.writes().await?).await?.rows_affected > 0 {
                let mut claimed = from_row(found);
                claimed.attempts = claimed.attempts.saturating_add(1);
                claimed.next_try = until;
                return Ok(Some(claimed));
            }
        }
        Ok(None)
    }

    /// Writes how a try of `row` ended, or when it is tried again; unless another has ended it meanwhile.
    pub async fn settle(&self, row: &AlertRow) -> Result<(), Error> {
        let end = row.ended.as_ref();
        let update = row::Entity::update_many()
            .col_expr(row::Column::NextTry, Expr::value(row.next_try.as_micros()))
            .col_expr(row::Column::ClaimedBy, Expr::value(None::<String>))
            .col_expr(row::Column::DoneAt, Expr::value(end.map(|end| end.at.as_micros())))
            .col_expr(row::Column::Outcome, Expr::value(end.map(|end| end.outcome.clone())))
            .col_expr(row::Column::Status, Expr::value(row.status.map(i64::from)))
            .col_expr(row::Column::Error, Expr::value(row.error.clone()))
            .filter(row::Column::Id.eq(row.id))
            .filter(row::Column::DoneAt.is_null());
        update.exec(&*self.0.writes().await?).await?;
        Ok(())
    }

    /// What `node` was trying when it ended may be tried at once: it has begun anew.
    pub async fn release(&self, node: &NodeId, now: Timestamp) -> Result<u64, Error> {
        let update = row::Entity::update_many()
            .col_expr(row::Column::NextTry, Expr::value(now.as_micros()))
            .col_expr(row::Column::ClaimedBy, Expr::value(None::<String>))
            .filter(row::Column::DoneAt.is_null())
            .filter(row::Column::ClaimedBy.eq(node.as_str()));
        Ok(update.exec(&*self.0.writes().await?).await?.rows_affected)
    }

    /// Ends what has waited since before `before`.
    pub async fn expire(&self, before: Timestamp, end: &AlertEnd) -> Result<u64, Error> {
        let update = row::Entity::update_many()
            .col_expr(row::Column::DoneAt, Expr::value(end.at.as_micros()))
            .col_expr(row::Column::Outcome, Expr::value(end.outcome.as_str()))
            .filter(row::Column::DoneAt.is_null())
            .filter(row::Column::CreatedAt.lt(before.as_micros()));
        Ok(update.exec(&*self.0.writes().await?).await?.rows_affected)
    }

    /// Removes what ended and was raised before `before`; at most `most` rows.
    pub async fn delete_done_before(&self, before: Timestamp, most: u64) -> Result<u64, Error> {
        let old = row::Entity::find()
            .select_only()
            .column(row::Column::Id)
            .filter(row::Column::DoneAt.is_not_null())
            .filter(row::Column::CreatedAt.lt(before.as_micros()))
            .order_by_asc(row::Column::CreatedAt)
            .limit(most)
            .into_query();
        let delete = row::Entity::delete_many().filter(row::Column::Id.in_subquery(old));
        Ok(delete.exec(&*self.0.writes().await?).await?.rows_affected)
    }

    /// When the row was raised that has `newer` rows after it; none: there are not so many.
    pub async fn nth_newest(&self, newer: u64) -> Result<Option<Timestamp>, Error> {
        let found: Option<i64> = row::Entity::find()
            .select_only()
            .column(row::Column::CreatedAt)
            .order_by_desc(row::Column::CreatedAt)
            .offset(newer)
            .limit(1)
            .into_tuple()
            .one(&self.0.reads())
            .await?;
        Ok(found.map(Timestamp::from_micros))
    }

    /// A page of the outbox, newest first.
    pub async fn page(&self, limit: usize, from: Option<Cursor>) -> Result<Page<AlertRow>, Error> {
        let place = (row::Column::CreatedAt, row::Column::Id);
        let rows = page::newest_first(row::Entity::find(), place, limit, from).all(&self.0.reads()).await?;
        let rows = rows.into_iter().map(from_row).collect();
        Ok(Page::cut(rows, limit, |row: &AlertRow| Cursor { at: row.created_at, id: row.id }))
    }

    /// When each receiver was last told something, and when telling it last ended in vain.
    pub async fn last_ends(&self, delivered: bool) -> Result<BTreeMap<String, Timestamp>, Error> {
        let outcome = row::Column::Outcome;
        let outcome = if delivered { outcome.eq("delivered") } else { outcome.ne("delivered") };
        let ends: Vec<(String, i64)> = row::Entity::find()
            .select_only()
            .column(row::Column::Receiver)
            .column_as(row::Column::DoneAt.max(), "last")
            .filter(row::Column::DoneAt.is_not_null())
            .filter(outcome)
            .group_by(row::Column::Receiver)
            .into_tuple()
            .all(&self.0.reads())
            .await?;
        Ok(ends.into_iter().map(|(receiver, at)| (receiver, Timestamp::from_micros(at))).collect())
    }

    /// The keys of events of these kinds, oldest first, with kind and subject.
    pub async fn keys(&self, kinds: &[&str]) -> Result<Vec<(String, String, String)>, Error> {
        let keys: Vec<(String, String, String, i64)> = row::Entity::find()
            .select_only()
            .column(row::Column::Kind)
            .column(row::Column::Subject)
            .column(row::Column::DedupeKey)
            .column_as(row::Column::CreatedAt.min(), "first")
            .filter(row::Column::Kind.is_in(kinds.iter().copied()))
            .group_by(row::Column::Kind)
            .group_by(row::Column::Subject)
            .group_by(row::Column::DedupeKey)
            .order_by_asc(row::Column::CreatedAt.min())
            .into_tuple()
            .all(&self.0.reads())
            .await?;
        Ok(keys.into_iter().map(|(kind, subject, key, _)| (kind, subject, key)).collect())
    }
}

fn to_row(row: &AlertRow) -> row::Model {
    let row = row.clone();
    let (done_at, outcome) = row.ended.map(|end| (end.at.as_micros(), end.outcome)).unzip();
    row::Model {
        id: row.id,
        event: row.event,
        receiver: row.receiver,
        kind: row.kind,
        subject: row.subject,
        dedupe_key: row.dedupe_key,
        node: row.node,
        body: row.body,
        created_at: row.created_at.as_micros(),
        attempts: i64::from(row.attempts),
        next_try: row.next_try.as_micros(),
        claimed_by: None,
        done_at,
        outcome,
        status: row.status.map(i64::from),
        error: row.error,
    }
}

fn from_row(row: row::Model) -> AlertRow {
    let at = columns::moment(row.done_at);
    AlertRow {
        id: row.id,
        event: row.event,
        receiver: row.receiver,
        kind: row.kind,
        subject: row.subject,
        dedupe_key: row.dedupe_key,
        node: row.node,
        body: row.body,
        created_at: Timestamp::from_micros(row.created_at),
        attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
        next_try: Timestamp::from_micros(row.next_try),
        ended: at.map(|at| AlertEnd { at, outcome: row.outcome.unwrap_or_default() }),
        status: row.status.and_then(|status| u16::try_from(status).ok()),
        error: row.error,
    }
}
