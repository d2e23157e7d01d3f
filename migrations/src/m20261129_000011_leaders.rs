//! Several leaders share a database: which of its nodes lead, and how they are reached.

use sea_orm_migration::prelude::*;

use crate::columns::text_or_none;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The URL of its gRPC side. None: a follower, or a leader with a database of its own.
        let leads_at = text_or_none("leads_at");
        manager.alter_table(Table::alter().table("peers").add_column(leads_at).take()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("peers").drop_column("leads_at").take()).await
    }
}
