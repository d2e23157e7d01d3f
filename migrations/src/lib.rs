//! The schema, one file per migration, for SQLite and PostgreSQL alike.
//!
//! Conventions: ids are UUIDs (16-byte blobs on SQLite), times are microseconds since the epoch in UTC, money is
//! nano-USD, and both are 64-bit integers. An index exists only where a query of `sproxy::store` needs it; the
//! comment beside it names the query.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseTransaction;

mod columns;
mod m20261123_000001_accounts;
mod m20261123_000002_usage;
mod m20261123_000003_cluster;
mod m20261123_000004_usage_by_time;
mod m20261123_000005_batches;
mod m20261128_000006_parts;
mod m20261128_000007_floors;
mod m20261128_000008_removed;
mod m20261128_000009_dismissed;
mod m20261128_000010_attempts;
mod m20261129_000011_leaders;
mod m20261129_000012_token_keys;
mod m20261129_000013_sessions;
mod m20261129_000014_alerts;

/// Every migration, oldest first.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_accounts::Migration),
            Box::new(m20261123_000002_usage::Migration),
            Box::new(m20261123_000003_cluster::Migration),
            Box::new(m20261123_000004_usage_by_time::Migration),
            Box::new(m20261123_000005_batches::Migration),
            Box::new(m20261128_000006_parts::Migration),
            Box::new(m20261128_000007_floors::Migration),
            Box::new(m20261128_000008_removed::Migration),
            Box::new(m20261128_000009_dismissed::Migration),
            Box::new(m20261128_000010_attempts::Migration),
            Box::new(m20261129_000011_leaders::Migration),
            Box::new(m20261129_000012_token_keys::Migration),
            Box::new(m20261129_000013_sessions::Migration),
            Box::new(m20261129_000014_alerts::Migration),
        ]
    }
}

/// Runs what is missing, inside `tx`: all of it or nothing.
///
/// # Errors
/// What the database says, or that it was migrated by a newer version.
pub async fn up(tx: &DatabaseTransaction) -> Result<(), DbErr> {
    Migrator::up(tx, None).await
}
