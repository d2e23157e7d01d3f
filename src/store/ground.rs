//! What repositories stand on.

use sea_orm::DatabaseExecutor;

use crate::store::Store;

/// What repositories can stand on: a [`Store`] or a [`Tx`](crate::store::Tx).
pub trait Ground: Send + Sync + private::Sealed {
    #[doc(hidden)]
    fn reads(&self) -> DatabaseExecutor<'_>;
    #[doc(hidden)]
    fn writes(&self) -> DatabaseExecutor<'_>;
}

impl Ground for Store {
    fn reads(&self) -> DatabaseExecutor<'_> {
        (&self.reader).into()
    }

    fn writes(&self) -> DatabaseExecutor<'_> {
        (&self.writer).into()
    }
}

/// Only a store and a transaction can be stood on.
pub(super) mod private {
    pub trait Sealed {}
}

impl private::Sealed for Store {}
