//! A call: what is to be sent, which targets may take it, and what one of them answered.

use std::sync::Arc;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method};

use super::target::Target;
use crate::domain::provider::Provider;
use crate::transport::ResponseBody;

/// What an upstream answered.
pub struct UpstreamResponse {
    /// Status and headers, as they came.
    pub head: Parts,
    /// The body.
    pub body: ResponseBody,
    /// Who answered.
    pub target: Arc<Target>,
}

/// What one attempt sends: the caller's request without the caller's credentials, made for one target.
#[derive(Debug)]
pub struct UpstreamRequest {
    /// The caller's method.
    pub method: Method,
    /// Path and query below the target's base URL, beginning with a slash.
    pub path_and_query: String,
    /// End-to-end headers only; the target's own credential and `host` are added on the way.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Whether what becomes of it says anything about the target's health.
    pub counts_for_health: bool,
}

/// What a call says of the model that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelQuery {
    /// This one.
    Named(Arc<str>),
    /// Nothing. What it brings along is not to get to just anybody; where it brings nothing, anybody may be asked.
    Nameless {
        /// Whether it has a body.
        has_body: bool,
    },
    /// Something that the gateway cannot read: it may be any.
    Unread,
}

/// Which targets may take a call.
#[derive(Clone, Debug)]
pub struct TargetQuery {
    /// The dialect of the call.
    pub provider: Provider,
    /// What it says of the model.
    pub model: ModelQuery,
    /// It is about the provider's account: only targets that allow that take it.
    pub is_admin: bool,
    /// Calls with the same value go to the same target while it is healthy, for the sake of prompt caches.
    pub affinity: Option<u64>,
}
