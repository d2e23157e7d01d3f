//! The attempts of a call that failed before the one that answered it.

use sea_orm::DbErr;

use crate::schema::{Schema, text_or_none};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    // JSON of a list of domain::attempt::Attempt. None: the first attempt was the only one.
    let attempts = text_or_none("attempts");
    schema.add_column("usage_logs", attempts).await
}
