//! Several leaders share a database: which of its nodes lead, and how they are reached.

use sea_orm::DbErr;

use crate::schema::{Schema, text_or_none};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    // The URL of its gRPC side. None: a follower, or a leader with a database of its own.
    let leads_at = text_or_none("leads_at");
    schema.add_column("peers", leads_at).await
}
