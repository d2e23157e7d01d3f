//! What can go wrong on the way to an endpoint, and what is certain about it.

use std::time::Duration;

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be expressed in HTTP.
    #[error("the request cannot be sent: {0}")]
    Invalid(String),
    /// As many requests are in flight as may be.
    #[error("all its {0} connections are in use")]
    Full(usize),
    /// Every HTTP/2 connection is at the other side's stream limit, there are as many of them as may be, and none had
    /// room in time.
    #[error("no HTTP/2 stream was free within {}", humantime::format_duration(*.0))]
    NoStream(Duration),
    /// No connection could be made. The reason names no credentials.
    #[error("{0}")]
    Connect(String),
    /// The other side has certainly not begun to work on the request: it said so, or the connection was closed before
    /// anything of the request was written.
    #[error("the request was not processed: {0}")]
    NotProcessed(String),
    /// The connection broke before the answer's head arrived; it is not known whether the request was processed.
    #[error("{0}")]
    Broken(String),
    /// The answer's head did not arrive in time.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
}

impl Error {
    /// Whether it is certain that nobody has begun to work on the request, so that it may be sent again elsewhere.
    #[must_use]
    pub fn is_not_sent(&self) -> bool {
        match self {
            Self::Full(_) | Self::NoStream(_) | Self::Connect(_) | Self::NotProcessed(_) => true,
            // An invalid request would be as invalid elsewhere.
            Self::Invalid(_) | Self::Broken(_) | Self::Timeout(_) => false,
        }
    }
}

/// The message of hyper's error and of its sources.
pub(super) fn in_full(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
