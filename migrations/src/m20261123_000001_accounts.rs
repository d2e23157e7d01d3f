//! Who may call: groups, users, API keys, refresh tokens, and the audit of every change to them.

use sea_orm::DbErr;
use sea_orm::sea_query::ColumnDef;

use crate::schema::{Schema, flag, integer, integer_or_none, text, text_or_none};

pub async fn up(schema: &Schema<'_>) -> Result<(), DbErr> {
    groups(schema).await?;
    users(schema).await?;
    api_keys(schema).await?;
    refresh_tokens(schema).await?;
    audit(schema).await
}

async fn groups(schema: &Schema<'_>) -> Result<(), DbErr> {
    let columns = vec![
        schema.uuid_required("id"),
        text("name"),
        text("limits"), // JSON of domain::group::Limits
        integer("created_at"),
        integer("updated_at"),
    ];
    schema.create_table("groups", columns, &["id"], false).await?;
    schema.create_index("groups", &["name"], true).await // by name; no two alike
}

async fn users(schema: &Schema<'_>) -> Result<(), DbErr> {
    let columns = vec![
        schema.uuid_required("id"),
        text("name"),
        schema.uuid("group_id"),
        text("role"),
        flag("active"),
        text_or_none("password_hash"),
        text("limits"), // JSON of domain::group::Limits
        integer("tokens_valid_from"),
        integer("created_at"),
        integer("updated_at"),
        integer_or_none("last_login_at"),
    ];
    schema.create_table("users", columns, &["id"], false).await?;
    schema.create_index("users", &["name"], true).await?; // by name; no two alike
    schema.create_index("users", &["group_id"], false).await // the members of a group
}

async fn api_keys(schema: &Schema<'_>) -> Result<(), DbErr> {
    let columns = vec![
        schema.uuid_required("id"),
        schema.uuid_required("user_id"),
        text("name"),
        text("prefix"),
        ColumnDef::new("digest").binary_len(32).not_null().take(),
        integer("created_at"),
        integer_or_none("last_used_at"),
        integer_or_none("expires_at"),
    ];
    schema.create_table("api_keys", columns, &["id"], false).await?;
    schema.create_index("api_keys", &["digest"], true).await?; // no two alike
    schema.create_index("api_keys", &["user_id"], false).await // a user's keys
}

async fn refresh_tokens(schema: &Schema<'_>) -> Result<(), DbErr> {
    let columns = vec![
        schema.uuid_required("jti"),
        schema.uuid_required("family"),
        schema.uuid_required("user_id"),
        ColumnDef::new("digest").binary_len(32).not_null().take(),
        integer("created_at"),
        integer("expires_at"),
        integer_or_none("revoked_at"),
    ];
    schema.create_table("refresh_tokens", columns, &["jti"], false).await?;
    schema.create_index("refresh_tokens", &["family"], false).await?; // revoke a family
    schema.create_index("refresh_tokens", &["user_id"], false).await?; // revoke all of a user
    schema.create_index("refresh_tokens", &["expires_at"], false).await // delete what expired
}

async fn audit(schema: &Schema<'_>) -> Result<(), DbErr> {
    let columns = vec![
        schema.uuid_required("id"),
        integer("at"),
        text("actor"),
        text("action"),
        text("subject"),
        text("detail"),
    ];
    schema.create_table("audit", columns, &["id"], false).await?;
    schema.create_index("audit", &["at", "id"], false).await // pages, newest first
}
