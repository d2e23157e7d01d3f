//! What can go wrong on the way to an upstream.

use std::time::Duration;

use crate::domain::failure::{Failure, Kind};
use crate::domain::provider::Provider;
use crate::domain::quoted::Quoted;
use crate::transport;

/// A target that cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("target `{name}`: {reason}")]
pub struct BadTarget {
    pub name: String,
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No target of the dialect serves the model.
    #[error("no {provider} target serves {}", asked(.model.as_deref()))]
    NoTarget { provider: Provider, model: Option<String> },
    /// The model could not be read, and targets of the dialect serve different ones.
    #[error(
        "the model of this call cannot be read, and not every {provider} target serves every model: send the body as \
         JSON in UTF-8, if compressed as gzip, deflate, br or zstd"
    )]
    Unread { provider: Provider },
    /// The call names no model, and there is more than one target that could be meant.
    #[error(
        "this call names no model, and of several {provider} targets none serves every model: the operator can give \
         one of them models = [\"*\"]"
    )]
    Nameless { provider: Provider },
    /// Every target that serves the model is drained or known to be down.
    #[error("no healthy {provider} target serves {}", asked(.model.as_deref()))]
    NoneHealthy { provider: Provider, model: Option<String> },
    /// No request could be made for the target.
    #[error("{0}")]
    NotPrepared(Failure),
    /// The target has as many calls in flight as it may: `max_connections`, or as many as its HTTP/2 connections carry.
    #[error("target {target} is busy: {reason}")]
    Busy { target: String, reason: String },
    /// The credentials that requests are sent with could not be had.
    #[error("target {target} has no credentials: {reason}")]
    NoCredentials { target: String, reason: String },
    /// No connection could be made.
    #[error("cannot connect to target {target}: {reason}")]
    Connect {
        target: String,
        /// Without credentials.
        reason: String,
    },
    /// The connection broke before the answer's head arrived.
    #[error("target {target} closed the connection without an answer: {reason}")]
    Broken {
        target: String,
        reason: String,
        /// Whether it is certain that the request was not processed.
        not_sent: bool,
    },
    /// The answer's head did not arrive in time.
    #[error("target {target} did not answer within {}", humantime::format_duration(*.limit))]
    Timeout {
        target: String,
        /// `answer_timeout` of the target.
        limit: Duration,
    },
}

fn asked(model: Option<&str>) -> String {
    model.map_or_else(|| "this path".to_owned(), |model| format!("model `{}`", Quoted(model)))
}

impl SendError {
    pub(super) fn of(target: &str, error: &transport::Error) -> Self {
        use transport::Error;
        let (target, not_sent, reason) = (target.to_owned(), error.is_not_sent(), error.to_string());
        match error {
            Error::Full(_) | Error::NoStream(_) => Self::Busy { target, reason },
            Error::Invalid(_) | Error::Connect(_) => Self::Connect { target, reason },
            Error::NotProcessed(_) | Error::Broken(_) => Self::Broken { target, reason, not_sent },
            Error::Timeout(limit) => Self::Timeout { target, limit: *limit },
        }
    }

    /// The target that was tried, by name.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Unread { .. }
            | Self::Nameless { .. }
            | Self::NoTarget { .. }
            | Self::NoneHealthy { .. }
            | Self::NotPrepared(_) => None,
            Self::Busy { target, .. }
            | Self::Connect { target, .. }
            | Self::Broken { target, .. }
            | Self::NoCredentials { target, .. }
            | Self::Timeout { target, .. } => Some(target),
        }
    }

    /// Whether it is certain that no upstream has begun to work on the call, so that another may be tried.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::NoCredentials { .. } | Self::Connect { .. } => true,
            Self::Broken { not_sent, .. } => *not_sent,
            Self::Unread { .. }
            | Self::Nameless { .. }
            | Self::NoTarget { .. }
            | Self::NoneHealthy { .. }
            | Self::NotPrepared(_)
            | Self::Timeout { .. } => false,
        }
    }
}

impl From<&SendError> for Failure {
    fn from(error: &SendError) -> Self {
        let kind = match error {
            SendError::NotPrepared(failure) => return failure.clone(),
            SendError::NoTarget { .. } | SendError::Nameless { .. } => Kind::NotFound,
            SendError::Unread { .. } => Kind::Invalid,
            SendError::NoneHealthy { .. } | SendError::Busy { .. } | SendError::NoCredentials { .. } => {
                Kind::Unavailable
            }
            SendError::Connect { .. } | SendError::Broken { .. } => Kind::Upstream,
            SendError::Timeout { .. } => Kind::UpstreamTimeout,
        };
        // Addresses and system errors are for the log; a caller learns which target, and what kind of trouble.
        let message = match error {
            SendError::Connect { target, .. } => format!("cannot connect to target {target}"),
            SendError::NoCredentials { target, .. } => {
                format!(
                    "target {target} has no credentials now; the operator can see why in the list of targets"
                )
            }
            SendError::Broken { target, .. } => {
                format!("target {target} closed the connection without an answer")
            }
            other => other.to_string(),
        };
        let failure = Self::new(kind, message);
        if kind == Kind::Unavailable { failure.retry_after(Duration::from_secs(1)) } else { failure }
    }
}
