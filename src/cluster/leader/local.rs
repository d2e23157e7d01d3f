//! A client of the leader in this very process: what it asks is answered without a wire between them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::cluster::follower::leader_client::{LeaderClient, LeaderError};
use crate::cluster::leader::{Leader, LeaderStore};
use crate::cluster::replication::snapshot::{SnapshotReader, SnapshotWriter};
use crate::domain::failure::{Failure, Kind};
use crate::wire::v1;

/// The longest that the database may take for a call.
const ANSWER_MAX: Duration = Duration::from_secs(10);

pub(super) struct LocalClient<B>(pub(super) Arc<Leader<B>>);

impl<B> Clone for LocalClient<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: LeaderStore> LeaderClient for LocalClient<B> {
    async fn register(&self, request: v1::RegisterRequest) -> Result<v1::RegisterResponse, LeaderError> {
        within(self.0.register(request)).await
    }

    async fn heartbeat(&self, request: v1::HeartbeatRequest) -> Result<v1::HeartbeatResponse, LeaderError> {
        within(self.0.heartbeat(&request)).await
    }

    async fn leave(&self, request: v1::LeaveRequest) -> Result<v1::LeaveResponse, LeaderError> {
        within(self.0.leave(&request)).await
    }

    async fn push_usage(&self, request: v1::PushUsageRequest) -> Result<v1::PushUsageResponse, LeaderError> {
        within(self.0.push_usage(request)).await
    }

    async fn offer_state(&self, pieces: SnapshotWriter) -> Result<v1::OfferStateResponse, LeaderError> {
        let mut reader = SnapshotReader::default();
        for piece in pieces {
            if let Some((origin, state)) = reader.read_piece(piece)? {
                return within(self.0.offer_state(origin, state)).await;
            }
        }
        Err(LeaderError::Protocol("the state ended before its last piece".to_owned()))
    }
}

async fn within<T>(call: impl Future<Output = Result<T, Failure>> + Send) -> Result<T, LeaderError> {
    match timeout(ANSWER_MAX, call).await {
        Ok(answer) => answer.map_err(error),
        Err(_) => Err(LeaderError::Unavailable("the database does not answer in time".to_owned())),
    }
}

/// What a failure means to a follower: as if its gRPC status had come over a wire.
fn error(failure: Failure) -> LeaderError {
    if let Some(held) = failure.batches_held {
        return LeaderError::Behind(held);
    }
    let said = failure.message;
    match failure.kind {
        Kind::NotFound => LeaderError::Unknown(said),
        Kind::Conflict => LeaderError::Taken(said),
        Kind::Invalid | Kind::Unauthenticated | Kind::Forbidden | Kind::TooLarge => {
            LeaderError::Refused(said)
        }
        Kind::QuotaSpent
        | Kind::RateLimited
        | Kind::Unavailable
        | Kind::Upstream
        | Kind::UpstreamTimeout
        | Kind::Internal => LeaderError::Unavailable(said),
    }
}
