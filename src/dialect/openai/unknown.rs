//! What those who host `OpenAI`'s models, or imitate its API, refuse in calls that `OpenAI` takes.

use serde_json::Value;

use crate::cloud::hosting::OwnCall;
use crate::dialect::contents::Unknown;
use crate::json::edit::at_path;

/// Members of a request that say nothing of what is asked, and that older servers do not know.
const MERELY_TUNES: [&str; 12] = [
    "metadata",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "truncation",
    "user",
    "verbosity",
];

/// `Unknown parameter: 'x'.`, and what older versions of Azure say.
pub(super) fn in_refusal(refusal: &Value, call: &OwnCall<'_>) -> Vec<Unknown> {
    let error = refusal.get("error").unwrap_or(refusal);
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let named = match (text("code"), text("param")) {
        (Some("unknown_parameter"), Some(param)) => Some(param),
        _ => text("message")
            .and_then(|message| message.strip_prefix("Unrecognized request argument supplied: ")),
    };
    let only_tunes = |name: &&str| MERELY_TUNES.contains(name) && at_path(call.body, name).is_some();
    named.filter(only_tunes).map(|name| Unknown::Field(name.to_owned())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_parameter_is_unknown_where_the_server_names_it_and_the_call_means_the_same_without() {
        let headers = HeaderMap::new();
        let body = br#"{"model":"m","store":true,"tools":[],"user":"u"}"#;
        let call = OwnCall { path_and_query: "/v1/responses", headers: &headers, body, model: "m" };
        for (refusal, expected) in [
            (
                json!({"error":{"code":"unknown_parameter","param":"store","message":"Unknown parameter: 'store'."}}),
                "store",
            ),
            (json!({"error":{"message":"Unrecognized request argument supplied: user"}}), "user"),
            (json!({"error":{"code":"unknown_parameter","param":"tools"}}), ""),
            (json!({"error":{"code":"unknown_parameter","param":"metadata"}}), ""),
            (json!({"error":{"code":"invalid_value","param":"store"}}), ""),
            (json!("store"), ""),
        ] {
            let found: Vec<_> = in_refusal(&refusal, &call).iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{refusal}");
        }
    }
}
