//! How a leader that was restored from an older backup is noticed: it numbers the batches that it takes of each node,
//! and the node keeps the number with what the batch acknowledged.

use sea_orm_migration::prelude::*;

use crate::columns::{create_table, drop_tables, integer, integer_or_none, text};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // On a leader: how many batches it has taken of a node. Not in `peers`: it outlives a peer that is forgotten.
        create_table(manager, "usage_batches", vec![text("node"), integer("taken")], &["node"], true).await?;
        // On a follower: the batch in which the leader acknowledged a log. None: it has not, or did not number them.
        // Read only after a leader was restored, so no index.
        let column = integer_or_none("batch");
        manager.alter_table(Table::alter().table("usage_logs").add_column(column).take()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("usage_logs").drop_column("batch").take()).await?;
        drop_tables(manager, &["usage_batches"]).await
    }
}
