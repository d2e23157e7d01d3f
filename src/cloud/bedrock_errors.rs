//! AWS's exceptions in the words of Anthropic's API, whose clients know what to do about those.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html>

use bytes::Bytes;
use http::StatusCode;

use crate::json::object::{members, number, string};

/// An exception as AWS tells it: by name, with a JSON body.
#[derive(Clone, Copy, Debug)]
pub struct Exception<'a> {
    /// Such as `ThrottlingException`; what follows a colon does not count.
    pub name: &'a str,
    /// The status of the answer; `None` within a stream.
    pub status: Option<StatusCode>,
    /// `{"message": …}`, or something else.
    pub body: &'a [u8],
}

/// The body of the error that Anthropic's API would have answered with: of an answer as well as of an `error` event.
#[must_use]
pub fn anthropic_error(exception: &Exception<'_>) -> Bytes {
    let told = Told::read(exception.body);
    let name = if exception.name.is_empty() { told.name.as_str() } else { exception.name };
    let name = bare(name);
    let status = told.original_status.or(exception.status.map(|status| u64::from(status.as_u16())));
    let kind = kind_by_name(name).or_else(|| status.and_then(kind_by_status)).unwrap_or("api_error");
    let message = match (told.message.is_empty(), name.is_empty()) {
        (false, _) => told.message.as_str(),
        (true, false) => name,
        (true, true) => "Bedrock answered with an error",
    };
    let message = serde_json::Value::from(message);
    Bytes::from(format!(r#"{{"type":"error","error":{{"type":"{kind}","message":{message}}}}}"#))
}

/// What an exception's body says.
#[derive(Default)]
struct Told {
    name: String,
    message: String,
    /// What the model's own server answered, where the exception only passes it on.
    original_status: Option<u64>,
}

impl Told {
    fn read(body: &[u8]) -> Self {
        let mut told = Self::default();
        members(body, 0, |key, value| {
            let value = body.get(value).unwrap_or_default();
            match key {
                // Services write it in both ways; the original message says more.
                b"message" | b"Message" if told.message.is_empty() => {
                    told.message = string(value).unwrap_or_default().into_owned();
                }
                b"originalMessage" => {
                    if let Some(message) = string(value).filter(|message| !message.is_empty()) {
                        told.message = message.into_owned();
                    }
                }
                b"originalStatusCode" => told.original_status = number(value),
                b"__type" => told.name = string(value).unwrap_or_default().into_owned(),
                _ => {}
            }
        });
        told
    }
}

/// `com.amazon.coral.service#ThrottlingException:http://…` is a `ThrottlingException`.
fn bare(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim()
}

fn kind_by_name(name: &str) -> Option<&'static str> {
    let known: [(&str, &str); 15] = [
        ("throttlingException", "rate_limit_error"),
        ("modelNotReadyException", "overloaded_error"),
        ("serviceQuotaExceededException", "rate_limit_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("modelTimeoutException", "timeout_error"),
        ("validationException", "invalid_request_error"),
        ("accessDeniedException", "permission_error"),
        ("resourceNotFoundException", "not_found_error"),
        ("internalServerException", "api_error"),
        ("unrecognizedClientException", "authentication_error"),
        ("invalidSignatureException", "authentication_error"),
        ("incompleteSignatureException", "authentication_error"),
        ("missingAuthenticationTokenException", "authentication_error"),
        ("expiredTokenException", "authentication_error"),
        ("invalidClientTokenId", "authentication_error"),
    ];
    known.iter().find(|(exception, _)| exception.eq_ignore_ascii_case(name)).map(|(_, kind)| *kind)
}

/// <https://docs.anthropic.com/en/api/errors>
pub(super) fn kind_by_status(status: u64) -> Option<&'static str> {
    match status {
        400 | 422 => Some("invalid_request_error"),
        401 => Some("authentication_error"),
        403 => Some("permission_error"),
        404 => Some("not_found_error"),
        408 | 504 => Some("timeout_error"),
        413 => Some("request_too_large"),
        429 => Some("rate_limit_error"),
        503 | 529 => Some("overloaded_error"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str, status: u16, body: &str) -> String {
        let status = StatusCode::from_u16(status).ok();
        let error = anthropic_error(&Exception { name, status, body: body.as_bytes() });
        String::from_utf8(error.to_vec()).expect("text")
    }

    #[test]
    fn exceptions_are_told_in_anthropics_words() {
        for (name, status, body, kind, message) in [
            (
                "throttlingException",
                0,
                r#"{"message":"slow \"down\""}"#,
                "rate_limit_error",
                r#"slow \"down\""#,
            ),
            ("ThrottlingException:http://internal/", 429, r#"{"message":"m"}"#, "rate_limit_error", "m"),
            ("", 400, r#"{"__type":"a.b#ValidationException","Message":"m"}"#, "invalid_request_error", "m"),
            ("internalServerException", 0, r#"{"message":"m"}"#, "api_error", "m"),
            (
                "modelStreamErrorException",
                0,
                r#"{"message":"m","originalMessage":"o","originalStatusCode":529}"#,
                "overloaded_error",
                "o",
            ),
            ("modelStreamErrorException", 0, r#"{"message":"m","originalStatusCode":500}"#, "api_error", "m"),
            ("ModelErrorException", 424, "", "api_error", "ModelErrorException"),
            ("", 403, "<html>", "permission_error", "Bedrock answered with an error"),
            ("", 503, r#"{"message":"m"}"#, "overloaded_error", "m"),
        ] {
            let expected = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}}}}"#);
            assert_eq!(error(name, status, body), expected, "{name} {status} {body}");
        }
    }
}
