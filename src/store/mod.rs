//! The database: SQLite inside the process, or PostgreSQL. One table, one file, with its entity and every query on it.
//!
//! [`Store`] opens and migrates. Repositories stand on a store or on a transaction: `UserRepo::on(&store)` reads,
//! `UserRepo::on(&tx)` reads and writes. Accounts (users, groups, keys) can only be changed on a [`Tx`], so that a
//! change, its audit entry and the new state version are one commit:
//!
//! ```ignore
//! let tx = store.begin().await?;
//! UserRepo::on(&tx).create(&user).await?;
//! AuditRepo::on(&tx).append(&entry).await?;
//! tx.commit().await?;
//! ```
//!
//! No type of sea-orm leaves this module. Values are those of the domain: UUIDs, microseconds, nano-USD.

mod accounts_state;
mod alerts;
mod api_keys;
mod audit;
mod backup;
mod browser_sessions;
mod columns;
mod contents;
mod copy;
mod database_files;
mod deprovisioned_users;
mod device_logins;
mod durable;
mod ended_sessions;
mod error;
mod executor;
mod glob;
mod groups;
mod lock;
mod managers;
mod meta;
mod open;
mod page;
mod peers;
mod provider_sessions;
mod provisioned_groups;
mod provisioning;
mod refresh_tokens;
mod removed;
mod retry;
mod token_keys;
mod transaction;
pub mod usage;
mod users;
mod write_lock;

use std::path::PathBuf;

use sea_orm::{DatabaseConnection, DbBackend};

pub use accounts_state::{AccountsChange, AccountsState, SignInNews};
pub use alerts::{AlertEnd, AlertRepo, AlertRow};
pub use api_keys::ApiKeyRepo;
pub use audit::{AuditEntry, AuditFilter, AuditRepo};
pub use browser_sessions::{BrowserSession, BrowserSessionRepo};
pub use contents::Contents;
pub use copy::{CopyProgress, CopyStart, DatabaseCopy, TableSums, table_names};
pub use device_logins::{DeviceLogin, DeviceLoginRepo};
pub use ended_sessions::{EndedSession, EndedSessionRepo};
pub use error::Error;
pub use executor::Executor;
pub use groups::GroupRepo;
pub use lock::{DatabaseLock, FileLock, Sharing, Taken};
pub use meta::{MetaKey, MetaRepo};
pub use open::{Location, Synchronous};
pub use page::{Cursor, NotACursor, Page};
pub use peers::PeerRepo;
pub use provider_sessions::{ProviderSession, ProviderSessionRepo};
pub use provisioning::{GroupQuery, ProvisioningRepo, UserQuery, Window};
pub use refresh_tokens::{RefreshToken, RefreshTokenRepo};
pub use retry::{RolledBack, retried};
pub use token_keys::{Retire, TokenKey, TokenKeyRepo};
pub use transaction::Tx;
pub use usage::{StatsCursor, StatsPage, UsageRepo};
pub use users::{UserFilter, UserRepo};

use database_files::DatabaseFiles;
use usage::Connections;
use write_lock::{WriteLock, WritePermit};

/// An open, migrated database. Cheap to clone: clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    /// Everything but the insert of usage is written here. On SQLite one connection; on PostgreSQL the same pool as
    /// `reader`.
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    embedded: Option<Embedded>,
}

/// SQLite only.
#[derive(Clone, Debug)]
struct Embedded {
    file: PathBuf,
    place: DatabaseFiles,
    /// Two connections write, one at a time.
    write_lock: WriteLock,
    usage: Connections,
}

impl Store {
    /// True when the database is SQLite: on this machine, one writer, backed up by [`Store::backup`].
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Whether the database's files are where they were when they were opened. PostgreSQL sees to its own.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when one was removed or replaced: what is committed now is lost with the process.
    pub fn is_in_place(&self) -> Result<(), Error> {
        self.embedded.as_ref().map_or(Ok(()), |embedded| embedded.place.check())
    }

    /// Closes every connection, after what they are doing is done. On SQLite this also folds the write-ahead log
    /// into the database file.
    pub async fn close(&self) {
        if let Some(embedded) = &self.embedded {
            embedded.usage.close().await;
        }
        for connection in [&self.reader, &self.writer] {
            if let Err(error) = connection.close_by_ref().await {
                tracing::warn!(%error, "a database connection did not close cleanly");
            }
        }
    }

    async fn permit(&self) -> Result<WritePermit, Error> {
        match &self.embedded {
            Some(embedded) => embedded.write_lock.next().await,
            None => Ok(WritePermit::not_needed()),
        }
    }

    fn backend(&self) -> DbBackend {
        self.writer.get_database_backend()
    }
}
