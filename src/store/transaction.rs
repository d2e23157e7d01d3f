//! One transaction over several repositories.

use std::sync::atomic::{AtomicBool, Ordering};

use sea_orm::{
    DatabaseConnection, DatabaseExecutor, DatabaseTransaction, SqliteTransactionMode, TransactionOptions,
    TransactionTrait as _,
};

use crate::store::executor::{WriteGuard, private};
use crate::store::write_lock::WritePermit;
use crate::store::{Error, Executor, MetaKey, MetaRepo, Store, retried};

/// A transaction that can change accounts. Dropping it rolls it back.
///
/// On SQLite it holds the only writer: do what takes long (hashing a password) before it begins.
#[derive(Debug)]
pub struct Tx {
    inner: DatabaseTransaction,
    _permit: WritePermit,
    /// Whether users, groups, keys or limits have changed, which followers replicate.
    changes_accounts: AtomicBool,
    /// Whether anything else that they replicate has.
    changes_sign_in: AtomicBool,
}

impl Store {
    /// Begins a transaction.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the writer stays busy for five seconds or the server is away.
    pub async fn begin(&self) -> Result<Tx, Error> {
        let permit = self.permit().await?;
        Ok(Tx::new(begin(&self.writer).await?, permit))
    }

    /// Begins a transaction with [`Tx::lock_state`]; the state version comes with it. Whoever has changed the state in the
    /// meantime is no failure here, but the reason to begin once more.
    ///
    /// # Errors
    /// As [`Store::begin`] and [`Tx::lock_state`].
    pub async fn begin_locked(&self) -> Result<(Tx, u64), Error> {
        retried(|| async {
            let tx = self.begin().await?;
            let version = tx.lock_state().await?;
            Ok((tx, version))
        })
        .await
    }
}

impl Tx {
    /// Waits for all others that have done this, in this process and in others, and makes them wait until this transaction
    /// ends: what it reads from here on is how they left it. To be done first. The answer is the state version.
    ///
    /// # Errors
    /// [`Error`] of the database, or [`Error::Value`] if what is stored is no number.
    pub async fn lock_state(&self) -> Result<u64, Error> {
        MetaRepo::on(self).lock(MetaKey::StateVersion).await
    }

    /// Commits. If anything was changed that followers replicate, the state version goes up by one in the same commit.
    /// Returns the state version after the commit.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Failed`]; then nothing was changed. (When a PostgreSQL server dies during
    /// the commit, nobody can tell; the change may have happened.)
    pub async fn commit(self) -> Result<u64, Error> {
        let meta = MetaRepo::on(&self);
        let version = if self.changes_accounts.load(Ordering::Relaxed) {
            let version = meta.increase(MetaKey::StateVersion).await?;
            meta.set(MetaKey::AccountsVersion, &version.to_string()).await?;
            version
        } else if self.changes_sign_in.load(Ordering::Relaxed) {
            let version = meta.increase(MetaKey::StateVersion).await?;
            meta.get_or_set(MetaKey::AccountsVersion, &(version - 1).to_string()).await?;
            version
        } else {
            meta.state_version().await?
        };
        self.inner.commit().await?;
        Ok(version)
    }

    /// Rolls back. Dropping the transaction does the same a little later.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the database then rolls back by itself.
    pub async fn rollback(self) -> Result<(), Error> {
        Ok(self.inner.rollback().await?)
    }

    /// A transaction that only reads, for a view of several tables as of one moment.
    pub(super) fn reading(inner: DatabaseTransaction) -> Self {
        Self::new(inner, WritePermit::not_needed())
    }

    fn new(inner: DatabaseTransaction, permit: WritePermit) -> Self {
        let [changes_accounts, changes_sign_in] = Default::default();
        Self { inner, _permit: permit, changes_accounts, changes_sign_in }
    }

    pub(super) fn inner(&self) -> &DatabaseTransaction {
        &self.inner
    }

    pub(super) fn touches_accounts(&self) {
        self.changes_accounts.store(true, Ordering::Relaxed);
    }

    pub(super) fn touches_sign_in(&self) {
        self.changes_sign_in.store(true, Ordering::Relaxed);
    }

    /// Commits with the state version set by the caller instead of increased.
    pub(super) async fn commit_at(self, version: u64) -> Result<(), Error> {
        for key in [MetaKey::StateVersion, MetaKey::AccountsVersion] {
            MetaRepo::on(&self).set(key, &version.to_string()).await?;
        }
        Ok(self.inner.commit().await?)
    }
}

impl private::Sealed for Tx {}

impl Executor for Tx {
    const IS_TRANSACTION: bool = true;

    fn reads(&self) -> DatabaseExecutor<'_> {
        self.inner().into()
    }

    async fn writes(&self) -> Result<WriteGuard<'_>, Error> {
        // Its permit came with it.
        Ok(WriteGuard::new(self.inner(), WritePermit::not_needed()))
    }
}

/// Begins with the intention to write: SQLite then waits for its write lock here, not in the middle, where it would
/// have to fail.
pub(super) async fn begin(connection: &DatabaseConnection) -> Result<DatabaseTransaction, Error> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    Ok(connection.begin_with_options(options).await?)
}
