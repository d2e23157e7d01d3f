//! What repositories stand on.

use std::future::Future;
use std::ops::Deref;

use sea_orm::DatabaseExecutor;

use crate::store::turn::Turn;
use crate::store::{Error, Store};

/// What repositories can stand on: a [`Store`] or a [`Tx`](crate::store::Tx).
pub trait Ground: Send + Sync + private::Sealed {
    #[doc(hidden)]
    fn reads(&self) -> DatabaseExecutor<'_>;
    #[doc(hidden)]
    fn writes(&self) -> impl Future<Output = Result<Writing<'_>, Error>> + Send;
}

/// What to write on, and the turn to do so: hold it until the statement is done.
#[derive(Debug)]
pub struct Writing<'g> {
    executor: DatabaseExecutor<'g>,
    _turn: Turn,
}

impl<'g> Writing<'g> {
    pub(super) fn new(executor: impl Into<DatabaseExecutor<'g>>, turn: Turn) -> Self {
        Self { executor: executor.into(), _turn: turn }
    }
}

impl<'g> Deref for Writing<'g> {
    type Target = DatabaseExecutor<'g>;

    fn deref(&self) -> &Self::Target {
        &self.executor
    }
}

impl Ground for Store {
    fn reads(&self) -> DatabaseExecutor<'_> {
        (&self.reader).into()
    }

    async fn writes(&self) -> Result<Writing<'_>, Error> {
        let turn = self.turn().await?;
        Ok(Writing::new(&self.writer, turn))
    }
}

/// Only a store and a transaction can be stood on.
pub(super) mod private {
    pub trait Sealed {}
}

impl private::Sealed for Store {}
