//! The paths of the clouds, in which the model stands, and what it is called in its maker's words.

use crate::cloud::percent;

/// A call for one of Anthropic's models, told from its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudVerb {
    /// Bedrock's `InvokeModel`.
    Invoke,
    /// Bedrock's `InvokeModelWithResponseStream`.
    InvokeStream,
    /// Bedrock's `CountTokens`.
    InvokeCount,
    /// Vertex AI's `rawPredict` and `streamRawPredict`; whether it streams is in the body.
    Predict,
    /// Vertex AI's `count-tokens:rawPredict`.
    PredictCount,
}

/// What a path asks for, and of which model.
pub fn call(path: &str) -> Option<(CloudVerb, Option<String>)> {
    invoke(path).or_else(|| predict(path))
}

/// `/model/{id}/{verb}`; an ARN's slashes are encoded.
fn invoke(path: &str) -> Option<(CloudVerb, Option<String>)> {
    let (model, verb) = path.rsplit_once("/model/")?.1.split_once('/')?;
    let verb = match verb {
        "invoke" => CloudVerb::Invoke,
        "invoke-with-response-stream" => CloudVerb::InvokeStream,
        "count-tokens" => CloudVerb::InvokeCount,
        _ => return None,
    };
    Some((verb, Some(decoded(model))))
}

/// `…/publishers/anthropic/models/{model}:{verb}`.
fn predict(path: &str) -> Option<(CloudVerb, Option<String>)> {
    let (model, verb) = path.rsplit_once("/publishers/anthropic/models/")?.1.split_once(':')?;
    match (model, verb) {
        ("count-tokens", "rawPredict") => Some((CloudVerb::PredictCount, None)),
        (_, "rawPredict" | "streamRawPredict") => Some((CloudVerb::Predict, Some(decoded(model)))),
        _ => None,
    }
}

fn decoded(segment: &str) -> String {
    String::from_utf8_lossy(&percent::decode(segment)).into_owned()
}

/// The name that Anthropic has for a model, which is what answers say: `claude-sonnet-4-5-20250929` for
/// `eu.anthropic.claude-sonnet-4-5-20250929-v1:0` as for `claude-sonnet-4-5@20250929`.
pub fn own_name(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.split_once("anthropic.").map_or(name, |(_, name)| name);
    let name = match name.rsplit_once("-v") {
        Some((name, version)) if version.chars().all(|c| c.is_ascii_digit() || c == ':') => name,
        _ => name,
    };
    name.replace('@', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_which_model_is_asked_for_what() {
        let google = "/v1/projects/p/locations/global/publishers/anthropic/models";
        for (path, expected) in [
            (
                "/model/anthropic.claude-x-v1%3A0/invoke",
                Some((CloudVerb::Invoke, Some("anthropic.claude-x-v1:0"))),
            ),
            ("/model/a%2Fb/invoke-with-response-stream", Some((CloudVerb::InvokeStream, Some("a/b")))),
            ("/prefix/model/m/count-tokens", Some((CloudVerb::InvokeCount, Some("m")))),
            ("/model/m/converse", None),
            (
                &format!("{google}/claude-x@2025:rawPredict"),
                Some((CloudVerb::Predict, Some("claude-x@2025"))),
            ),
            (&format!("{google}/claude-x:streamRawPredict"), Some((CloudVerb::Predict, Some("claude-x")))),
            (&format!("{google}/count-tokens:rawPredict"), Some((CloudVerb::PredictCount, None))),
            (&format!("{google}/claude-x:predict"), None),
            ("/v1/messages", None),
        ] {
            let expected = expected.map(|(verb, model)| (verb, model.map(str::to_owned)));
            assert_eq!(call(path), expected, "{path}");
        }
    }

    #[test]
    fn answers_call_a_model_by_its_makers_name() {
        for (model, expected) in [
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
            ("eu.anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet-20241022"),
            ("arn:aws:bedrock:e:1:inference-profile/us.anthropic.claude-opus-4-8", "claude-opus-4-8"),
            ("claude-sonnet-4@20250514", "claude-sonnet-4-20250514"),
            ("claude-opus-4-8", "claude-opus-4-8"),
        ] {
            assert_eq!(own_name(model), expected);
        }
    }
}
