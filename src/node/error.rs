//! What keeps a node from starting, or from running on.

use super::supervisor::EndedEarly;
use crate::accounts;
use crate::domain::failure::{Failure, Kind};
use crate::grpc;
use crate::store;

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Store(#[from] store::Error),
    /// Accounts could not be read or made.
    #[error("{0}")]
    Accounts(#[from] accounts::Error),
    /// A certificate, a target, an address: something configured that cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// The cluster: the database below it, or a leader that will not have this node.
    #[error("{0}")]
    Cluster(#[from] Failure),
    #[error("{0}")]
    Grpc(#[from] grpc::Error),
    #[error(transparent)]
    EndedEarly(EndedEarly),
}

impl Error {
    /// Whether the database, or the leader, was not there, and may be soon.
    pub(super) fn is_away(&self) -> bool {
        match self {
            Self::Store(error) | Self::Accounts(accounts::Error::Store(error)) => {
                matches!(error, store::Error::Unavailable(_) | store::Error::RolledBack(_))
            }
            Self::Cluster(failure) => failure.kind == Kind::Unavailable,
            _ => false,
        }
    }
}
