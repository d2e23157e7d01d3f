//! The registry of peers, and what a node has to remember about itself.

use sea_orm_migration::prelude::*;

use crate::columns::{create_table, drop_tables, flag, integer, integer_or_none, text, uuid};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let peers = vec![
            text("id"),
            text("addr"),
            integer("weight"),
            flag("is_active"),
            flag("draining"),
            integer("registered_at"),
            integer_or_none("last_seen"),
            integer("unsynced"),
            integer_or_none("synced_through"),
            text("version"),
            uuid(manager, "instance_id"),
        ];
        create_table(manager, "peers", peers, &["id"], false).await?;
        create_table(manager, "meta", vec![text("key"), text("value")], &["key"], true).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["meta", "peers"]).await
    }
}
