//! A provider's error, read in its API and said in another. Its message stays word for word: clients look for words in it.

use http::StatusCode;
use serde_json::{Value, json};

use super::api::Api;

/// What a provider says of a call that it has not answered, or has not finished answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamError {
    /// None in a stream, whose status was said before.
    pub status: Option<StatusCode>,
    pub kind: ErrorKind,
    pub message: String,
}

/// What clients tell errors apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    InvalidRequest,
    /// The conversation is longer than the model can read: clients make it shorter and go on.
    ContextLength,
    Authentication,
    Permission,
    NotFound,
    TooLarge,
    RateLimit,
    /// Money: asking again does not help.
    Quota,
    Overloaded,
    Server,
}

impl UpstreamError {
    /// Reads an error's document, or an event's, in any API. What is none is taken for words.
    #[must_use]
    pub fn read(status: Option<StatusCode>, body: &[u8]) -> Self {
        if let Ok(value) = serde_json::from_slice::<Value>(body) {
            return Self::of_value(status, &value);
        }
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let message = match (text, status) {
            ("", Some(status)) => status.to_string(),
            ("", None) => "no reason given".to_owned(),
            _ => text.chars().take(2_000).collect(),
        };
        Self { kind: kind(status, "", "", &message), status, message }
    }

    /// The same of a document that is read already.
    #[must_use]
    pub fn of_value(status: Option<StatusCode>, value: &Value) -> Self {
        // Gemini's lists hold one answer.
        let value = value.get(0).unwrap_or(value);
        let in_response = value.get("response").and_then(|response| response.get("error"));
        let error = value.get("error").or(in_response).filter(|error| !error.is_null()).unwrap_or(value);
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        let message = error.as_str().or_else(|| error.get("message")?.as_str()).map_or_else(
            || if error.is_object() { error.to_string() } else { "no reason given".to_owned() },
            str::to_owned,
        );
        let code = match text("code") {
            "" => text("status"),
            code => code,
        };
        Self { kind: kind(status, text("type"), code, &message), status, message }
    }

    /// The error of a stream that is not what its API says, or breaks off.
    #[must_use]
    pub fn broken(message: impl Into<String>) -> Self {
        Self { status: None, kind: ErrorKind::Server, message: message.into() }
    }

    fn status_in(&self, api: Api) -> StatusCode {
        status_in(api, self.status.unwrap_or(StatusCode::BAD_GATEWAY))
    }

    /// The error as a document of `api`. In a stream of Messages and Chat it is an event's data, too.
    #[must_use]
    pub fn document(&self, api: Api) -> Value {
        match api {
            Api::Messages => json!({
                "type": "error",
                "error": { "type": self.anthropic_type(), "message": self.message_in(api) },
            }),
            Api::Responses | Api::Chat => json!({
                "error": {
                    "message": self.message_in(api),
                    "type": self.openai_type(),
                    "param": null,
                    "code": self.openai_code(),
                },
            }),
            Api::Gemini => json!({
                "error": {
                    "code": self.status_in(api).as_u16(),
                    "message": self.message_in(api),
                    "status": self.gemini_status(),
                },
            }),
        }
    }

