//! Calls of Anthropic's API as AWS Bedrock takes them.
//!
//! Bedrock speaks Anthropic's own API below `/anthropic` ([`base_url`]), where nothing but the credential differs. Older
//! models and regions have only `InvokeModel`: the model is in the path, what Anthropic has in headers is in the body,
//! and streams come in frames ([`bedrock_events`](super::bedrock_events)).
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::percent;
use crate::json::edit::with_members;
use crate::json::object::{members, number};

/// What `InvokeModel` wants to be told, unless the caller has told it.
const VERSION: &str = "bedrock-2023-05-31";
pub const BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// Which API of Bedrock a target speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `InvokeModel` and its neighbours.
    Invoke,
    /// Anthropic's Messages.
    Messages,
    /// Anthropic's Messages at the newer endpoint, which signs under a name of its own.
    Mantle,
}

/// The name that signatures for a host are made under.
#[must_use]
pub fn service(host: &str) -> &'static str {
    if host.contains("bedrock-mantle.") { "bedrock-mantle" } else { "bedrock" }
}

/// The base URL in a region.
#[must_use]
pub fn base_url(api: Api, region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    match api {
        Api::Invoke => format!("https://bedrock-runtime.{region}.{domain}"),
        Api::Messages => format!("https://bedrock-runtime.{region}.{domain}/anthropic"),
        Api::Mantle => format!("https://bedrock-mantle.{region}.api.aws/anthropic"),
    }
}

/// A call as `InvokeModel` takes it; it is a POST. The headers of [`HEADERS_IN_BODY`] do not go along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvokeCall {
    pub path: String,
    pub body: Bytes,
    pub answer: InvokeAnswer,
}

/// Headers of Anthropic's API that `InvokeModel` has in the body.
pub static HEADERS_IN_BODY: [HeaderName; 2] = [BETA, HeaderName::from_static("anthropic-version")];

/// How a good answer has to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvokeAnswer {
    /// It is Anthropic's.
    Message,
    /// [`AnthropicEvents`](super::bedrock_events::AnthropicEvents).
    Events,
    /// [`count_answer`].
    TokenCount,
}

/// Why a call cannot be made at a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotConvertible {
    #[error("this cloud has no such call")]
    Path,
    #[error("the body has to be a JSON object")]
    Body,
    #[error("the model's name cannot be part of a path")]
    Model,
}

