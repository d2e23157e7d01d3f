//! What the clouds refuse in a body: what Anthropic's own API wants to have in it, and the other way round.

use serde_json::Value;

use crate::mock::errors::ErrorSpec;
use crate::mock::kind::Kind;

const BEDROCK_VERSION: &str = "bedrock-2023-05-31";
const VERTEX_VERSION: &str = "vertex-2023-10-16";

/// The refusal of a body; of what `kind` counts, where it is a count.
pub fn refusal(kind: Kind, body: &[u8]) -> Option<ErrorSpec> {
    let (version, is_named_in_path) = match kind {
        Kind::Invoke { .. } | Kind::InvokeCount => (BEDROCK_VERSION, true),
        Kind::Predict { .. } => (VERTEX_VERSION, true),
        Kind::PredictCount => (VERTEX_VERSION, false),
        _ => return None,
    };
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return Some(ErrorSpec::new(
            400,
            "Malformed input request, please reformat your input and try again.",
        ));
    };
    let has = |name: &str| members.contains_key(name);
    let said = members.get("anthropic_version").map(|said| said.as_str().unwrap_or_default());
    let message = if said.is_none() {
        "anthropic_version: Field required".to_owned()
    } else if !said.is_some_and(|said| said == version || is_own(said)) {
        format!("anthropic_version: Input should be '{version}'")
    } else if is_named_in_path && has("model") {
        "model: Extra inputs are not permitted".to_owned()
    } else if !is_named_in_path && !has("model") {
        "model: Field required".to_owned()
    } else if version == BEDROCK_VERSION && has("stream") {
        "stream: Extra inputs are not permitted".to_owned()
    } else if kind != Kind::PredictCount && !has("max_tokens") {
        "max_tokens: Field required".to_owned()
    } else if !has("messages") {
        "messages: Field required".to_owned()
    } else {
        return None;
    };
    Some(ErrorSpec::new(400, message))
}

/// A version of Anthropic's own API is a day. Its clients for the clouds say one of these.
fn is_own(version: &str) -> bool {
    version.len() == "2023-06-01".len() && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}
