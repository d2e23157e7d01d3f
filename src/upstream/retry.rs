//! Whether a call that failed may go to another target.

use std::sync::Arc;

use super::Upstream;
use super::call::{TargetQuery, UpstreamRequest, UpstreamResponse};
use super::error::SendError;
use super::target::Target;

impl Upstream {
    /// Sends to the target that was chosen first, and if need be to one after the other until one answers. Another is
    /// tried only while it is certain that none has begun to work: once a request may have been read, its failure is
    /// the caller's to see.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn send(
        &self,
        first: Arc<Target>,
        query: &TargetQuery,
        request: &UpstreamRequest,
    ) -> Result<UpstreamResponse, SendError> {
        let mut target = first;
        let mut tried: Vec<Arc<Target>> = Vec::new();
        loop {
            let failure = match target.send(request).await {
                Err(failure) if failure.is_retryable() => failure,
                answered => return answered,
            };
            tracing::warn!(target = target.name(), error = %failure, "target failed, trying the next");
            tried.push(target);
            target = self.choose_except(&tried, query).map_err(|_none_left| failure)?;
        }
    }
}
