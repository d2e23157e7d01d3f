//! A call that was asked for otherwise than by HTTP, as whoever sends it sees it.

use std::pin::Pin;

use bytes::Bytes;

use crate::upstream::{Candidate, SendError, UpstreamRequest, UpstreamResponse};

/// A call that a message of a WebSocket has asked for.
pub(super) trait Asked: Send + Sync {
    /// False for a call that only makes ready for those that follow.
    fn generates(&self) -> bool;

    /// Calls of the same connection go to the same target: what a conversation has left with a provider is there.
    fn affinity(&self) -> u64;

    /// Sends it to a candidate by whatever way there is. `own_body` is the call's, of which `outgoing` may have another.
    fn send<'a>(
        &'a self,
        candidate: &'a Candidate,
        outgoing: UpstreamRequest,
        own_body: &'a Bytes,
    ) -> SendFuture<'a>;
}

pub(super) type SendFuture<'a> =
    Pin<Box<dyn Future<Output = Result<UpstreamResponse, SendError>> + Send + 'a>>;
