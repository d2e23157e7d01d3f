//! The permit to write into SQLite, which has one writer. Other writers queue here in the order of arrival; SQLite
//! itself would let them try again after ever longer sleeps, and the unlucky starve.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::store::Error;

/// How long a call waits for its permit to write, for a connection, or for another process that holds the SQLite write
/// lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The queue of writers. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct WriteLock(Arc<Semaphore>);

/// Permission to write, until it is dropped.
#[derive(Debug)]
pub struct WritePermit(
    #[allow(dead_code, reason = "held, and given back by its drop")] Option<OwnedSemaphorePermit>,
);

impl WriteLock {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Waits for the permit to write.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not come within [`BUSY_TIMEOUT`].
    pub(super) async fn next(&self) -> Result<WritePermit, Error> {
        match timeout(BUSY_TIMEOUT, self.0.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(WritePermit(Some(permit))),
            Ok(Err(closed)) => Err(Error::Unavailable(closed.to_string())),
            Err(_) => Err(Error::Unavailable(format!("the writer was busy for {BUSY_TIMEOUT:?}"))),
        }
    }
}

impl WritePermit {
    /// For writers that cannot block each other: on PostgreSQL, or inside a transaction that has its permit.
    pub(super) fn not_needed() -> Self {
        Self(None)
    }
}
