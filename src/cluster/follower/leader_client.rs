//! What a follower can ask its leader, and how that can fail. Implemented over gRPC, and by the simulation.

use std::future::Future;

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
    /// The leader could not be reached, did not answer in time, or cannot do it now.
    #[error("the leader is away: {0}")]
    Unavailable(String),
    /// The leader answered what no leader answers.
    #[error("the leader's answer makes no sense: {0}")]
    Protocol(String),
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
            | LeaderError::Protocol(_) => Kind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

/// The unary calls of the service `Cluster`. Each answers within a deadline or fails with [`LeaderError::Unavailable`], and may
/// have taken effect even then.
pub trait LeaderClient: Send + Sync {
    /// `Register`.
    fn register(
        &self,
        request: v1::RegisterRequest,
    ) -> impl Future<Output = Result<v1::RegisterResponse, LeaderError>> + Send;

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
