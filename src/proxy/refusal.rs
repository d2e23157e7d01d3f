//! The gateway's own refusals, in the caller's dialect, so that SDKs raise the exception that fits.

use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::body::Body;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::RequestId;
use crate::domain::provider::Provider;

/// The status of a failure; the same in every dialect.
#[must_use]
pub fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::QuotaSpent | Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Upstream => StatusCode::BAD_GATEWAY,
        Kind::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The whole answer to a refused call.
#[must_use]
pub fn response(provider: Provider, failure: &Failure, request_id: RequestId) -> Response<Body> {
    let status = status(failure.kind);
    let body = match provider {
        Provider::Anthropic => anthropic(failure, request_id),
        Provider::Openai => openai(failure),
        Provider::Gemini => gemini(failure, status),
        Provider::Ollama => json!({ "error": failure.message }),
    };
    let mut response = answer(status, &body);
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
    let body = match provider {
        Provider::Anthropic => anthropic(&failure, request_id),
        Provider::Openai => {
            let mut body = openai(&failure);
            body["error"]["code"] = json!("upgrade_required");
            body
        }
        Provider::Gemini => gemini(&failure, status),
        Provider::Ollama => json!({ "error": failure.message }),
    };
    let mut response = answer(status, &body);
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

/// Anthropic's error types: <https://docs.anthropic.com/en/api/errors>.
fn anthropic(failure: &Failure, request_id: RequestId) -> Value {
    let kind = match failure.kind {
        Kind::Invalid | Kind::Conflict => "invalid_request_error",
        Kind::Unauthenticated => "authentication_error",
        Kind::Forbidden => "permission_error",
        Kind::NotFound => "not_found_error",
        Kind::TooLarge => "request_too_large",
        Kind::QuotaSpent => "billing_error",
        Kind::RateLimited => "rate_limit_error",
        Kind::Unavailable => "overloaded_error",
        Kind::Upstream | Kind::Internal => "api_error",
        Kind::UpstreamTimeout => "timeout_error",
    };
    let error = json!({ "type": kind, "message": failure.message });
    json!({ "type": "error", "error": error, "request_id": request_id.to_string() })
}

/// OpenAI's error codes: <https://platform.openai.com/docs/guides/error-codes>.
fn openai(failure: &Failure) -> Value {
    let (kind, code) = match failure.kind {
        Kind::Invalid | Kind::Conflict => ("invalid_request_error", "invalid_request"),
        Kind::Unauthenticated => ("invalid_request_error", "invalid_api_key"),
        Kind::Forbidden => ("invalid_request_error", "permission_denied"),
        Kind::NotFound => ("invalid_request_error", "model_not_found"),
        Kind::TooLarge => ("invalid_request_error", "request_too_large"),
        Kind::QuotaSpent => ("insufficient_quota", "insufficient_quota"),
        Kind::RateLimited => ("rate_limit_error", "rate_limit_exceeded"),
        Kind::Unavailable => ("server_error", "service_unavailable"),
        Kind::Upstream => ("server_error", "bad_gateway"),
        Kind::UpstreamTimeout => ("server_error", "gateway_timeout"),
        Kind::Internal => ("server_error", "internal_error"),
    };
    json!({ "error": { "message": failure.message, "type": kind, "param": null, "code": code } })
}

/// Google's canonical codes: <https://cloud.google.com/apis/design/errors>.
fn gemini(failure: &Failure, status: StatusCode) -> Value {
    let name = match failure.kind {
        Kind::Invalid | Kind::TooLarge => "INVALID_ARGUMENT",
        Kind::Unauthenticated => "UNAUTHENTICATED",
        Kind::Forbidden => "PERMISSION_DENIED",
        Kind::NotFound => "NOT_FOUND",
        Kind::Conflict => "FAILED_PRECONDITION",
        Kind::QuotaSpent | Kind::RateLimited => "RESOURCE_EXHAUSTED",
        Kind::Unavailable | Kind::Upstream => "UNAVAILABLE",
        Kind::UpstreamTimeout => "DEADLINE_EXCEEDED",
        Kind::Internal => "INTERNAL",
    };
    json!({ "error": { "code": status.as_u16(), "message": failure.message, "status": name } })
}
