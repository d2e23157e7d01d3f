//! How an answer ends that is not whole.

use crate::domain::failure::{Failure, Kind};
use crate::ledger::NotCommitted;

/// An answer that cannot be carried to its end. Once a part of it is out, hyper closes the connection on it, which is
/// how the caller learns that the answer is not whole.
#[derive(Debug, thiserror::Error)]
pub enum Aborted {
    /// The upstream's answer broke off.
    #[error("{0}")]
    BrokeOff(String),
    /// The answer must not be released before its record is in the database.
    #[error(transparent)]
    NotCommitted(#[from] NotCommitted),
}

impl From<Aborted> for Failure {
    fn from(aborted: Aborted) -> Self {
        match aborted {
            Aborted::BrokeOff(reason) => Self::new(Kind::Upstream, reason),
            Aborted::NotCommitted(error) => error.into(),
        }
    }
}