    /// The error's code as `OpenAI` has it; Codex goes by it, also in a stream.
    #[must_use]
    pub fn openai_code(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::ContextLength => Some("context_length_exceeded"),
            ErrorKind::Quota => Some("insufficient_quota"),
            ErrorKind::RateLimit => Some("rate_limit_exceeded"),
            ErrorKind::Overloaded => Some("server_is_overloaded"),
            ErrorKind::Server => Some("server_error"),
            ErrorKind::Authentication => Some("invalid_api_key"),
            ErrorKind::NotFound => Some("model_not_found"),
            ErrorKind::InvalidRequest | ErrorKind::Permission | ErrorKind::TooLarge => None,
        }
    }

    /// The message, word for word; where clients go by a sentence of the API's own, that stands before it.
    #[must_use]
    pub fn message_in(&self, api: Api) -> String {
        const TOO_LONG: &str = "prompt is too long";
        if api == Api::Messages
            && self.kind == ErrorKind::ContextLength
            && !self.message.to_ascii_lowercase().contains(TOO_LONG)
        {
            return match numbers(&self.message) {
                Some((asked, most)) => {
                    format!("{TOO_LONG}: {asked} tokens > {most} maximum ({})", self.message)
                }
                None => format!("{TOO_LONG}: {}", self.message),
            };
        }
        self.message.clone()
    }

    fn anthropic_type(&self) -> &'static str {
        match self.kind {
            ErrorKind::InvalidRequest | ErrorKind::ContextLength => "invalid_request_error",
            ErrorKind::Authentication => "authentication_error",
            ErrorKind::Permission => "permission_error",
            ErrorKind::NotFound => "not_found_error",
            ErrorKind::TooLarge => "request_too_large",
            ErrorKind::RateLimit => "rate_limit_error",
            ErrorKind::Quota => "billing_error",
            ErrorKind::Overloaded => "overloaded_error",
            ErrorKind::Server => "api_error",
        }
    }

    fn openai_type(&self) -> &'static str {
        match self.kind {
            ErrorKind::InvalidRequest
            | ErrorKind::ContextLength
            | ErrorKind::NotFound
            | ErrorKind::TooLarge => "invalid_request_error",
            ErrorKind::Authentication => "authentication_error",
            ErrorKind::Permission => "permission_error",
            ErrorKind::RateLimit => "rate_limit_error",
            ErrorKind::Quota => "insufficient_quota",
            ErrorKind::Overloaded => "service_unavailable_error",
            ErrorKind::Server => "server_error",
        }
    }

    fn gemini_status(&self) -> &'static str {
        match self.kind {
            ErrorKind::InvalidRequest | ErrorKind::ContextLength | ErrorKind::TooLarge => "INVALID_ARGUMENT",
            ErrorKind::Authentication => "UNAUTHENTICATED",
            ErrorKind::Permission => "PERMISSION_DENIED",
            ErrorKind::NotFound => "NOT_FOUND",
            ErrorKind::RateLimit | ErrorKind::Quota => "RESOURCE_EXHAUSTED",
            ErrorKind::Overloaded => "UNAVAILABLE",
            ErrorKind::Server => "INTERNAL",
        }
    }
}

/// What a provider's status is in another API: Anthropic alone has one of its own for an overload.
#[must_use]
pub fn status_in(api: Api, status: StatusCode) -> StatusCode {
    match (api, status.as_u16()) {
        (Api::Responses | Api::Chat | Api::Gemini, 529) => StatusCode::SERVICE_UNAVAILABLE,
        (Api::Messages, 503) => StatusCode::from_u16(529).unwrap_or(status),
        _ => status,
    }
}

fn kind(status: Option<StatusCode>, kind: &str, code: &str, message: &str) -> ErrorKind {
    if is_context_length(code, message) {
        return ErrorKind::ContextLength;
    }
    for word in [code, kind] {
        let known = match word {
            "insufficient_quota" | "billing_error" | "billing_hard_limit_reached" => ErrorKind::Quota,
            "rate_limit_error" | "rate_limit_exceeded" | "RESOURCE_EXHAUSTED" => ErrorKind::RateLimit,
            "overloaded_error"
            | "server_is_overloaded"
            | "slow_down"
            | "service_unavailable_error"
            | "UNAVAILABLE" => ErrorKind::Overloaded,
            "authentication_error" | "invalid_api_key" | "UNAUTHENTICATED" => ErrorKind::Authentication,
            "permission_error" | "PERMISSION_DENIED" => ErrorKind::Permission,
            "not_found_error" | "model_not_found" | "NOT_FOUND" => ErrorKind::NotFound,
            "request_too_large" => ErrorKind::TooLarge,
            "api_error" | "server_error" | "INTERNAL" | "timeout_error" => ErrorKind::Server,
            "invalid_request_error" | "INVALID_ARGUMENT" | "FAILED_PRECONDITION" => ErrorKind::InvalidRequest,
            _ => continue,
        };
        // `invalid_request_error` is OpenAI's type for all that its status says better.
        if known != ErrorKind::InvalidRequest || status.is_none() {
            return known;
        }
    }
    match status.map(|status| status.as_u16()) {
        Some(401) => ErrorKind::Authentication,
        Some(402) => ErrorKind::Quota,
        Some(403) => ErrorKind::Permission,
        Some(404) => ErrorKind::NotFound,
        Some(413) => ErrorKind::TooLarge,
        Some(429) => ErrorKind::RateLimit,
        Some(503 | 529) => ErrorKind::Overloaded,
        Some(400..=499) => ErrorKind::InvalidRequest,
        _ => ErrorKind::Server,
    }
}

