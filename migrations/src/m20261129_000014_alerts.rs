//! What receivers of alerts are still to be told, and what they were told.

use sea_orm_migration::prelude::*;

use crate::columns::{
    create_index, create_table, drop_tables, integer, integer_or_none, text, text_or_none, uuid_required,
};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = vec![
            uuid_required(manager, "id"),
            uuid_required(manager, "event"),
            text("receiver"),
            text("kind"),
            text("subject"),
            // What tells that it is the same event, whoever raises it.
            text("dedupe_key"),
            // Who raised it.
            text("node"),
            // The event itself, JSON. Empty: it is too old for anybody to look at.
            text("body"),
            integer("created_at"),
            integer("attempts"),
            // When it may be tried. Whoever tries it sets this to when others may, should it not be heard of again.
            integer("next_try"),
            // Who tries it.
            text_or_none("claimed_by"),
            // None: it is still to be told.
            integer_or_none("done_at"),
            text_or_none("outcome"),
            integer_or_none("status"),
            text_or_none("error"),
        ];
        create_table(manager, "alert_outbox", columns, &["id"], false).await?;
        // AlertRepo::add: once for each receiver.
        create_index(manager, "alert_outbox", &["receiver", "dedupe_key"], true).await?;
        // AlertRepo::claim, AlertRepo::waiting.
        create_index(manager, "alert_outbox", &["done_at", "receiver", "next_try"], false).await?;
        // AlertRepo::page, AlertRepo::delete_done_before.
        create_index(manager, "alert_outbox", &["created_at"], false).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["alert_outbox"]).await
    }
}
