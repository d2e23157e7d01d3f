//! Which registration of a node the batches that are counted belong to.

use sea_orm_migration::prelude::*;

use crate::columns::{integer_or_none, uuid};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The node's registration that batches are taken of. None: by an older sproxy.
        let session = uuid(manager, "session");
        manager.alter_table(Table::alter().table("usage_batches").add_column(session).take()).await?;
        // The node has not pushed in it yet, and was told that no more than so many of its batches are surely there.
        let resumes_after = integer_or_none("resumes_after");
        manager.alter_table(Table::alter().table("usage_batches").add_column(resumes_after).take()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .alter_table(Table::alter().table("usage_batches").drop_column("resumes_after").take())
            .await?;
        manager.alter_table(Table::alter().table("usage_batches").drop_column("session").take()).await
    }
}
