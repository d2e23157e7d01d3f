//! What repositories stand on.

use std::future::Future;
use std::ops::Deref;

use sea_orm::DatabaseExecutor;

use crate::store::write_lock::WritePermit;
use crate::store::{Error, Store};

/// What a repository runs its statements on: a [`Store`] or a [`Tx`](crate::store::Tx).
pub trait Executor: Send + Sync + private::Sealed {
    #[doc(hidden)]
    const IS_TRANSACTION: bool;
    #[doc(hidden)]
    fn reads(&self) -> DatabaseExecutor<'_>;
    #[doc(hidden)]
    fn writes(&self) -> impl Future<Output = Result<WriteGuard<'_>, Error>> + Send;
}

/// What to write on, and the permit to do so: hold it until the statement is done.
#[derive(Debug)]
pub struct WriteGuard<'g> {
    executor: DatabaseExecutor<'g>,
    _permit: WritePermit,
}

impl<'g> WriteGuard<'g> {
    pub(super) fn new(executor: impl Into<DatabaseExecutor<'g>>, permit: WritePermit) -> Self {
        Self { executor: executor.into(), _permit: permit }
    }
}

impl<'g> Deref for WriteGuard<'g> {
    type Target = DatabaseExecutor<'g>;

    fn deref(&self) -> &Self::Target {
        &self.executor
    }
}

impl Executor for Store {
    const IS_TRANSACTION: bool = false;

    fn reads(&self) -> DatabaseExecutor<'_> {
        (&self.reader).into()
    }

    async fn writes(&self) -> Result<WriteGuard<'_>, Error> {
        let permit = self.permit().await?;
        Ok(WriteGuard::new(&self.writer, permit))
    }
}

/// Keeps others from implementing [`Executor`].
pub(super) mod private {
    pub trait Sealed {}
}

impl private::Sealed for Store {}
