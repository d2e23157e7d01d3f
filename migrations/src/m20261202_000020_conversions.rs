//! From which API a call was converted for its target.

use sea_orm::DbErr;

use crate::schema::{Schema, text_or_none};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    // The API that the caller spoke. None: the call went as it came.
    schema.add_column("usage_logs", text_or_none("converted_from")).await
}
