//! What those who host Anthropic's models refuse in calls that Anthropic takes: betas and members of the body that they
//! do not know (yet), each in its own words.

use serde_json::Value;

use crate::cloud::bedrock::betas;
use crate::cloud::hosting::OwnCall;
use crate::dialect::contents::Unknown;
use crate::json::edit::at_path;
use crate::json::object::members;

/// Members without which a call would be another one. What is refused in these, its caller is told.
const MEANT: [&str; 10] = [
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "stop_sequences",
    "max_tokens",
    "mcp_servers",
    "container",
    "output_format",
];
/// Longest path that is believed, bytes.
const PATH_MAX: usize = 256;
/// Below the top, only what is known to say nothing of what is asked.
const TUNING: [&str; 9] = [
    "cache_control",
    "ttl",
    "scope",
    "defer_loading",
    "strict",
    "input_examples",
    "eager_input_streaming",
    "allowed_callers",
    "caller",
];

pub(super) fn in_refusal(refusal: &Value, call: &OwnCall<'_>) -> Vec<Unknown> {
    let told = refusal.get("error").and_then(|error| error.get("message")).or(refusal.get("message"));
    let Some(message) = told.and_then(Value::as_str) else { return Vec::new() };
    let betas = betas(call.headers);
    if let Some(listed) = between(message, "Unexpected value(s) ", " for the `anthropic-beta` header") {
        let named = |beta: &&&str| listed.contains(&format!("`{beta}`"));
        return betas.iter().filter(named).map(|beta| Unknown::Beta((*beta).to_owned())).collect();
    }
    // Bedrock does not say which.
    if message.contains("invalid beta flag") && !betas.is_empty() {
        return vec![Unknown::SomeBeta];
    }
    let path = message
        .split_once(": Extra inputs are not permitted")
        .map(|(path, _)| path.rsplit(['\n', ' ']).next().unwrap_or_default().to_owned())
        .or_else(|| extraneous_key(message));
    let unknown = path.filter(|path| only_tunes(path, call.body));
    unknown.map(|path| Unknown::Field(everywhere(&path))).into_iter().collect()
}

/// What is not known in one element of a list is not in the others.
fn everywhere(path: &str) -> String {
    let segment = |segment: &str| {
        if segment.parse::<usize>().is_ok() { "*".to_owned() } else { segment.to_owned() }
    };
    path.split('.').map(segment).collect::<Vec<_>>().join(".")
}

/// `Malformed input request: #/tools/0: extraneous key [strict] is not permitted`
fn extraneous_key(message: &str) -> Option<String> {
    let (before, after) = message.split_once(": extraneous key [")?;
    let (key, _) = after.split_once("] is not permitted")?;
    let pointer = before.rsplit_once('#').map_or("", |(_, pointer)| pointer);
    let above: Vec<&str> = pointer.split('/').filter(|segment| !segment.is_empty()).collect();
    Some(above.into_iter().chain([key]).collect::<Vec<_>>().join("."))
}

fn between<'m>(message: &'m str, start: &str, end: &str) -> Option<&'m str> {
    let (_, rest) = message.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

/// Whether the call asks for the same without what stands there.
fn only_tunes(path: &str, body: &[u8]) -> bool {
    if path.len() > PATH_MAX {
        return false;
    }
    let Some(value) = at_path(body, path) else { return false };
    match path.rsplit_once('.') {
        Some((_, last)) => TUNING.contains(&last),
        None => !(MEANT.contains(&path) || path == "output_config" && has_format(&value)),
    }
}

/// An answer in the shape of a schema is another answer.
fn has_format(config: &[u8]) -> bool {
    let mut found = false;
    members(config, 0, |key, _| found |= key == b"format");
    found
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use serde_json::json;

    use super::*;

    #[test]
    fn each_hosts_words_name_what_is_unknown_and_nothing_that_is_meant() {
        let mut headers = HeaderMap::new();
        headers.append("anthropic-beta", HeaderValue::from_static("a-1, b-2"));
        headers.append("anthropic-beta", HeaderValue::from_static("c-3"));
        let body = br#"{"model":"m","context_management":{"edits":[]},"output_config":{"effort":"low"},"mcp_servers":[],
            "tools":[{"name":"t","strict":true,"input_schema":{}}],"messages":[{"role":"user","content":[
            {"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]}"#;
        let call = OwnCall { path_and_query: "/v1/messages", headers: &headers, body, model: "m" };
        for (message, expected) in [
            (
                "Unexpected value(s) `b-2` for the `anthropic-beta` header. Please consult our documentation",
                "anthropic-beta=b-2",
            ),
            (
                "Unexpected value(s) `c-3`, `a-1` for the `anthropic-beta` header.",
                "anthropic-beta=a-1 anthropic-beta=c-3",
            ),
            ("invalid beta flag", "anthropic-beta"),
            ("context_management: Extra inputs are not permitted", "context_management"),
            ("output_config: Extra inputs are not permitted", "output_config"),
            ("tools.0.custom.strict: Extra inputs are not permitted", "tools.*.custom.strict"),
            (
                "messages.0.content.0.text.cache_control.ttl: Extra inputs are not permitted",
                "messages.*.content.*.text.cache_control.ttl",
            ),
            (
                "Malformed input request: #: extraneous key [context_management] is not permitted, please reformat",
                "context_management",
            ),
            (
                "Malformed input request: #/tools/0: extraneous key [strict] is not permitted",
                "tools.*.strict",
            ),
            // What is meant, what is not there, and what is about something else.
            ("mcp_servers: Extra inputs are not permitted", ""),
            ("messages.0.content: Extra inputs are not permitted", ""),
            ("tools.0.name: Extra inputs are not permitted", ""),
            ("not_there: Extra inputs are not permitted", ""),
            ("max_tokens: Field required", ""),
            ("Unexpected value(s) `d-4` for the `anthropic-beta` header.", ""),
        ] {
            for refusal in [json!({"type":"error","error":{"message":message}}), json!({"message":message})] {
                let found: Vec<_> = in_refusal(&refusal, &call).iter().map(ToString::to_string).collect();
                assert_eq!(found.join(" "), expected, "{message}");
            }
        }
        let body = br#"{"output_config":{"format":{"type":"json_schema"}}}"#;
        let structured = OwnCall { body, ..call };
        let refusal = json!({"message":"output_config: Extra inputs are not permitted"});
        assert_eq!(in_refusal(&refusal, &structured), []);
    }
}
