//! What a provider's error says that decides whether another may be asked: whether it is about the model, or about the
//! provider's load. Whatever a caller has written may be quoted in it, so that only fields are believed that the provider
//! alone fills.

use serde_json::Value;

/// Whether a 404 says that the model is not there, in any dialect.
#[must_use]
pub fn is_about_model(body: &[u8]) -> bool {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return false };
    // Gemini's lists hold one answer.
    let answer = answer.get(0).unwrap_or(&answer);
    let Some(error) = answer.get("error") else { return false };
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let message = error.as_str().map_or_else(|| text(error, "message"), str::to_owned);
    // OpenAI and who follows it.
    text(error, "code") == "model_not_found"
        // Anthropic: "model: claude-x"
        || (text(error, "type") == "not_found_error" && message.starts_with("model:"))
        // Gemini: "models/x is not found for API version v1beta"
        || (text(error, "status") == "NOT_FOUND" && message.starts_with("models/"))
        // Ollama: "model 'x' not found"; its OpenAI side says the same in a message.
        || (message.starts_with("model ") && message.contains("not found"))
}

/// Types and codes of errors that say that the provider has no room, or has failed.
const OVERLOAD: [&[u8]; 12] = [
    b"overloaded_error",
    b"server_is_overloaded",
    b"service_unavailable_error",
    b"slow_down",
    b"rate_limit",
    b"api_error",
    b"server_error",
    b"timeout_error",
    b"internal_error",
    b"UNAVAILABLE",
    b"RESOURCE_EXHAUSTED",
    b"INTERNAL",
];

/// Whether the beginning of a stream says that the provider has no room for the call, or has failed. A stream quotes
/// nothing of its caller before its first content.
#[must_use]
pub fn says_overload(piece: &[u8]) -> bool {
    OVERLOAD.iter().any(|word| memchr::memmem::find(piece, word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overload_is_told_from_an_error_of_the_call() {
        for (piece, expected) in [
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, true),
            (r#"{"type":"response.failed","response":{"error":{"code":"server_is_overloaded"}}}"#, true),
            (r#"{"type":"response.failed","response":{"error":{"code":"slow_down"}}}"#, true),
            (r#"{"error":{"type":"service_unavailable_error","code":null}}"#, true),
            (r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#, true),
            (r#"{"type":"error","error":{"type":"invalid_request_error","message":"too long"}}"#, false),
        ] {
            assert_eq!(says_overload(piece.as_bytes()), expected, "{piece}");
        }
    }

    #[test]
    fn a_model_that_is_not_there_is_told_from_other_things_whatever_is_quoted() {
        for (body, expected) in [
            (r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#, true),
            (
                r#"{"error":{"message":"The model `x` does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
                true,
            ),
            (
                r#"{"error":{"code":404,"message":"models/x is not found for API version v1beta","status":"NOT_FOUND"}}"#,
                true,
            ),
            (r#"[{"error":{"code":404,"message":"models/x is not found","status":"NOT_FOUND"}}]"#, true),
            (r#"{"error":"model 'x' not found"}"#, true),
            (
                r#"{"type":"error","error":{"type":"not_found_error","message":"File not found: model: x"}}"#,
                false,
            ),
            (r#"{"error":{"message":"No such file: model_not_found","code":null}}"#, false),
            (r#"{"error":{"code":404,"message":"cachedContents/models/x","status":"NOT_FOUND"}}"#, false),
            ("no such model", false),
            ("", false),
        ] {
            assert_eq!(is_about_model(body.as_bytes()), expected, "{body}");
        }
    }
}
