//! Opens a database and brings its schema up to date.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, SqlxPostgresConnector,
    SqlxSqliteConnector,
};

use crate::domain::clock::{Clock as _, SystemClock};
use crate::store::database_files::DatabaseFiles;
use crate::store::usage::Connections;
use crate::store::write_lock::{BUSY_TIMEOUT, WriteLock};
use crate::store::{Embedded, Error, Store, retried, transaction};

/// Marks a SQLite file as ours (`PRAGMA application_id`): "sprx".
const APPLICATION_ID: i32 = 0x7370_7278;
/// The table whose one row is locked by the process that migrates: an advisory lock of a transaction would do on PostgreSQL,
/// but neither `CockroachDB` nor an older `YugabyteDB` has one.
pub(super) const MIGRATION_LOCK: &str = "migration_lock";
const READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 10;

#[derive(Clone)]
pub enum Location {
    /// A file, created with mode 0600 where it is missing.
    Sqlite { path: PathBuf, synchronous: Synchronous },
    Postgres {
        /// `postgres://user:password@host/database`; secret.
        url: String,
    },
}

/// Durability of a commit into SQLite: what it survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// The death of the process.
    #[default]
    Normal,
    /// Also the death of the machine.
    Full,
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path, synchronous } => {
                f.debug_struct("Sqlite").field("path", path).field("synchronous", synchronous).finish()
            }
            Self::Postgres { .. } => f.write_str("Postgres { url: *** }"),
        }
    }
}

impl Store {
    /// Opens the database at `location`, creates or migrates its schema, and returns when it can be used. Several
    /// processes may do so at once: one migrates, the others wait.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be reached, [`Error::Damaged`] when the file is no database,
    /// [`Error::Foreign`] when it belongs to another program or a newer sproxy.
    pub async fn open(location: &Location) -> Result<Self, Error> {
        let store = match location {
            Location::Sqlite { path, synchronous } => sqlite(path, *synchronous).await?,
            Location::Postgres { url } => postgres(url).await?,
        };
        retried(|| migrate(&store.writer)).await?;
        Ok(store)
    }
}

async fn sqlite(path: &Path, synchronous: Synchronous) -> Result<Store, Error> {
    let at = |error| match error {
        Error::Unavailable(said) => Error::Unavailable(format!("{}: {said}", path.display())),
        Error::Damaged(said) => Error::Damaged(format!("{}: {said}", path.display())),
        other => other,
    };
    create_private(path).map_err(|e| Error::Unavailable(format!("{}: {e}", path.display())))?;
    // Looked at before anything is changed: `journal_mode` would already write into someone else's file.
    refuse_foreign_file(path).await.map_err(at)?;
    let options = settings(synchronous)
        .into_iter()
        .fold(plain(path), |options, (name, value)| options.pragma(name, value));
    let pool = |connections| {
        // Connections live as long as the store: a new one would have to parse the schema and fill its caches again.
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .before_acquire(|connection, _| Box::pin(async move { is_free(connection).await }))
    };
    let writer = pool(1).connect_with(options.clone()).await.map_err(|error| at(error.into()))?;
    let usage = Connections::open(path, &settings(synchronous)).map_err(at)?;
    let reader = pool(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
    Ok(Store {
        writer: SqlxSqliteConnector::from_sqlx_sqlite_pool(writer),
        reader: SqlxSqliteConnector::from_sqlx_sqlite_pool(reader),
        embedded: Some(Embedded {
            file: path.to_owned(),
            place: DatabaseFiles::of(path),
            write_lock: WriteLock::new(),
            usage,
        }),
    })
}

/// The pragmas of every connection to SQLite.
fn settings(synchronous: Synchronous) -> [(&'static str, &'static str); 6] {
    let synchronous = match synchronous {
        Synchronous::Normal => "NORMAL",
        Synchronous::Full => "FULL",
    };
    [
        ("journal_mode", "WAL"),
        ("synchronous", synchronous),
        ("foreign_keys", "ON"),
        ("journal_size_limit", "67108864"), // what the write-ahead log may keep on disk after a checkpoint, bytes
        ("temp_store", "MEMORY"),
        // Pages (16 MB) before that log is moved into the file: what was written ten times meanwhile is moved once.
        ("wal_autocheckpoint", "4000"),
    ]
}

/// False for a connection whose driver still counts a transaction as open; the pool then opens another. A failed write
/// (a full disk) makes SQLite itself roll back, the driver's own rollback then fails, and it would go on counting a
/// transaction that is no more: every later one would be refused, for ever.
async fn is_free(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        connection.ping().await?; // a transaction that was dropped a moment ago is rolled back by now
    }
    Ok(!connection.is_in_transaction())
}

/// Creates the file readable by its owner alone: it holds password hashes. SQLite gives its side files the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// How to open the file without changing anything about it.
pub(super) fn plain(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT).disable_statement_logging()
}

