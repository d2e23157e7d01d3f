//! Sign-in at several leaders: each signs access tokens with a key of its own, all accept those of all, and a session that
//! ended is over at each of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sea_orm::sea_query::ColumnDef;
use sea_orm::{ConnectionTrait as _, DbErr, Statement};

use crate::schema::{Schema, integer, integer_or_none, text_or_none};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    // Public keys that verify access tokens. No node: another node's, which alone knows whose it is and since when.
    // No time of retirement: somebody signs with it.
    let columns = vec![
        ColumnDef::new("public").binary_len(32).not_null().take(),
        text_or_none("node"),
        integer_or_none("created_at"),
        integer_or_none("retired_at"),
    ];
    schema.create_table("token_keys", columns, &["public"], true).await?;
    take_over_keys(schema).await?;
    // Sessions whose access tokens have not all expired, with the version of the state that was the first with it. No
    // user: another node's, which alone knows.
    let columns = vec![
        schema.uuid("session").not_null().take(),
        schema.uuid("user_id"),
        integer("until"),
        integer("version"),
    ];
    schema.create_table("ended_sessions", columns, &["session"], true).await?;
    schema.create_index("ended_sessions", &["version"], false).await?; // those since a version
    schema.create_index("ended_sessions", &["until"], false).await?; // forget what has expired
    schema.create_index("ended_sessions", &["user_id"], false).await?; // how many of a user
    // When the access token that was given out with it expires. None: an older sproxy did not note it.
    let column = integer_or_none("access_until");
    schema.add_column("refresh_tokens", column).await
}

/// Keys of other leaders were a list in `meta`, Base64 with commas between.
async fn take_over_keys(schema: &Schema<'_>) -> Result<(), DbErr> {
    let (database, backend) = (schema.database(), schema.backend());
    let listed = Statement::from_string(backend, "SELECT value FROM meta WHERE key = 'token_keys'");
    let Some(row) = database.query_one_raw(listed).await? else { return Ok(()) };
    let list: String = row.try_get_by_index(0)?;
    for key in list.split(',').filter_map(|key| STANDARD.decode(key).ok()).filter(|key| key.len() == 32) {
        let sql = "INSERT INTO token_keys (public) VALUES ($1) ON CONFLICT (public) DO NOTHING";
        database.execute_raw(Statement::from_sql_and_values(backend, sql, [key.into()])).await?;
    }
    schema.run("DELETE FROM meta WHERE key = 'token_keys'").await
}
