//! The attempts of a call that failed before the one that answered it.

use sea_orm_migration::prelude::*;

use crate::columns::text_or_none;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // JSON of a list of domain::attempt::Attempt. None: the first attempt was the only one.
        let attempts = text_or_none("attempts");
        manager.alter_table(Table::alter().table("usage_logs").add_column(attempts).take()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("usage_logs").drop_column("attempts").take()).await
    }
}
