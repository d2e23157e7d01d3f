//! Failure → gRPC status: the only place where that is decided.

use tonic::{Code, Status};

use crate::domain::failure::{Failure, Kind};

/// The status of a failure. Followers rely on `NOT_FOUND` (register again) and `ALREADY_EXISTS` (another living
/// process has the id).
pub fn status(failure: impl Into<Failure>) -> Status {
    let failure = failure.into();
    Status::new(code(failure.kind), failure.message)
}

fn code(kind: Kind) -> Code {
    match kind {
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
