//! Programs that ask to be let in by somebody at a browser.

use sea_orm::DbErr;
use sea_orm::sea_query::ColumnDef;

use crate::schema::{Schema, integer, integer_or_none, text};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    let columns = vec![
        // SHA-256 of the code that the program holds.
        ColumnDef::new("digest").binary_len(32).not_null().take(),
        // What a person types.
        text("user_code"),
        // What the program says it is.
        text("client"),
        text("address"),
        integer("created_at"),
        integer("expires_at"),
        // When the program asked last, whether somebody has decided.
        integer_or_none("polled_at"),
        integer_or_none("decided_at"),
        // Who has let it in. None: nobody yet, or it was refused.
        schema.uuid("user_id"),
    ];
    schema.create_table("device_logins", columns, &["digest"], true).await?;
    // DeviceLoginRepo::get_by_user_code; no two alike.
    schema.create_index("device_logins", &["user_code"], true).await?;
    // DeviceLoginRepo::count, DeviceLoginRepo::delete_expired.
    schema.create_index("device_logins", &["expires_at", "address"], false).await
}
