//! Who is signed in at a browser; and an index over the calls that went wrong, for the page that looks for them.

use sea_orm::DbErr;
use sea_orm::sea_query::ColumnDef;

use crate::schema::{Schema, integer, text};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    let columns = vec![
        schema.uuid_required("id"),
        schema.uuid_required("user_id"),
        // SHA-256 of what the cookie holds.
        ColumnDef::new("digest").binary_len(32).not_null().take(),
        // How it began.
        text("method"),
        text("address"),
        integer("created_at"),
        integer("last_seen_at"),
        integer("expires_at"),
    ];
    schema.create_table("browser_sessions", columns, &["id"], false).await?;
    // BrowserSessionRepo::get_by_digest; no two alike.
    schema.create_index("browser_sessions", &["digest"], true).await?;
    // BrowserSessionRepo::delete_all_of, BrowserSessionRepo::make_room.
    schema.create_index("browser_sessions", &["user_id", "last_seen_at"], false).await?;
    // BrowserSessionRepo::delete_ended.
    schema.create_index("browser_sessions", &["last_seen_at"], false).await?;
    schema.create_index("browser_sessions", &["expires_at"], false).await?;
    // Calls that went wrong, in pages and in sums. Most calls are not in it.
    let errors = "CREATE INDEX index_usage_logs_errors ON usage_logs (created_at, request_id) \
                  WHERE outcome NOT IN ('ok', 'client_gone')";
    schema.run(errors).await
}