/// A call of Anthropic's API as one of `InvokeModel` or `CountTokens`. `model` is Bedrock's name for the model, or an
/// ARN; what the body names does not count. `headers` are the caller's.
///
/// # Errors
/// [`NotConvertible`].
pub fn invoke_call(
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
    model: &str,
) -> Result<InvokeCall, NotConvertible> {
    let is_count = match path {
        "/v1/messages" => false,
        "/v1/messages/count_tokens" => true,
        _ => return Err(NotConvertible::Path),
    };
    let read = BodyKeys::read(body);
    let mut added = vec![];
    if !read.has_version {
        added.push(format!(r#""anthropic_version":"{VERSION}""#));
    }
    let betas = betas(headers);
    if !read.has_betas && !betas.is_empty() {
        added.push(format!(r#""anthropic_beta":{}"#, Value::from(betas)));
    }
    if is_count && read.max_tokens.is_none() {
        // Anthropic's own count wants no limit, but here a body has to be one that could be invoked: with a limit above
        // what may be thought.
        added.push(format!(r#""max_tokens":{}"#, read.thinking_budget.saturating_add(1)));
    }
    let is_removed = |key: &[u8]| matches!(key, b"model" | b"stream");
    let body = with_members(body, is_removed, &added.join(",")).ok_or(NotConvertible::Body)?;
    if is_count {
        let path = format!("/model/{}/count-tokens", segment(base_model(model))?);
        let body = format!(r#"{{"input":{{"invokeModel":{{"body":"{}"}}}}}}"#, STANDARD.encode(&body));
        return Ok(InvokeCall { path, body: Bytes::from(body), answer: InvokeAnswer::TokenCount });
    }
    let (verb, answer) = if read.is_stream {
        ("invoke-with-response-stream", InvokeAnswer::Events)
    } else {
        ("invoke", InvokeAnswer::Message)
    };
    Ok(InvokeCall { path: format!("/model/{}/{verb}", segment(model)?), body, answer })
}

/// The answer of `CountTokens` as Anthropic's; `None` if it is none.
#[must_use]
pub fn count_answer(body: &[u8]) -> Option<Bytes> {
    let mut tokens = None;
    members(body, 0, |key, value| {
        if key == b"inputTokens" {
            tokens = body.get(value).and_then(number);
        }
    })?;
    Some(Bytes::from(format!(r#"{{"input_tokens":{}}}"#, tokens?)))
}

/// What has to be known of a body.
#[derive(Default)]
struct BodyKeys {
    has_version: bool,
    has_betas: bool,
    is_stream: bool,
    max_tokens: Option<Range<usize>>,
    thinking_budget: u64,
}

impl BodyKeys {
    fn read(body: &[u8]) -> Self {
        let mut read = Self::default();
        members(body, 0, |key, value| match key {
            b"anthropic_version" => read.has_version = true,
            b"anthropic_beta" => read.has_betas = true,
            b"max_tokens" => read.max_tokens = Some(value),
            b"stream" => read.is_stream = body.get(value) == Some(b"true"),
            b"thinking" => {
                let thinking = body.get(value).unwrap_or_default();
                members(thinking, 0, |key, value| {
                    if key == b"budget_tokens" {
                        read.thinking_budget = thinking.get(value).and_then(number).unwrap_or(0);
                    }
                });
            }
            _ => {}
        });
        read
    }
}

/// The names in the `anthropic-beta` headers.
#[must_use]
pub fn betas(headers: &HeaderMap) -> Vec<&str> {
    let lists = headers.get_all(BETA).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|beta| !beta.is_empty()).collect()
}

/// Tokens are counted by models, and not by the inference profiles that send a call to one of several regions: of
/// `eu.anthropic.claude…`, or of its ARN, only what the profile is about is left.
fn base_model(model: &str) -> &str {
    let profile = model.split_once(":inference-profile/").map_or(model, |(_, profile)| profile);
    match profile.split_once('.') {
        Some((regions, base)) if base.starts_with("anthropic.") && !regions.contains([':', '/']) => base,
        _ => model,
    }
}

/// A name as one segment of a path.
fn segment(name: &str) -> Result<String, NotConvertible> {
    if matches!(name, "" | "." | "..") {
        return Err(NotConvertible::Model);
    }
    Ok(percent::encode(name.as_bytes(), b""))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn call(
        path: &str,
        betas: &[&'static str],
        body: &str,
        model: &str,
    ) -> Result<(String, String), NotConvertible> {
        let mut headers = HeaderMap::new();
        for beta in betas {
            headers.append(BETA, HeaderValue::from_static(beta));
        }
        let call = invoke_call(path, &headers, body.as_bytes(), model)?;
        Ok((call.path, String::from_utf8(call.body.to_vec()).expect("text")))
    }

    #[test]
    fn a_message_is_invoked_with_its_body_byte_for_byte_but_for_what_moves() {
        let model = "anthropic.claude-sonnet-4-5-20250929-v1:0";
        let (path, body) = call(
            "/v1/messages",
            &["a-1, b-2", "c-3,"],
            r#"{"model":"claude-sonnet-4-5","max_tokens":1e2,"z": 1.0, "a":"\u00e9","stream":true}"#,
            model,
        )
        .expect("a call");
        assert_eq!(path, "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream");
        let expected = r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["a-1","b-2","c-3"],"max_tokens":1e2,"z": 1.0, "a":"\u00e9"}"#;
        assert_eq!(body, expected);
        let own = r#"{"anthropic_version":"v","anthropic_beta":[],"stream":false,"messages":[]}"#;
        let arn = "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude";
        let (path, body) = call("/v1/messages", &["x"], own, arn).expect("a call");
        assert_eq!(
            path,
            "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Feu.anthropic.claude/invoke"
        );
        assert_eq!(body, r#"{"anthropic_version":"v","anthropic_beta":[],"messages":[]}"#);
    }

    #[test]
    fn tokens_are_counted_by_the_model_itself_and_answered_in_anthropics_words() {
        for (body, within) in [
            (r#"{"model":"m","messages":[]}"#, r#""max_tokens":1,"messages":[]}"#),
            (
                r#"{"model":"m","thinking":{"type":"enabled","budget_tokens":2047}}"#,
                r#""max_tokens":2048,"thinking":{"type":"enabled","budget_tokens":2047}}"#,
            ),
            (r#"{"max_tokens":9}"#, r#""max_tokens":9}"#),
        ] {
            let (path, body) =
                call("/v1/messages/count_tokens", &[], body, "us.anthropic.claude-x").expect("a call");
            assert_eq!(path, "/model/anthropic.claude-x/count-tokens");
            let body: Value = serde_json::from_str(&body).expect("JSON");
            let inner = STANDARD
                .decode(body["input"]["invokeModel"]["body"].as_str().expect("text"))
                .expect("base64");
            let inner = String::from_utf8(inner).expect("text");
            assert_eq!(inner, format!(r#"{{"anthropic_version":"{VERSION}",{within}"#));
        }
        for (model, counted) in [
            ("global.anthropic.claude-x-v1:0", "anthropic.claude-x-v1:0"),
            ("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-x", "anthropic.claude-x"),
            ("anthropic.claude-x", "anthropic.claude-x"),
            (
                "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.x",
                "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.x",
            ),
            (
                "arn:aws:bedrock:e:1:application-inference-profile/a.b",
                "arn:aws:bedrock:e:1:application-inference-profile/a.b",
            ),
        ] {
            assert_eq!(base_model(model), counted);
        }
        assert_eq!(count_answer(br#"{"inputTokens":12}"#).as_deref(), Some(&br#"{"input_tokens":12}"#[..]));
        for body in ["", "{}", r#"{"inputTokens":"x"}"#, r#"{"message":"m"}"#] {
            assert_eq!(count_answer(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn what_has_no_counterpart_is_refused() {
        for (path, body, model, expected) in [
            ("/v1/messages/batches", "{}", "m", NotConvertible::Path),
            ("/v1/messages", "[]", "m", NotConvertible::Body),
            ("/v1/messages", r#"{"a":1"#, "m", NotConvertible::Body),
            ("/v1/messages", "{}", "", NotConvertible::Model),
            ("/v1/messages", "{}", "..", NotConvertible::Model),
        ] {
            assert_eq!(call(path, &[], body, model), Err(expected), "{path} {body} {model}");
        }
    }

    #[test]
    fn each_region_and_api_has_its_address() {
        assert_eq!(base_url(Api::Invoke, "eu-west-1"), "https://bedrock-runtime.eu-west-1.amazonaws.com");
        assert_eq!(
            base_url(Api::Messages, "cn-north-1"),
            "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/anthropic"
        );
        assert_eq!(base_url(Api::Mantle, "us-east-1"), "https://bedrock-mantle.us-east-1.api.aws/anthropic");
    }
}
