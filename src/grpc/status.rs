//! Failure → gRPC status: the only place where that is decided.

use tonic::{Code, Status};

use crate::domain::failure::{Failure, Kind};
use crate::wire::BATCHES_HELD;

/// The status of a failure. Followers rely on `NOT_FOUND` (register again), `ALREADY_EXISTS` (another living process has
/// the id) and `FAILED_PRECONDITION` with [`BATCHES_HELD`] (the leader's database has fallen back).
pub fn status(failure: impl Into<Failure>) -> Status {
    let failure = failure.into();
    let mut status = Status::new(code(failure.kind, failure.batches_held), failure.message);
    if let Some(held) = failure.batches_held {
        status.metadata_mut().insert(BATCHES_HELD, held.into());
    }
    status
}

fn code(kind: Kind, batches_held: Option<u64>) -> Code {
    match kind {
        Kind::Conflict if batches_held.is_some() => Code::FailedPrecondition,
        Kind::Invalid => Code::InvalidArgument,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::NotFound => Code::NotFound,
        Kind::Conflict => Code::AlreadyExists,
        Kind::TooLarge => Code::OutOfRange,
        Kind::QuotaSpent | Kind::RateLimited => Code::ResourceExhausted,
        Kind::Unavailable | Kind::Upstream => Code::Unavailable,
        Kind::UpstreamTimeout => Code::DeadlineExceeded,
        Kind::Internal => Code::Internal,
    }
}
