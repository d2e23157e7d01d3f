//! Errors in each dialect's shape.

use crate::domain::provider::Provider;
use crate::mock::answer::{ID, Made};

const MESSAGE: &str = "the mock provider was asked to fail";

/// An error answer with `status`.
pub fn answer(dialect: Provider, status: u16) -> Made {
    Made::json(match dialect {
        Provider::Anthropic => anthropic(status),
        Provider::Openai => openai(status),
        Provider::Gemini => gemini(status),
        Provider::Ollama => format!(r#"{{"error":"{MESSAGE}"}}"#),
    })
}

/// The event with which a stream of status 200 reports that it failed.
pub fn event(dialect: Provider) -> Vec<u8> {
    match dialect {
        Provider::Anthropic => format!("event: error\ndata: {}\n\n", anthropic(529)),
        Provider::Openai => format!("data: {}\n\n", openai(500)),
        Provider::Gemini => format!("data: {}\r\n\r\n", gemini(503)),
        Provider::Ollama => format!("{{\"error\":\"{MESSAGE}\"}}\n"),
    }
    .into_bytes()
}

/// Source: Anthropic API, "Errors".
fn anthropic(status: u16) -> String {
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
        r#"{{"type":"error","error":{{"type":"{kind}","message":"{MESSAGE}"}},"request_id":"req_011CMock{ID}"}}"#
    )
}

/// Source: OpenAI API, "Error codes".
fn openai(status: u16) -> String {
    let (kind, code) = match status {
        401 => ("invalid_request_error", r#""invalid_api_key""#),
        404 => ("invalid_request_error", r#""model_not_found""#),
        429 => ("requests", r#""rate_limit_exceeded""#),
        503 => ("server_error", r#""server_overloaded""#),
        500.. => ("server_error", "null"),
        _ => ("invalid_request_error", "null"),
    };
    format!(r#"{{"error":{{"message":"{MESSAGE}","type":"{kind}","param":null,"code":{code}}}}}"#)
}

/// Source: Gemini API, "Troubleshooting" (google.rpc.Code).
fn gemini(status: u16) -> String {
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
    format!(r#"{{"error":{{"code":{status},"message":"{MESSAGE}","status":"{name}"}}}}"#)
}
