//! Who used what: usage logs, and their sums per hour.

use sea_orm::DbErr;
use sea_orm::sea_query::ColumnDef;

use crate::schema::{Schema, flag, integer, integer_or_none, text, text_or_none};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    usage_logs(schema).await?;
    usage_rollups(schema).await?;
    usage_totals(schema).await
}

/// One row per request, on the node that served it and on the leader. No foreign keys: a log outlives its user.
async fn usage_logs(schema: &Schema<'_>) -> Result<(), DbErr> {
    let columns = vec![
        schema.uuid_required("request_id"),
        schema.uuid_required("user_id"),
        text("user_name"),
        schema.uuid("group_id"),
        text_or_none("group_name"),
        text("model"),
        text("actual_model"),
        text("provider"),
        text("target"),
        text("upstream_url"),
        integer("input_tokens"),
        integer("output_tokens"),
        integer("cache_read_tokens"),
        integer("cache_write_tokens"),
        integer("cache_write_1h_tokens"),
        integer("reasoning_tokens"),
        text("token_source"),
        text("outcome"),
        flag("is_streaming"),
        integer("status_code"),
        integer("duration_ms"),
        integer_or_none("ttfb_ms"),
        text("price"), // JSON of domain::price::Price
        integer("cost_nanousd"),
        text_or_none("session_id"),
        text_or_none("agent_id"),
        text_or_none("client_request_id"),
        text("source_node"),
        integer("created_at"),
        flag("synced"),
        text_or_none("set_aside"), // why the leader refused it
    ];
    schema.create_table("usage_logs", columns, &["request_id"], false).await?;
    // pages newest first, the ragged edges of a window, retention
    schema.create_index("usage_logs", &["created_at", "request_id"], false).await?;
    // the same for one user
    schema.create_index("usage_logs", &["user_id", "created_at", "request_id"], false).await?;
    // what the leader has not acknowledged, oldest first: on the leader empty, on a follower as long as its debt
    let owed = "CREATE INDEX index_usage_logs_owed ON usage_logs (created_at, request_id) \
                WHERE NOT synced AND set_aside IS NULL";
    schema.run(owed).await?;
    // what the leader refused: normally empty
    let refused =
        "CREATE INDEX index_usage_logs_set_aside ON usage_logs (created_at) WHERE set_aside IS NOT NULL";
    schema.run(refused).await?;
    Ok(())
}

/// Usage logs added up per hour, user, group, model and node. `group_id` is the nil UUID where there is none,
/// since a part of a key cannot be NULL.
async fn usage_rollups(schema: &Schema<'_>) -> Result<(), DbErr> {
    let mut columns = vec![
        integer("hour"),
        schema.uuid_required("user_id"),
        schema.uuid_required("group_id"),
        text("model"),
        text("node"),
        text("user_name"),
        text("group_name"),
    ];
    columns.extend(sums());
    let key = ["hour", "user_id", "group_id", "model", "node"];
    schema.create_table("usage_rollups", columns, &key, true).await?;
    schema.create_index("usage_rollups", &["user_id", "hour"], false).await // one user's windows
}

/// Usage logs added up per hour and node: a few rows per hour however many users there are, so that totals of the
/// whole cluster cost the same with ten users and with a hundred thousand.
async fn usage_totals(schema: &Schema<'_>) -> Result<(), DbErr> {
    let mut columns = vec![integer("hour"), text("node")];
    columns.extend(sums());
    schema.create_table("usage_totals", columns, &["hour", "node"], true).await
}

fn sums() -> Vec<ColumnDef> {
    vec![
        integer("input_tokens"),
        integer("output_tokens"),
        integer("cache_read_tokens"),
        integer("cache_write_tokens"),
        integer("cache_write_1h_tokens"),
        integer("reasoning_tokens"),
        integer("request_count"),
        integer("error_count"),
        integer("cost_nanousd"),
    ]
}
