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

/// Types, codes and statuses of errors that say that the provider has no room, or has failed.
const OVERLOAD: [&str; 12] = [
    "overloaded_error",
    "server_is_overloaded",
    "service_unavailable_error",
    "slow_down",
    "rate_limit",
    "api_error",
    "server_error",
    "timeout_error",
    "internal_error",
    "UNAVAILABLE",
    "RESOURCE_EXHAUSTED",
    "INTERNAL",
];

/// Whether the beginning of a stream says, by its last error, that the provider has no room for the call, or has failed.
/// Some events before it repeat what the caller has written, so that nothing but the error's own fields is looked at.
#[must_use]
pub fn says_overload(stream: &[u8]) -> bool {
    let lines = stream.split(|byte| matches!(byte, b'\n' | b'\r')).rev();
    let events = lines.filter_map(|line| {
        let line = line.trim_ascii();
        serde_json::from_slice::<Value>(line.strip_prefix(b"data:").unwrap_or(line)).ok()
    });
    let mut errors = events.filter_map(|event| {
        let inner = event.get("response").and_then(|response| response.get("error"));
        let error = event.get("error").or(inner).filter(|error| !error.is_null());
        // OpenAI's Responses have the error's fields in the event, too.
        error.cloned().or_else(|| (event.get("type")? == "error").then(|| event.clone()))
    });
    let Some(error) = errors.next() else { return false };
    let is_overload = |word: &str| OVERLOAD.iter().any(|known| word.starts_with(known));
    let named = ["type", "code", "status"].iter().filter_map(|name| error.get(name)?.as_str());
    // Ollama has nothing but a sentence.
    named.into_iter().any(is_overload) || error.as_str().is_some_and(|told| told.starts_with("server busy"))
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
            (r#"{"type":"error","code":"server_error","message":"m","param":null}"#, true),
            (r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#, true),
            (r#"{"error":"model requires more memory"}"#, false),
            ("event: error\r\ndata: {\"error\":{\"type\":\"rate_limit_error\"}}\r\n\r\n", true),
            // What the caller has written is repeated in an event before it.
            (
                "data: {\"type\":\"response.created\",\"response\":{\"error\":null,\"instructions\":\"server_error\"}}\n\n\
                 data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"invalid_prompt\"},\
                 \"instructions\":\"server_error\"}}\n\n",
                false,
            ),
            ("", false),
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
