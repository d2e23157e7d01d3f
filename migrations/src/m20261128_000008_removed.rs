//! How what was removed is told from what a database never knew, when a leader adds to its own users, groups and keys what
//! a follower holds.

use sea_orm_migration::prelude::*;

use crate::columns::{create_index, create_table, drop_tables, integer, uuid_required};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Ids of users, groups and API keys, with the version of the state that was the first without it.
        let columns = vec![uuid_required(manager, "id"), integer("version")];
        create_table(manager, "removed_accounts", columns, &["id"], true).await?;
        create_index(manager, "removed_accounts", &["version"], false).await // forget the oldest
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["removed_accounts"]).await
    }
}