fn is_context_length(code: &str, message: &str) -> bool {
    const WORDS: [&str; 5] = [
        "prompt is too long",
        "maximum context length",
        "context length exceeded",
        "exceeds the context window",
        "exceeds the maximum number of tokens",
    ];
    code == "context_length_exceeded" || {
        let message = message.to_ascii_lowercase();
        WORDS.iter().any(|words| message.contains(words))
    }
}

/// How many tokens were asked for and how many are the most, where a message says both.
fn numbers(message: &str) -> Option<(u64, u64)> {
    let words = message.split(|c: char| !c.is_ascii_digit() && c != ',' && c != '_');
    let numbers = words.filter_map(|word| {
        let digits: String = word.chars().filter(char::is_ascii_digit).collect();
        digits.parse::<u64>().ok()
    });
    let mut numbers: Vec<u64> = numbers.filter(|number| *number >= 1_000).collect();
    numbers.sort_unstable();
    match numbers[..] {
        [most, asked] if asked > most => Some((asked, most)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> UpstreamError {
        UpstreamError::read(StatusCode::from_u16(status).ok(), body.as_bytes())
    }

    #[test]
    fn errors_mean_the_same_in_every_api_and_keep_their_words() {
        let context = r#"{"error":{"message":"This model's maximum context length is 128000 tokens. However, your messages resulted in 130500 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;
        for (status, body, kind, anthropic, openai) in [
            (
                400,
                context,
                ErrorKind::ContextLength,
                "invalid_request_error",
                Some("context_length_exceeded"),
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 2 tokens > 1 maximum"}}"#,
                ErrorKind::ContextLength,
                "invalid_request_error",
                Some("context_length_exceeded"),
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"The input token count (9000000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#,
                ErrorKind::ContextLength,
                "invalid_request_error",
                Some("context_length_exceeded"),
            ),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                ErrorKind::Quota,
                "billing_error",
                Some("insufficient_quota"),
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                ErrorKind::Overloaded,
                "overloaded_error",
                Some("server_is_overloaded"),
            ),
            (
                404,
                r#"{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}"#,
                ErrorKind::NotFound,
                "not_found_error",
                Some("model_not_found"),
            ),
            (502, "<html>bad gateway</html>", ErrorKind::Server, "api_error", Some("server_error")),
            (
                403,
                r#"[{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}]"#,
                ErrorKind::Permission,
                "permission_error",
                None,
            ),
        ] {
            let error = error(status, body);
            assert_eq!(error.kind, kind, "{body}");
            assert_eq!(error.document(Api::Messages)["error"]["type"], anthropic, "{body}");
            assert_eq!(error.document(Api::Chat)["error"]["code"].as_str(), openai, "{body}");
            let message = error.document(Api::Responses)["error"]["message"].as_str().unwrap().to_owned();
            assert!(body.contains(&message), "{message}");
        }
        assert_eq!(
            error(400, context).message_in(Api::Messages),
            "prompt is too long: 130500 tokens > 128000 maximum (This model's maximum context length is 128000 \
             tokens. However, your messages resulted in 130500 tokens.)"
        );
        let overloaded = StatusCode::from_u16(529).unwrap();
        assert_eq!(status_in(Api::Responses, overloaded), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status_in(Api::Messages, StatusCode::SERVICE_UNAVAILABLE), overloaded);
        assert_eq!(status_in(Api::Messages, StatusCode::BAD_REQUEST), StatusCode::BAD_REQUEST);
    }
}
