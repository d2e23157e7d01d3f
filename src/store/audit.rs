//! Table `audit`: who changed what, appended in the same transaction as the change.

use sea_orm::entity::prelude::*;
use sea_orm::{Condition, IntoActiveModel};

use crate::domain::clock::Timestamp;
use crate::store::{Cursor, Error, Executor, Page, glob, page};

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
        pub credential: Option<String>,
        pub address: Option<String>,
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
    /// Who did it: `user NAME`, `local-admin`, `scim` or `system`.
    pub actor: String,
    /// What they proved themselves with: `api_key`, `access_token`, `local_admin`, `scim_token`. `None`: with nothing, or an older sproxy
    /// did not note it.
    pub credential: Option<String>,
    /// Where from, where that is known.
    pub address: Option<String>,
    /// What was done: `user.create`, `key.revoke`, …
    pub action: String,
    /// The name or id of what was changed.
    pub subject: String,
    /// What changed, for people. Never a secret.
    pub detail: String,
}

/// Which entries; `None` does not restrict. In texts `*` stands for anything and `?` for one character. A name alone stands
/// for whoever or whatever has it: `alice` for `user alice`, `group alice` and so on.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub actor: Option<String>,
    pub action: Option<String>,
    pub subject: Option<String>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// What stands in front of a name in an actor or a subject.
const KINDS: [&str; 5] = ["user", "group", "key", "peer", "target"];

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
            credential: entry.credential,
            address: entry.address,
        };
        row::Entity::insert(row.into_active_model()).exec_without_returning(&*self.0.writes().await?).await?;
        Ok(())
    }

    /// A page of entries, newest first. Costs the page, however long the audit is, and with a filter by actor, action or subject
    /// also the other entries that lie between.
    pub async fn page(
        &self,
        filter: &AuditFilter,
        limit: usize,
        from: Option<Cursor>,
    ) -> Result<Page<AuditEntry>, Error> {
        let backend = self.0.reads().get_database_backend();
        let mut select = row::Entity::find();
        if let Some(action) = &filter.action {
            select = select.filter(glob::matches(row::Column::Action, action, backend));
        }
        for (column, text) in [(row::Column::Actor, &filter.actor), (row::Column::Subject, &filter.subject)] {
            let Some(text) = text else { continue };
            let named = KINDS.iter().map(|kind| glob::matches(column, &format!("{kind} {text}"), backend));
            let any = named.fold(Condition::any(), Condition::add);
            select = select.filter(any.add(glob::matches(column, text, backend)));
        }
        if let Some(from) = filter.from {
            select = select.filter(row::Column::At.gte(from.as_micros()));
        }
        if let Some(to) = filter.to {
            select = select.filter(row::Column::At.lt(to.as_micros()));
        }
        let place = (row::Column::At, row::Column::Id);
        let rows = page::newest_first(select, place, limit, from).all(&self.0.reads()).await?;
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
        credential: row.credential,
        address: row.address,
    }
}
