//! Who may call: groups, users, API keys, refresh tokens, and the audit of every change to them.

use sea_orm_migration::prelude::*;

use crate::columns::{
    create_index, create_table, drop_tables, flag, integer, integer_or_none, text, text_or_none, uuid,
    uuid_required,
};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        groups(manager).await?;
        users(manager).await?;
        api_keys(manager).await?;
        refresh_tokens(manager).await?;
        audit(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["audit", "refresh_tokens", "api_keys", "users", "groups"]).await
    }
}

async fn groups(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let columns = vec![
        uuid_required(manager, "id"),
        text("name"),
        text("limits"), // JSON of domain::group::Limits
        integer("created_at"),
        integer("updated_at"),
    ];
    create_table(manager, "groups", columns, &["id"], false).await?;
    create_index(manager, "groups", &["name"], true).await // by name; no two alike
}

async fn users(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let columns = vec![
        uuid_required(manager, "id"),
        text("name"),
        uuid(manager, "group_id"),
        text("role"),
        flag("active"),
        text_or_none("password_hash"),
        text("limits"), // JSON of domain::group::Limits
        integer("tokens_valid_from"),
        integer("created_at"),
        integer("updated_at"),
        integer_or_none("last_login_at"),
    ];
    create_table(manager, "users", columns, &["id"], false).await?;
    create_index(manager, "users", &["name"], true).await?; // by name; no two alike
    create_index(manager, "users", &["group_id"], false).await // the members of a group
}

async fn api_keys(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let columns = vec![
        uuid_required(manager, "id"),
        uuid_required(manager, "user_id"),
        text("name"),
        text("prefix"),
        ColumnDef::new("digest").binary_len(32).not_null().take(),
        integer("created_at"),
        integer_or_none("last_used_at"),
        integer_or_none("expires_at"),
    ];
    create_table(manager, "api_keys", columns, &["id"], false).await?;
    create_index(manager, "api_keys", &["digest"], true).await?; // no two alike
    create_index(manager, "api_keys", &["user_id"], false).await // a user's keys
}

async fn refresh_tokens(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let columns = vec![
        uuid_required(manager, "jti"),
        uuid_required(manager, "family"),
        uuid_required(manager, "user_id"),
        ColumnDef::new("digest").binary_len(32).not_null().take(),
        integer("created_at"),
        integer("expires_at"),
        integer_or_none("revoked_at"),
    ];
    create_table(manager, "refresh_tokens", columns, &["jti"], false).await?;
    create_index(manager, "refresh_tokens", &["family"], false).await?; // revoke a family
    create_index(manager, "refresh_tokens", &["user_id"], false).await?; // revoke all of a user
    create_index(manager, "refresh_tokens", &["expires_at"], false).await // delete what expired
}

async fn audit(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let columns = vec![
        uuid_required(manager, "id"),
        integer("at"),
        text("actor"),
        text("action"),
        text("subject"),
        text("detail"),
    ];
    create_table(manager, "audit", columns, &["id"], false).await?;
    create_index(manager, "audit", &["at", "id"], false).await // pages, newest first
}
