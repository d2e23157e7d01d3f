//! Errors in each dialect's shape.

use crate::domain::provider::Provider;
use crate::mock::answer::{AnswerBody, ID};

/// The message of errors that a request asked for.
pub const ASKED: &str = "the mock provider was asked to fail";
/// The message for unknown paths.
pub const UNKNOWN: &str = "the mock provider does not know this path; it answers /v1/messages, /v1/chat/completions, \
/v1/responses, /v1/completions, /v1/embeddings, /v1beta/models/MODEL:generateContent, /api/chat, /api/generate and \
/api/embed, each behind any prefix";
/// The message for upgrades.
pub const NO_WEBSOCKET: &str = "the mock provider serves no WebSocket: use POST";

/// An error answer with `status` and `message`, which stands in JSON as it is.
pub fn answer(dialect: Provider, status: u16, message: &str) -> AnswerBody {
    AnswerBody::json(match dialect {
        Provider::Anthropic => anthropic(status, message),
        Provider::Openai => openai(status, message),
        Provider::Gemini => gemini(status, message),
        Provider::Ollama => format!(r#"{{"error":"{message}"}}"#),
    })
}

/// The event with which a stream of status 200 reports that it failed.
pub fn event(dialect: Provider) -> Vec<u8> {
    match dialect {
        Provider::Anthropic => format!("event: error\ndata: {}\n\n", anthropic(529, ASKED)),
        Provider::Openai => format!("data: {}\n\n", openai(500, ASKED)),
        Provider::Gemini => format!("data: {}\r\n\r\n", gemini(503, ASKED)),
        Provider::Ollama => format!("{{\"error\":\"{ASKED}\"}}\n"),
    }
    .into_bytes()
}

/// Source: Anthropic API, "Errors".
fn anthropic(status: u16, message: &str) -> String {
    let kind = match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    format!(
        r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_011CMock{ID}"}}"#
    )
}

/// Source: OpenAI API, "Error codes".
fn openai(status: u16, message: &str) -> String {
    let (kind, code) = match status {
        401 => ("invalid_request_error", r#""invalid_api_key""#),
        404 => ("invalid_request_error", r#""model_not_found""#),
        429 => ("requests", r#""rate_limit_exceeded""#),
        503 => ("server_error", r#""server_overloaded""#),
        500.. => ("server_error", "null"),
        _ => ("invalid_request_error", "null"),
    };
    format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":{code}}}}}"#)
}

/// Source: Gemini API, "Troubleshooting" (google.rpc.Code).
fn gemini(status: u16, message: &str) -> String {
    let name = match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    };
    format!(r#"{{"error":{{"code":{status},"message":"{message}","status":"{name}"}}}}"#)
}
