//! A call: what is to be sent, which targets may take it, and what one of them answered.

use std::sync::Arc;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method};

use super::key::InFlight;
use super::target::Target;
use crate::dialect::convert::Api;
use crate::domain::provider::Provider;
use crate::transport::ResponseBody;

pub struct UpstreamResponse {
    /// Status and headers, as they came.
    pub head: Parts,
    pub body: ResponseBody,
    pub target: Arc<Target>,
    /// Its key is in use until this is dropped.
    pub in_flight: InFlight,
}

/// What one attempt sends: the caller's request without the caller's credentials, made for one target.
#[derive(Debug)]
pub struct UpstreamRequest {
    pub method: Method,
    /// Path and query below the target's base URL, beginning with a slash.
    pub path_and_query: String,
    /// End-to-end headers only; the target's own credential and `host` are added on the way.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The dialect that it is in.
    pub dialect: Provider,
}

/// The model that a call is for, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelQuery {
    Named(Arc<str>),
    /// No model. A body must not be sent to just any target; without a body, any target may be asked.
    Nameless {
        has_body: bool,
    },
    /// One that the gateway cannot read: it may be any.
    Unread,
}

impl ModelQuery {
    /// The model, if it is known.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Named(model) => Some(model),
            Self::Nameless { .. } | Self::Unread => None,
        }
    }
}

/// Which targets may take a call.
#[derive(Clone, Debug)]
pub struct TargetQuery {
    pub provider: Provider,
    /// The API it is in, where it is one that can be converted into others.
    pub api: Option<Api>,
    /// The model, which decides the candidates.
    pub model: ModelQuery,
    /// It is about the provider's account: only targets that allow that take it.
    pub is_admin: bool,
    /// Calls with the same value go to the same target while it is healthy, for the sake of prompt caches.
    pub affinity: Option<u64>,
    /// Whether the result says anything about the target's health.
    pub counts_for_health: bool,
}
