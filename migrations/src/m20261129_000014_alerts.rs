//! What receivers of alerts are still to be told, and what they were told.

use sea_orm::DbErr;

use crate::schema::{Schema, integer, integer_or_none, text, text_or_none};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    let columns = vec![
        schema.uuid_required("id"),
        schema.uuid_required("event"),
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
    schema.create_table("alert_outbox", columns, &["id"], false).await?;
    // AlertRepo::add: once for each receiver.
    schema.create_index("alert_outbox", &["receiver", "dedupe_key"], true).await?;
    // AlertRepo::claim, AlertRepo::waiting.
    schema.create_index("alert_outbox", &["done_at", "receiver", "next_try"], false).await?;
    // AlertRepo::page, AlertRepo::delete_done_before.
    schema.create_index("alert_outbox", &["created_at"], false).await
}
