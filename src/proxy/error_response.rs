//! The gateway's own refusals, in the caller's dialect, so that SDKs raise the exception that fits.

use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

use super::response_body::Body;
use crate::dialect::error_body;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::RequestId;
use crate::domain::provider::Provider;

/// The whole answer to a refused call.
#[must_use]
pub fn response(provider: Provider, failure: &Failure, request_id: RequestId) -> Response<Body> {
    let status = failure.kind.http_status();
    let mut response = answer(status, &error_body(provider, failure, status, request_id));
    let headers = response.headers_mut();
    if let Some(wait) = failure.retry_after {
        // Rounded up: a retry that comes a moment too early would be refused again.
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)));
    }
    if failure.kind == Kind::QuotaSpent || failure.is_final {
        // The SDKs of Anthropic and OpenAI, and Claude Code, stop at this instead of trying until the window turns.
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    response
}

/// The answer to a caller that wants a WebSocket: there are none here. Codex, which probes for one on `/v1/responses`,
/// falls back to POST at this. RFC 9110, section 15.5.22, wants the protocol to be named that is served instead.
#[must_use]
pub fn upgrade(provider: Provider, request_id: RequestId) -> Response<Body> {
    let status = StatusCode::UPGRADE_REQUIRED;
    let failure = Failure::new(Kind::Invalid, "WebSockets are not served here: use POST");
    let mut response = answer(status, &error_body(provider, &failure, status, request_id));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("HTTP/1.1"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
