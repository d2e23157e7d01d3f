//! What a follower can ask its leader, and how that can fail. Implemented over gRPC, and by the simulation.

use std::future::Future;
use std::time::Duration;

use crate::cluster::replication::snapshot::SnapshotWriter;
use crate::domain::failure::{Failure, Kind};
use crate::wire::malformed::Malformed;
use crate::wire::v1;

/// Why the leader gave no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaderError {
    /// The leader does not know this run of the node, or has another ledger: register, then go on.
    #[error("the leader does not know this node: {0}")]
    Unknown(String),
    /// The leader's database has fallen back to so many batches of the node, fewer than were acknowledged: register, and
    /// push again what came after them.
    #[error("the leader's database has fallen back to batch {0} of this node")]
    Behind(u64),
    /// Another living process has the node's id.
    #[error("{0}")]
    Taken(String),
    /// The leader refuses, and will again: a wrong secret, a request it cannot read.
    #[error("the leader refuses: {0}")]
    Refused(String),
    /// The leader cannot do it now, by its own word.
    #[error("the leader is away: {0}")]
    Unavailable(String),
    /// There is no connection to the leader, or it broke.
    #[error("the leader is away: {0}")]
    Unreachable(String),
    /// The leader did not answer in time.
    #[error("the leader is away: {0}")]
    Silent(String),
    /// The leader has another ledger than the one that has this node's usage, and that one is not lost.
    #[error("{0}")]
    OtherLedger(String),
    /// The leader was superseded by one that was promoted.
    #[error("{0}")]
    Superseded(String),
    /// None of several leaders gave a session.
    #[error("no leader takes this node: {0}")]
    Nobody(String),
    /// The leader answered what no leader answers.
    #[error("the leader's answer makes no sense: {0}")]
    Protocol(String),
}

impl LeaderError {
    /// What several leaders, by their names, have answered. What one has answered stays as it is, and so does that another
    /// process has the node's id.
    #[must_use]
    pub fn of_all(mut answers: Vec<(String, Self)>) -> Self {
        let taken = answers.iter().position(|(_, error)| matches!(error, Self::Taken(_)));
        match (answers.len(), taken) {
            (0, _) => Self::Unavailable("it has no address that can be used".to_owned()),
            (_, Some(at)) => answers.swap_remove(at).1,
            (1, None) => answers.swap_remove(0).1,
            (_, None) => {
                let answers: Vec<_> =
                    answers.iter().map(|(name, error)| format!("{name}: {error}")).collect();
                Self::Nobody(answers.join("; "))
            }
        }
    }
}

impl From<Malformed> for LeaderError {
    fn from(malformed: Malformed) -> Self {
        Self::Protocol(malformed.to_string())
    }
}

impl From<LeaderError> for Failure {
    fn from(error: LeaderError) -> Self {
        let kind = match error {
            LeaderError::Taken(_) => Kind::Conflict,
            LeaderError::Unknown(_)
            | LeaderError::Behind(_)
            | LeaderError::Refused(_)
            | LeaderError::Unavailable(_)
            | LeaderError::Unreachable(_)
            | LeaderError::Silent(_)
            | LeaderError::OtherLedger(_)
            | LeaderError::Superseded(_)
            | LeaderError::Nobody(_)
            | LeaderError::Protocol(_) => Kind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

/// The unary calls of the service `Cluster`. Each answers within a deadline or fails with [`LeaderError::Silent`], and may
/// have taken effect even then.
pub trait LeaderClient: Send + Sync {
    /// `Register`.
    fn register(
        &self,
        request: v1::RegisterRequest,
    ) -> impl Future<Output = Result<v1::RegisterResponse, LeaderError>> + Send;

    /// `Register`, answered within `patience`: another leader could be asked.
    fn register_within(
        &self,
        request: v1::RegisterRequest,
        patience: Duration,
    ) -> impl Future<Output = Result<v1::RegisterResponse, LeaderError>> + Send {
        let _ = patience;
        self.register(request)
    }

    /// `Heartbeat`.
    fn heartbeat(
        &self,
        request: v1::HeartbeatRequest,
    ) -> impl Future<Output = Result<v1::HeartbeatResponse, LeaderError>> + Send;

    /// `Leave`.
    fn leave(
        &self,
        request: v1::LeaveRequest,
    ) -> impl Future<Output = Result<v1::LeaveResponse, LeaderError>> + Send;

    /// `PushUsage`.
    fn push_usage(
        &self,
        request: v1::PushUsageRequest,
    ) -> impl Future<Output = Result<v1::PushUsageResponse, LeaderError>> + Send;

    /// `OfferState`. The larger the state, the later the deadline.
    fn offer_state(
        &self,
        pieces: SnapshotWriter,
    ) -> impl Future<Output = Result<v1::OfferStateResponse, LeaderError>> + Send;
}
