//! What can go wrong, as far as a caller is concerned. Modules have errors of their own and converge here;
//! the servers (`http`, `grpc`) translate a [`Kind`] once each.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

/// The class of a failure: what a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request itself is wrong; repeating it is useless.
    Invalid,
    /// No credential, or one that is not valid.
    Unauthenticated,
    /// Authenticated, but not allowed.
    Forbidden,
    /// The thing that was named does not exist.
    NotFound,
    /// It exists already, or its state does not permit this.
    Conflict,
    /// The request is larger than a limit.
    TooLarge,
    /// A quota is spent: final until its window resets.
    QuotaSpent,
    /// Too fast: may be retried after a while.
    RateLimited,
    /// This node cannot do it now (no target, ledger full, leader away, shutting down).
    Unavailable,
    /// The upstream failed or sent nonsense.
    Upstream,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// A defect or broken environment of ours; details are in the log, not in the answer.
    Internal,
}

impl Kind {
    pub const ALL: [Self; 12] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::QuotaSpent,
        Self::RateLimited,
        Self::Unavailable,
        Self::Upstream,
        Self::UpstreamTimeout,
        Self::Internal,
    ];

    /// The HTTP status, the same on both planes and in every dialect.
    #[must_use]
    pub fn http_status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::QuotaSpent | Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The name used in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::QuotaSpent => "quota_spent",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Upstream => "upstream",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Internal => "internal",
        }
    }
}

/// A failure on its way to a caller: a kind, a message that says what to do, and when to come back.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The class, which decides the status code.
    pub kind: Kind,
    /// For the caller's eyes: never a secret, a prompt or an internal detail.
    pub message: String,
    /// How long to wait before a retry can succeed, where that is known.
    pub retry_after: Option<Duration>,
    /// Whether a retry would do harm, whatever the kind.
    pub is_final: bool,
    /// How many batches of a node's usage the database holds, to a node that was acknowledged more.
    pub batches_held: Option<u64>,
}

impl Failure {
    /// A failure of `kind` with a message for the caller.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, is_final: false, batches_held: None }
    }

    /// The same failure, not to be answered with a retry.
    #[must_use]
    pub fn final_one(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// This node cannot do it yet, because it waits for something.
    pub fn not_yet(reason: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, reason).retry_after(Duration::from_secs(2))
    }

    /// A database has fallen back: it holds `held` batches of a node, and the node was acknowledged more.
    #[must_use]
    pub fn behind(held: u64) -> Self {
        let message = format!(
            "the leader's database holds {held} batches of this node and is older than what was acknowledged: \
             push again what came after them"
        );
        Self { batches_held: Some(held), ..Self::new(Kind::Conflict, message) }
    }

    /// The same failure, with the time after which a retry can succeed.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
