//! Table `audit`: who changed what, appended in the same transaction as the change.

use sea_orm::IntoActiveModel;
use sea_orm::entity::prelude::*;

use crate::domain::clock::Timestamp;
use crate::store::{Cursor, Error, Executor, Page, page};

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "audit")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub at: i64,
        pub actor: String,
        pub action: String,
        pub subject: String,
        pub detail: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One change that an audit log entry records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// UUIDv7.
    pub id: Uuid,
    pub at: Timestamp,
    /// Who did it: a user's name, or what acted by itself (`local admin`, `first start`).
    pub actor: String,
    /// What was done: `user.create`, `key.revoke`, …
    pub action: String,
    /// The name or id of what was changed.
    pub subject: String,
    /// What changed, for people. Never a secret.
    pub detail: String,
}

/// Appends and reads the audit, on a store or a transaction. Entries are never changed.
#[derive(Debug)]
pub struct AuditRepo<'a, G>(&'a G);

impl<'a, G: Executor> AuditRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    /// Appends an entry.
    pub async fn append(&self, entry: &AuditEntry) -> Result<(), Error> {
        let entry = entry.clone();
        let row = row::Model {
            id: entry.id,
            at: entry.at.as_micros(),
            actor: entry.actor,
            action: entry.action,
            subject: entry.subject,
            detail: entry.detail,
        };
        row::Entity::insert(row.into_active_model()).exec_without_returning(&*self.0.writes().await?).await?;
        Ok(())
    }

    /// A page of entries, newest first. Costs the page, however long the audit is.
    pub async fn page(&self, limit: usize, from: Option<Cursor>) -> Result<Page<AuditEntry>, Error> {
        let place = (row::Column::At, row::Column::Id);
        let rows = page::newest_first(row::Entity::find(), place, limit, from).all(&self.0.reads()).await?;
        let entries = rows.into_iter().map(from_row).collect();
        Ok(Page::cut(entries, limit, |entry: &AuditEntry| Cursor { at: entry.at, id: entry.id }))
    }
}

fn from_row(row: row::Model) -> AuditEntry {
    AuditEntry {
        id: row.id,
        at: Timestamp::from_micros(row.at),
        actor: row.actor,
        action: row.action,
        subject: row.subject,
        detail: row.detail,
    }
}
