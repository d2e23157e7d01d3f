//! The schema, one file per migration, for SQLite and PostgreSQL alike.
//!
//! Conventions: ids are UUIDs (16-byte blobs on SQLite), times are microseconds since the epoch in UTC, money is
//! nano-USD, and both are 64-bit integers. An index exists only where a query of `sproxy::store` needs it; the
//! comment beside it names the query.
//!
//! A migration only goes forward: who goes back to an older sproxy restores the backup of before. What was applied is kept
//! in a table of the name and form that `sea-orm-migration` has; that crate itself would bring all of sea-orm's features.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, Statement};

mod schema;

use schema::Schema;

/// Declares migrations, oldest first: a module each, whose name is what the database remembers and whose `up` applies it.
macro_rules! migrations {
    ($($module:ident,)+) => {
        $(mod $module;)+

        const MIGRATIONS: &[Migration] = &[
            $(Migration { name: stringify!($module), up: |schema| Box::pin($module::up(schema)) },)+
        ];
    };
}

migrations! {
    m20261123_000001_accounts,
    m20261123_000002_usage,
    m20261123_000003_cluster,
    m20261123_000004_usage_by_time,
    m20261123_000005_batches,
    m20261128_000006_parts,
    m20261128_000007_floors,
    m20261128_000008_removed,
    m20261128_000009_dismissed,
    m20261128_000010_attempts,
    m20261129_000011_leaders,
    m20261129_000012_token_keys,
    m20261129_000013_sessions,
    m20261129_000014_alerts,
    m20261130_000015_roles,
    m20261130_000016_browser_sessions,
    m20261130_000017_device_logins,
    m20261201_000018_identities,
    m20261201_000019_provisioning,
    m20261202_000020_conversions,
}

type Applying<'a> = Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send + 'a>>;

struct Migration {
    name: &'static str,
    up: for<'a> fn(&'a Schema<'a>) -> Applying<'a>,
}

/// Why the schema cannot be brought up to date.
#[derive(Debug)]
pub enum Error {
    /// What the database says.
    Database(DbErr),
    /// A migration was applied that is not known here: the database was written by a newer version.
    Newer(String),
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

/// Runs what is missing, inside `tx`: all of it or nothing. `now` is in seconds since the epoch.
///
/// # Errors
/// What the database says, or that it was migrated by a newer version.
pub async fn up(tx: &DatabaseTransaction, now: i64) -> Result<(), Error> {
    let applied = applied(tx).await?;
    if let Some(unknown) = applied.iter().find(|name| MIGRATIONS.iter().all(|known| known.name != **name)) {
        return Err(Error::Newer(unknown.clone()));
    }
    let schema = Schema::of(tx);
    for migration in MIGRATIONS.iter().filter(|migration| !applied.contains(migration.name)) {
        (migration.up)(&schema).await?;
        let note = "INSERT INTO seaql_migrations (version, applied_at) VALUES ($1, $2)";
        let values = [migration.name.into(), now.into()];
        tx.execute_raw(Statement::from_sql_and_values(tx.get_database_backend(), note, values)).await?;
    }
    Ok(())
}

async fn applied(tx: &DatabaseTransaction) -> Result<HashSet<String>, DbErr> {
    let table = "CREATE TABLE IF NOT EXISTS seaql_migrations (version varchar NOT NULL PRIMARY KEY, \
                 applied_at bigint NOT NULL)";
    tx.execute_unprepared(table).await?;
    let names = Statement::from_string(tx.get_database_backend(), "SELECT version FROM seaql_migrations");
    tx.query_all_raw(names).await?.iter().map(|row| row.try_get_by_index(0)).collect()
}