async fn refuse_foreign_file(path: &Path) -> Result<(), Error> {
    let mut connection = plain(path).connect().await?;
    let query = "SELECT application_id, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id";
    let row = sqlx::query(query).fetch_one(&mut connection).await?;
    let (owner, objects) = (row.try_get::<i32, _>(0)?, row.try_get::<i64, _>(1)?);
    connection.close().await?;
    if objects > 0 && owner != APPLICATION_ID {
        return Err(Error::Foreign(format!(
            "{} is a SQLite database of another program; choose another store.url or move it away",
            path.display()
        )));
    }
    Ok(())
}

async fn postgres(url: &str) -> Result<Store, Error> {
    // The driver's own message could repeat the address, password included.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| Error::Refused("store.url is not a postgres:// address".to_owned()))?
        .application_name("sproxy")
        .options([("idle_in_transaction_session_timeout", "60s")])
        .disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .min_connections(1)
        .acquire_timeout(BUSY_TIMEOUT)
        .connect_with(options)
        .await?;
    let connection = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
    Ok(Store { writer: connection.clone(), reader: connection, embedded: None })
}

/// Runs what is missing of the migrations in one transaction, under a lock that other processes wait for: SQLite's
/// write lock, or that of a row.
async fn migrate(connection: &DatabaseConnection) -> Result<(), Error> {
    if connection.get_database_backend() != DbBackend::Sqlite {
        refuse_foreign_schema(connection).await?;
        make_lock(connection).await?;
    }
    let tx = transaction::begin(connection).await?;
    if connection.get_database_backend() == DbBackend::Sqlite {
        tx.execute_unprepared(&format!("PRAGMA application_id = {APPLICATION_ID}")).await?;
    } else {
        // Changed, not only locked: where a transaction sees what was there when it began, who has waited begins anew.
        tx.execute_unprepared(&format!("UPDATE {MIGRATION_LOCK} SET taken = taken + 1")).await?;
        refuse_other_encodings(&tx).await?;
        warn_of_late_commits(&tx).await?;
    }
    migrations::up(&tx, SystemClock.now().as_micros() / 1_000_000).await?;
    tx.commit().await?;
    Ok(())
}

/// Makes the row that [`migrate`] locks, if it is not there.
async fn make_lock(connection: &DatabaseConnection) -> Result<(), Error> {
    let there = format!("SELECT to_regclass('{MIGRATION_LOCK}') IS NOT NULL");
    let there = sea_orm::Statement::from_string(DbBackend::Postgres, there);
    let row = connection.query_one_raw(there).await?;
    if !row.map_or(Ok(false), |row| row.try_get_by_index(0))? {
        let table = format!(
            "CREATE TABLE IF NOT EXISTS {MIGRATION_LOCK} (id BIGINT PRIMARY KEY, taken BIGINT NOT NULL)"
        );
        connection.execute_unprepared(&table).await.map_err(|error| match Error::from(error) {
            // Another process makes it at this very moment, which IF NOT EXISTS does not see.
            Error::Conflict(said) => Error::RolledBack(said),
            other => other,
        })?;
    }
    let row = format!("INSERT INTO {MIGRATION_LOCK} (id, taken) VALUES (1, 0) ON CONFLICT (id) DO NOTHING");
    connection.execute_unprepared(&row).await?;
    Ok(())
}

/// A model's name may hold any character; a record that the database could never hold would be tried for ever.
async fn refuse_other_encodings(tx: &DatabaseTransaction) -> Result<(), Error> {
    let encoding = shown(tx, "SHOW server_encoding").await?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let message = format!("the PostgreSQL database is encoded in {encoding}; create it WITH ENCODING 'UTF8'");
    Err(Error::Unsupported(message))
}

/// What is acknowledged may then be lost with the server: followers push it again, but accounts are older than anybody
/// thinks.
async fn warn_of_late_commits(tx: &DatabaseTransaction) -> Result<(), Error> {
    if shown(tx, "SHOW synchronous_commit").await? == "off" {
        tracing::warn!(
            "PostgreSQL's synchronous_commit is off: what it has confirmed may be lost when its server dies; set it to on \
             for this database (ALTER DATABASE ... SET synchronous_commit = on)"
        );
    }
    Ok(())
}

async fn shown(tx: &DatabaseTransaction, setting: &str) -> Result<String, Error> {
    let row = tx.query_one_raw(sea_orm::Statement::from_string(DbBackend::Postgres, setting)).await?;
    Ok(row.map(|row| row.try_get_by_index::<String>(0)).transpose()?.unwrap_or_default())
}

/// A PostgreSQL database that has a table `users` but was never migrated by us is someone else's.
async fn refuse_foreign_schema(connection: &DatabaseConnection) -> Result<(), Error> {
    let query = "SELECT 1 FROM (SELECT to_regclass('users') AS theirs, to_regclass('seaql_migrations') AS ours) t \
                 WHERE theirs IS NOT NULL AND ours IS NULL";
    let statement = sea_orm::Statement::from_string(DbBackend::Postgres, query);
    if connection.query_one_raw(statement).await?.is_some() {
        let message =
            "store.url is a PostgreSQL database of another program; give sproxy a database of its own";
        return Err(Error::Foreign(message.to_owned()));
    }
    Ok(())
}
