//! Databases for tests: the same test runs on SQLite and on PostgreSQL.

use std::path::PathBuf;
use std::sync::Arc;

use sproxy::store::{Error, Location, Store, Synchronous};
use tempfile::TempDir;

use crate::harness::postgres::Postgres;

/// A fresh database, and the store on it. What it stands on goes when it is dropped.
pub struct TestDatabase {
    pub store: Store,
    location: Location,
    _ground: Executor,
}

enum Executor {
    File(#[allow(dead_code, reason = "held, so that the directory stays")] TempDir),
    Server(#[allow(dead_code, reason = "held, so that the server stays")] Arc<Postgres>),
}

impl TestDatabase {
    pub async fn sqlite() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let location = sqlite_at(dir.path().join("sproxy.db"));
        Self::open(location, Executor::File(dir)).await
    }

    /// None, with a note, on a machine without PostgreSQL.
    pub async fn postgres() -> Option<Self> {
        let server = tokio::task::spawn_blocking(Postgres::shared).await.expect("a server")?;
        let location = Location::Postgres { url: server.new_database() };
        Some(Self::open(location, Executor::Server(server)).await)
    }

    /// A PostgreSQL database whose transactions are serializable, as those of `CockroachDB` are: it rolls back what may not
    /// have come one after the other (SQLSTATE 40001). None, with a note, on a machine without PostgreSQL.
    pub async fn serializable() -> Option<Self> {
        let server = tokio::task::spawn_blocking(Postgres::shared).await.expect("a server")?;
        let url = server.new_serializable_database();
        Some(Self::open(Location::Postgres { url }, Executor::Server(server)).await)
    }

    async fn open(location: Location, ground: Executor) -> Self {
        let store = Store::open(&location).await.expect("a fresh database opens");
        Self { store, location, _ground: ground }
    }

    /// Another store on the same database, as another process would have it.
    pub async fn second_store(&self) -> Store {
        Store::open(&self.location).await.expect("a migrated database opens")
    }

    /// The same, if it can be opened.
    pub async fn try_second_store(&self) -> Result<Store, Error> {
        Store::open(&self.location).await
    }

    /// Notes a migration that this version does not know.
    pub async fn pretend_newer(&self) {
        let sql = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m30000101_000001_future', 1)";
        let database = sea_orm::Database::connect(self.url()).await.expect("a connection");
        sea_orm::ConnectionTrait::execute_unprepared(&database, sql).await.expect("noted");
    }

    /// How others connect to it.
    pub fn url(&self) -> String {
        match &self.location {
            Location::Sqlite { path, .. } => format!("sqlite://{}", path.display()),
            Location::Postgres { url } => url.clone(),
        }
    }

    /// SQLite's file.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.location {
            Location::Sqlite { path, .. } => Some(path.clone()),
            Location::Postgres { .. } => None,
        }
    }
}

pub fn sqlite_at(path: PathBuf) -> Location {
    Location::Sqlite { path, synchronous: Synchronous::Normal }
}

/// Declares tests that run on both databases, as `NAME::sqlite` and `NAME::postgres`.
macro_rules! on_both {
    ($($(#[doc = $doc:literal])* async fn $name:ident($db:ident: TestDatabase) $body:block)+) => {
        $(mod $name {
            use super::*;

            $(#[doc = $doc])*
            async fn test($db: TestDatabase) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                test(TestDatabase::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(database) = TestDatabase::postgres().await {
                    test(database).await;
                }
            }
        })+
    };
}
pub(crate) use on_both;

/// Declares tests that run on both databases, and on one that rolls back what meets: `NAME::serializable`, too.
macro_rules! on_all {
    ($($(#[doc = $doc:literal])* async fn $name:ident($db:ident: TestDatabase) $body:block)+) => {
        $(mod $name {
            use super::*;

            $(#[doc = $doc])*
            async fn test($db: TestDatabase) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                test(TestDatabase::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(database) = TestDatabase::postgres().await {
                    test(database).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn serializable() {
                if let Some(database) = TestDatabase::serializable().await {
                    test(database).await;
                }
            }
        })+
    };
}
pub(crate) use on_all;
