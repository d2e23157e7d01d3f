//! Errors in each dialect's shape.

use std::sync::Arc;

use serde_json::Value;

use crate::domain::provider::Provider;
use crate::mock::answer_body::{AnswerBody, ID};
use crate::mock::api::Api;
use crate::mock::event_stream::frame;

/// The message of errors that a request asked for.
pub const ASKED: &str = "the mock provider was asked to fail";
/// The message for unknown paths.
pub const UNKNOWN: &str = "the mock provider does not know this path; it answers /v1/messages, /v1/chat/completions, \
/v1/responses, /v1/completions, /v1/embeddings, /v1beta/models/MODEL:generateContent, /api/chat, /api/generate and \
/api/embed, /model/MODEL/invoke, and Vertex AI's …/publishers/anthropic/models/MODEL:rawPredict and \
…/publishers/google/models/MODEL:generateContent, each behind any prefix";
/// The message for upgrades.
pub const NO_WEBSOCKET: &str = "the mock provider serves no WebSocket: use POST";

/// An error as a request gets it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorSpec {
    pub status: u16,
    /// Its name in the API's words: Anthropic's `type`, OpenAI's `code`, Google's `status`, AWS's exception; `None` for
    /// the one that goes with the status.
    pub name: Option<Arc<str>>,
    pub message: Arc<str>,
    /// The whole of the answer's body, or of the event, in place of one that is made of the above.
    pub body: Option<Arc<str>>,
}

impl ErrorSpec {
    pub fn new(status: u16, message: impl Into<Arc<str>>) -> Self {
        Self { status, name: None, message: message.into(), body: None }
    }

    fn name_or<'a>(&'a self, usual: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(usual)
    }

    fn message_json(&self) -> String {
        Value::from(&*self.message).to_string()
    }
}

/// An error answer.
pub fn answer(api: Api, error: &ErrorSpec) -> AnswerBody {
    if let Some(body) = &error.body {
        return AnswerBody::json(body.to_string());
    }
    AnswerBody::json(match api {
        Api::Own(Provider::Anthropic) => anthropic(error),
        Api::Own(Provider::Openai) => openai(error),
        Api::Own(Provider::Gemini) => gemini(error),
        Api::Own(Provider::Ollama) => format!(r#"{{"error":{}}}"#, error.message_json()),
        Api::Bedrock => format!(r#"{{"message":{}}}"#, error.message_json()),
        Api::Vertex => vertex(error),
    })
}

/// What an API says where it fails in the middle of a stream.
pub fn usual_event(api: Api) -> ErrorSpec {
    let status = match api {
        Api::Own(Provider::Anthropic) | Api::Vertex => 529,
        Api::Own(Provider::Openai | Provider::Ollama) => 500,
        Api::Own(Provider::Gemini) | Api::Bedrock => 503,
    };
    ErrorSpec::new(status, ASKED)
}

/// The event with which a stream of status 200 reports that it failed.
pub fn event(api: Api, error: &ErrorSpec) -> Vec<u8> {
    if let Some(body) = &error.body {
        return body.as_bytes().to_vec();
    }
    match api {
        Api::Own(Provider::Anthropic) | Api::Vertex => {
            format!("event: error\ndata: {}\n\n", anthropic(error))
        }
        Api::Own(Provider::Openai) => format!("data: {}\n\n", openai(error)),
        Api::Own(Provider::Gemini) => format!("data: {}\r\n\r\n", gemini(error)),
        Api::Own(Provider::Ollama) => format!("{{\"error\":{}}}\n", error.message_json()),
        Api::Bedrock => return exception_frame(error),
    }
    .into_bytes()
}

/// Source: Anthropic API, "Errors".
fn anthropic(error: &ErrorSpec) -> String {
    let kind = match error.status {
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
        r#"{{"type":"error","error":{{"type":"{}","message":{}}},"request_id":"req_011CMock{ID}"}}"#,
        error.name_or(kind),
        error.message_json(),
    )
}

/// Source: OpenAI API, "Error codes".
fn openai(error: &ErrorSpec) -> String {
    let (kind, code) = match error.status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        503 => ("server_error", Some("server_overloaded")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    };
    let code = Value::from(error.name.as_deref().or(code));
    format!(
        r#"{{"error":{{"message":{},"type":"{kind}","param":null,"code":{code}}}}}"#,
        error.message_json()
    )
}

/// Source: Gemini API, "Troubleshooting" (google.rpc.Code).
fn gemini(error: &ErrorSpec) -> String {
    let name = match error.status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    };
    format!(
        r#"{{"error":{{"code":{},"message":{},"status":"{}"}}}}"#,
        error.status,
        error.message_json(),
        error.name_or(name),
    )
}

/// Google refuses in its own words, and passes on what Anthropic's models say.
fn vertex(error: &ErrorSpec) -> String {
    match error.status {
        400 | 413 | 529 => anthropic(error),
        _ => gemini(error),
    }
}

/// The name of an exception at Bedrock. Source: Amazon Bedrock API reference, "Common errors".
pub fn exception(error: &ErrorSpec) -> &str {
    error.name_or(match error.status {
        403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        503 | 529 => "ServiceUnavailableException",
        500.. => "InternalServerException",
        _ => "ValidationException",
    })
}

/// The last frame of a stream of Bedrock's.
fn exception_frame(error: &ErrorSpec) -> Vec<u8> {
    // In a frame, names begin with a small letter.
    let mut letters = exception(error).chars();
    let name: String =
        letters.next().map(|letter| letter.to_ascii_lowercase()).into_iter().chain(letters).collect();
    let payload = format!(r#"{{"message":{}}}"#, error.message_json());
    frame(
        &[(":exception-type", &name), (":content-type", "application/json"), (":message-type", "exception")],
        payload.as_bytes(),
    )
}
