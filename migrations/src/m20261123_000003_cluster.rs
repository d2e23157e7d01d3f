//! The registry of peers, and what a node has to remember about itself.

use sea_orm::DbErr;

use crate::schema::{Schema, flag, integer, integer_or_none, text};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
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
        schema.uuid("instance_id"),
    ];
    schema.create_table("peers", peers, &["id"], false).await?;
    schema.create_table("meta", vec![text("key"), text("value")], &["key"], true).await
}
