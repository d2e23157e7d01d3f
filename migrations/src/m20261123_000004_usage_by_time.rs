//! One index over usage logs by time instead of two. The one by user put every user's newest log on a page of its own:
//! a transaction of 15 logs wrote 15 pages more, about as much as everything else in it. Which hours to look into for
//! a user's logs is what the sums say.

use sea_orm_migration::prelude::*;

use crate::columns::create_index;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_index(manager, "index_usage_logs_user_id_created_at_request_id").await?;
        drop_index(manager, "index_usage_logs_created_at_request_id").await?;
        // pages newest first, the ragged edges of a window, retention; with the user, so that others' rows are not read
        create_index(manager, "usage_logs", &["created_at", "request_id", "user_id"], false).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_index(manager, "index_usage_logs_created_at_request_id_user_id").await?;
        create_index(manager, "usage_logs", &["created_at", "request_id"], false).await?;
        create_index(manager, "usage_logs", &["user_id", "created_at", "request_id"], false).await
    }
}

async fn drop_index(manager: &SchemaManager<'_>, name: &'static str) -> Result<(), DbErr> {
    manager.drop_index(Index::drop().name(name).table("usage_logs").to_owned()).await
}
