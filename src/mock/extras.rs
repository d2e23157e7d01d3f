//! What a provider does not know: betas and fields of a body, and the words in which it refuses them.

use http::HeaderMap;
use memchr::memmem;
use serde_json::Value;

use crate::domain::provider::Provider;
use crate::mock::api::Api;
use crate::mock::errors::ErrorSpec;

/// The betas that a request asks for: in its headers, and in its body, where clouds have them.
pub fn betas(headers: &HeaderMap, body: &[u8]) -> Vec<String> {
    let lists = headers.get_all("anthropic-beta").iter().filter_map(|list| list.to_str().ok());
    let mut betas: Vec<String> =
        lists.flat_map(|list| list.split(',')).map(|beta| beta.trim().to_owned()).collect();
    if memmem::find(body, b"\"anthropic_beta\"").is_some() {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let listed = body["anthropic_beta"].as_array().map(Vec::as_slice).unwrap_or_default();
        betas.extend(listed.iter().filter_map(|beta| beta.as_str().map(str::to_owned)));
    }
    betas.retain(|beta| !beta.is_empty());
    betas
}

/// The refusal of betas.
pub fn beta_refusal(api: Api, betas: &[&str]) -> ErrorSpec {
    if api == Api::Bedrock {
        return ErrorSpec::new(400, "invalid beta flag");
    }
    let betas: Vec<String> = betas.iter().map(|beta| format!("`{beta}`")).collect();
    ErrorSpec::new(
        400,
        format!(
            "Unexpected value(s) {} for the `anthropic-beta` header. Please consult our documentation at \
             docs.anthropic.com or try again without the header.",
            betas.join(", ")
        ),
    )
}

/// The refusal of the field at `path`, names and numbers joined by dots.
pub fn field_refusal(api: Api, path: &str) -> ErrorSpec {
    let last = path.rsplit('.').next().unwrap_or(path);
    match api {
        Api::Own(Provider::Anthropic) | Api::Bedrock | Api::Vertex => {
            ErrorSpec::new(400, format!("{path}: Extra inputs are not permitted"))
        }
        Api::Own(Provider::Openai) => ErrorSpec {
            name: Some("unknown_parameter".into()),
            ..ErrorSpec::new(400, format!("Unknown parameter: '{path}'."))
        },
        Api::Own(Provider::Gemini) => ErrorSpec::new(
            400,
            format!("Invalid JSON payload received. Unknown name \"{last}\": Cannot find field."),
        ),
        Api::Own(Provider::Ollama) => ErrorSpec::new(400, format!("invalid option: {last}")),
    }
}

/// The path of the first field that `pattern` is about: `tools.*.strict` finds `tools.0.strict`.
pub fn find(value: &Value, pattern: &str) -> Option<String> {
    let (first, rest) = pattern.split_once('.').map_or((pattern, None), |(first, rest)| (first, Some(rest)));
    let within = |name: &str, value: &Value| match rest {
        None => Some(name.to_owned()),
        Some(rest) => find(value, rest).map(|found| format!("{name}.{found}")),
    };
    match value {
        Value::Object(members) if first == "*" => {
            members.iter().find_map(|(name, value)| within(name, value))
        }
        Value::Object(members) => within(first, members.get(first)?),
        Value::Array(elements) if first == "*" => {
            elements.iter().enumerate().find_map(|(at, value)| within(&at.to_string(), value))
        }
        Value::Array(elements) => within(first, elements.get(first.parse::<usize>().ok()?)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_by_names_and_numbers() {
        let body = json!({ "a": { "b": 1 }, "tools": [{ "name": "x" }, { "custom": { "strict": null } }] });
        for (pattern, expected) in [
            ("a", Some("a")),
            ("a.b", Some("a.b")),
            ("a.c", None),
            ("tools.*.custom.strict", Some("tools.1.custom.strict")),
            ("tools.0.name", Some("tools.0.name")),
            ("tools.7.name", None),
            ("*.b", Some("a.b")),
            ("a.b.c", None),
        ] {
            assert_eq!(find(&body, pattern).as_deref(), expected, "{pattern}");
        }
    }
}
