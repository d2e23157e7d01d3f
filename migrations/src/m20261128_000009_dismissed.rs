//! What a leader refused can be given up: such a log stays, and is owed no more.

use sea_orm::DbErr;

use crate::schema::{Schema, integer_or_none};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    // When an admin gave it up. `set_aside` keeps the reason.
    let dismissed = integer_or_none("dismissed_at");
    schema.add_column("usage_logs", dismissed).await?;
    // what the leader refused and is owed all the same: normally empty, also after years of dismissing
    let refused = "CREATE INDEX index_usage_logs_set_aside ON usage_logs (created_at, request_id) \
                   WHERE set_aside IS NOT NULL AND dismissed_at IS NULL";
    schema.run("DROP INDEX index_usage_logs_set_aside").await?;
    schema.run(refused).await
}
