//! Calls of Anthropic's API and of Gemini's as Google's Vertex AI takes them: project, region and model are in the path.
//! <https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude>

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value};

use super::bedrock::NotConvertible;
use super::bedrock_errors::kind_by_status;
use super::percent;
use crate::json::edit::with_members;
use crate::json::object::{members, string};

/// What Vertex wants to be told, unless the caller has told it.
const VERSION: &str = "vertex-2023-10-16";

/// Where calls are made.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub project: &'a str,
    /// A region, `global`, or one of the groups of regions `us` and `eu`.
    pub region: &'a str,
}

/// A call as Vertex takes it; it is a POST, with the caller's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexCall {
    pub path: String,
    pub body: Bytes,
}

/// The base URL of a region.
#[must_use]
pub fn base_url(region: &str) -> String {
    match region {
        "global" => "https://aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("https://aiplatform.{region}.rep.googleapis.com"),
        _ => format!("https://{region}-aiplatform.googleapis.com"),
    }
}

/// A call of Anthropic's API. `model` is Vertex' name for the model; what the body names does not count.
///
/// # Errors
/// [`NotConvertible`].
pub fn anthropic_call(
    path: &str,
    body: &[u8],
    model: &str,
    place: Place<'_>,
) -> Result<VertexCall, NotConvertible> {
    let is_count = match path {
        "/v1/messages" => false,
        "/v1/messages/count_tokens" => true,
        _ => return Err(NotConvertible::Path),
    };
    let (mut has_version, mut is_stream, mut names_model) = (false, false, false);
    members(body, 0, |key, value| {
        let value = body.get(value).unwrap_or_default();
        match key {
            b"anthropic_version" => has_version = true,
            b"stream" => is_stream = value == b"true",
            b"model" => names_model = string(value).is_some_and(|named| named == model),
            _ => {}
        }
    });
    let version = (!has_version).then(|| format!(r#""anthropic_version":"{VERSION}""#));
    // The path of a count names no model.
    let named = (is_count && !names_model).then(|| format!(r#""model":{}"#, Value::from(model)));
    let keeps_model = is_count && names_model;
    let added: Vec<String> = version.into_iter().chain(named).collect();
    let body = with_members(body, |key| key == b"model" && !keeps_model, &added.join(","));
    let body = body.ok_or(NotConvertible::Body)?;
    let call = match (is_count, is_stream) {
        (true, _) => "count-tokens:rawPredict".to_owned(),
        (false, true) => format!("{}:streamRawPredict", segment(model)?),
        (false, false) => format!("{}:rawPredict", segment(model)?),
    };
    Ok(VertexCall { path: published(place, "anthropic", &call)?, body })
}

/// The path of a call of Gemini's API, `/v1beta/models/NAME:VERB`, at Vertex. The body, the query and the answer are the
/// same there. `model` is Vertex' name for the model.
///
/// # Errors
/// [`NotConvertible`].
pub fn gemini_path(path: &str, model: &str, place: Place<'_>) -> Result<String, NotConvertible> {
    let called = ["/v1beta/models/", "/v1/models/", "/v1alpha/models/"]
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix)?.split_once(':'));
    let Some((_, verb)) = called.filter(|(name, verb)| is_name(name) && is_verb(verb)) else {
        return Err(NotConvertible::Path);
    };
    published(place, "google", &format!("{}:{verb}", segment(model)?))
}

/// The body of a count of tokens, which has at the top there what `generateContentRequest` holds otherwise; `None` where
/// it is the same.
#[must_use]
pub fn gemini_count(path: &str, body: &[u8]) -> Option<Bytes> {
    const COUNTED: [&str; 4] = ["contents", "systemInstruction", "tools", "generationConfig"];
    if !path.ends_with(":countTokens") {
        return None;
    }
    let mut body: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let Value::Object(mut request) = body.shift_remove("generateContentRequest")? else { return None };
    request.retain(|name, _| COUNTED.contains(&name.as_str()));
    Some(Value::Object(request).to_string().into())
}

/// An error of Google's in the words of Anthropic's API; `None` where those of Anthropic's own are passed on.
#[must_use]
pub fn anthropic_error(status: StatusCode, body: &[u8]) -> Option<Bytes> {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    // Errors of streams come in a list.
    let answer = answer.as_ref().map(|answer| answer.get(0).unwrap_or(answer));
    if answer.is_some_and(|answer| answer.get("type").is_some()) {
        return None;
    }
    let told = answer.and_then(|answer| answer.get("error")?.get("message")?.as_str());
    let fallback = format!("Vertex AI answered {status}");
    let message = Value::from(told.unwrap_or(&fallback));
    let kind = kind_by_status(u64::from(status.as_u16())).unwrap_or("api_error");
    Some(Bytes::from(format!(r#"{{"type":"error","error":{{"type":"{kind}","message":{message}}}}}"#)))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}

fn is_verb(verb: &str) -> bool {
    !verb.is_empty() && verb.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn published(place: Place<'_>, publisher: &str, call: &str) -> Result<String, NotConvertible> {
    let (project, region) = (segment(place.project)?, segment(place.region)?);
    Ok(format!("/v1/projects/{project}/locations/{region}/publishers/{publisher}/models/{call}"))
}

/// A name as one segment of a path; versions of models are divided from their names by an `@`.
fn segment(name: &str) -> Result<String, NotConvertible> {
    if matches!(name, "" | "." | "..") {
        return Err(NotConvertible::Model);
    }
    Ok(percent::encode(name.as_bytes(), b"@"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { project: "p-1", region: "europe-west1" };

    fn anthropic(path: &str, body: &str, model: &str) -> Result<(String, String), NotConvertible> {
        let call = anthropic_call(path, body.as_bytes(), model, PLACE)?;
        Ok((call.path, String::from_utf8(call.body.to_vec()).expect("text")))
    }

    #[test]
    fn a_message_is_predicted_with_its_model_in_the_path() {
        let below = "/v1/projects/p-1/locations/europe-west1/publishers/anthropic/models";
        for (path, body, expected_path, expected_body) in [
            (
                "/v1/messages",
                r#"{"model":"m","stream": true,"x":1.0}"#,
                "claude-sonnet-4@20250514:streamRawPredict",
                r#"{"anthropic_version":"vertex-2023-10-16","stream": true,"x":1.0}"#,
            ),
            (
                "/v1/messages",
                r#"{"anthropic_version":"v","model":"m"}"#,
                "claude-sonnet-4@20250514:rawPredict",
                r#"{"anthropic_version":"v"}"#,
            ),
            (
                "/v1/messages/count_tokens",
                r#"{"model":"claude-sonnet-4@20250514","messages":[]}"#,
                "count-tokens:rawPredict",
                r#"{"anthropic_version":"vertex-2023-10-16","model":"claude-sonnet-4@20250514","messages":[]}"#,
            ),
            (
                "/v1/messages/count_tokens",
                r#"{"anthropic_version":"v","model":"m","messages":[]}"#,
                "count-tokens:rawPredict",
                r#"{"model":"claude-sonnet-4@20250514","anthropic_version":"v","messages":[]}"#,
            ),
        ] {
            let expected = (format!("{below}/{expected_path}"), expected_body.to_owned());
            assert_eq!(anthropic(path, body, "claude-sonnet-4@20250514"), Ok(expected), "{path} {body}");
        }
        assert_eq!(anthropic("/v1/messages/batches", "{}", "m"), Err(NotConvertible::Path));
        assert_eq!(anthropic("/v1/messages", "7", "m"), Err(NotConvertible::Body));
        assert_eq!(anthropic("/v1/messages", "{}", ".."), Err(NotConvertible::Model));
        assert_eq!(
            anthropic("/v1/messages", "{}", "a/b").expect("a call").0,
            format!("{below}/a%2Fb:rawPredict")
        );
    }

    #[test]
    fn what_is_counted_is_at_the_top() {
        let path = "/v1beta/models/gemini-2.5-pro:countTokens";
        let body =
            br#"{"generateContentRequest":{"model":"models/g","contents":[1],"tools":[2],"toolConfig":{}}}"#;
        assert_eq!(gemini_count(path, body).as_deref(), Some(&br#"{"contents":[1],"tools":[2]}"#[..]));
        assert_eq!(gemini_count(path, br#"{"contents":[1]}"#), None);
        assert_eq!(gemini_count("/v1beta/models/gemini-2.5-pro:generateContent", body), None);
    }

    #[test]
    fn gemini_is_published_by_google() {
        let below = "/v1/projects/p-1/locations/europe-west1/publishers/google/models";
        for verb in ["generateContent", "streamGenerateContent", "countTokens"] {
            let path = format!("/v1beta/models/gemini-2.5-pro:{verb}");
            let expected = format!("{below}/gemini-2.5-pro-001:{verb}");
            assert_eq!(gemini_path(&path, "gemini-2.5-pro-001", PLACE), Ok(expected));
        }
        for path in [
            "/v1beta/models",
            "/v1beta/models/m",
            "/v1beta/files/f:x",
            "/v1beta/models/a/b:x",
            "/v1beta/models/m:x/y",
        ] {
            assert_eq!(gemini_path(path, "m", PLACE), Err(NotConvertible::Path), "{path}");
        }
    }

    #[test]
    fn errors_of_google_are_told_in_anthropics_words_and_those_of_anthropic_stay() {
        for (status, body, expected) in [
            (
                429,
                r#"{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED"}}"#,
                Some(r#"{"type":"error","error":{"type":"rate_limit_error","message":"Quota exceeded"}}"#),
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"say \"x\""}}]"#,
                Some(r#"{"type":"error","error":{"type":"invalid_request_error","message":"say \"x\""}}"#),
            ),
            (
                500,
                "<html>",
                Some(
                    r#"{"type":"error","error":{"type":"api_error","message":"Vertex AI answered 500 Internal Server Error"}}"#,
                ),
            ),
            (400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"m"}}"#, None),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(
                anthropic_error(status, body.as_bytes()).as_deref(),
                expected.map(str::as_bytes),
                "{body}"
            );
        }
    }

    #[test]
    fn each_region_has_its_address() {
        for (region, expected) in [
            ("us-east5", "https://us-east5-aiplatform.googleapis.com"),
            ("global", "https://aiplatform.googleapis.com"),
            ("eu", "https://aiplatform.eu.rep.googleapis.com"),
        ] {
            assert_eq!(base_url(region), expected);
        }
    }
}
