//! The targets that may take a call, and whether another is tried after one has failed.

use std::sync::Arc;

use super::Upstream;
use super::call::{TargetQuery, UpstreamRequest, UpstreamResponse};
use super::error::SendError;
use super::target::Target;
use crate::domain::failure::Failure;

/// The targets of a call: the chosen one, then the others that may take it.
pub struct Plan {
    upstream: Arc<Upstream>,
    query: TargetQuery,
    first: Arc<Target>,
}

impl Plan {
    pub(super) fn new(upstream: Arc<Upstream>, query: TargetQuery, first: Arc<Target>) -> Self {
        Self { upstream, query, first }
    }

    /// The target that is tried first.
    #[must_use]
    pub fn first(&self) -> &Arc<Target> {
        &self.first
    }

    /// Sends to one target after the other until one answers. Another is tried only while it is certain that none has
    /// begun to work: once a request may have been read, its failure is reported to the caller.
    ///
    /// Every attempt has a request of its own: `request_for` makes it for the target that it goes to, with what has to
    /// be known to make of that target's answer the one that the caller asked for.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn send<R>(
        self,
        mut request_for: impl FnMut(&Target) -> Result<(UpstreamRequest, R), Failure>,
    ) -> Result<(UpstreamResponse, R), SendError> {
        let Self { upstream, query, first: mut target } = self;
        let mut tried: Vec<Arc<Target>> = Vec::new();
        loop {
            let (request, rewrite) = request_for(&target).map_err(SendError::NotPrepared)?;
            let failure = match target.send(request).await {
                Ok(answer) => return Ok((answer, rewrite)),
                Err(failure) if failure.is_retryable() => failure,
                Err(failure) => return Err(failure),
            };
            tracing::warn!(target = target.name(), error = %failure, "target failed, trying the next");
            tried.push(target);
            target = upstream.choose_except(&tried, &query).map_err(|_none_left| failure)?;
        }
    }
}
