//! How a record is not counted a second time once the leader's retention has removed its row: the leader remembers up to
//! where it has removed rows of each node, and a node what each of its leaders has acknowledged.

use sea_orm_migration::prelude::*;

use crate::columns::{create_index, create_table, drop_tables, integer, text, uuid_required};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // On a leader: the time of the youngest log of a node that retention has removed. Not in `peers`: it outlives a peer
        // that is forgotten.
        create_table(manager, "usage_floors", vec![text("node"), integer("through")], &["node"], true)
            .await?;
        // On a follower: which of its logs a leader had acknowledged, in which batch, when it went to another leader. Empty
        // as long as there is only one.
        let columns = vec![uuid_required(manager, "request_id"), text("ledger"), integer("batch")];
        create_table(manager, "usage_acknowledged", columns, &["request_id", "ledger"], true).await?;
        // What a leader has lost of it is forgotten.
        create_index(manager, "usage_acknowledged", &["ledger", "batch"], false).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["usage_acknowledged", "usage_floors"]).await
    }
}
