//! The response headers that providers send and clients look at.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::clock::Timestamp;
use crate::domain::provider::Provider;
use crate::mock::answer_spec::AnswerSpec;
use crate::mock::api::Api;
use crate::mock::errors::{self, ErrorSpec};

/// Seconds after which a caller may come back, where an error says so.
const RETRY_AFTER: &str = "1";

/// Adds what an API sends with answer `number`.
pub fn insert(headers: &mut HeaderMap, api: Api, error: Option<&ErrorSpec>, spec: &AnswerSpec, number: u64) {
    let (fixed, id_name, id_prefix) = match api {
        Api::Own(Provider::Anthropic) => (ANTHROPIC, "request-id", "req_011CMock"),
        Api::Own(Provider::Openai) => (OPENAI, "x-request-id", "req_mock"),
        Api::Own(Provider::Gemini) => (GEMINI, "x-mock-request-id", "gemini-"),
        Api::Own(Provider::Ollama) => return,
        Api::Vertex => (VERTEX, "request-id", "req_vrtx_011CMock"),
        Api::Bedrock => (&[][..], "x-amzn-requestid", "00000000-0000-4000-8000-"),
    };
    for &(name, value) in fixed {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let mut insert = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    insert(id_name, format!("{id_prefix}{number:012x}"));
    match (api, error) {
        (Api::Bedrock, Some(error)) => {
            let uri = "http://internal.amazon.com/coral/com.amazon.bedrock/";
            insert("x-amzn-errortype", format!("{}:{uri}", errors::exception(error)));
        }
        (Api::Bedrock, None) => {
            insert("x-amzn-bedrock-content-type", "application/json".to_owned());
            insert("x-amzn-bedrock-input-token-count", spec.plain_input().to_string());
            insert("x-amzn-bedrock-output-token-count", spec.output.to_string());
            insert("x-amzn-bedrock-cache-read-input-token-count", spec.cache_read.to_string());
            let written = spec.cache_write + spec.cache_write_1h;
            insert("x-amzn-bedrock-cache-write-input-token-count", written.to_string());
        }
        (_, Some(ErrorSpec { status: 429 | 503 | 529, .. })) => {
            headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        _ => {}
    }
}

/// Changes headers as a script says; `None` leaves one out.
pub fn change(headers: &mut HeaderMap, changes: &[(HeaderName, Option<String>)], now: Timestamp) {
    for (name, value) in changes {
        let value = value.as_ref().map(|value| HeaderValue::from_str(&moment(name, value, now)));
        match value {
            Some(Ok(value)) => drop(headers.insert(name, value)),
            Some(Err(_)) | None => drop(headers.remove(name)),
        }
    }
}

/// `now+30s` as a moment, in the form that the header has; anything else is what it is.
fn moment(name: &HeaderName, value: &str, now: Timestamp) -> String {
    let Some(later) = value.strip_prefix("now+").and_then(|later| humantime::parse_duration(later).ok())
    else {
        return value.to_owned();
    };
    let at = now.plus(later);
    if name == http::header::RETRY_AFTER {
        let since = Duration::from_secs(at.as_secs().unsigned_abs());
        return httpdate::fmt_http_date(UNIX_EPOCH + since);
    }
    at.to_string()
}

const ANTHROPIC: &[(&str, &str)] = &[
    ("anthropic-organization-id", "00000000-0000-4000-8000-00000000mock"),
    ("anthropic-ratelimit-requests-limit", "4000"),
    ("anthropic-ratelimit-requests-remaining", "3999"),
    ("anthropic-ratelimit-requests-reset", "2026-12-01T00:00:00Z"),
    ("anthropic-ratelimit-input-tokens-limit", "2000000"),
    ("anthropic-ratelimit-input-tokens-remaining", "2000000"),
    ("anthropic-ratelimit-input-tokens-reset", "2026-12-01T00:00:00Z"),
    ("anthropic-ratelimit-output-tokens-limit", "400000"),
    ("anthropic-ratelimit-output-tokens-remaining", "400000"),
    ("anthropic-ratelimit-output-tokens-reset", "2026-12-01T00:00:00Z"),
    ("cache-control", "no-cache"),
];

const OPENAI: &[(&str, &str)] = &[
    ("openai-organization", "mock"),
    ("openai-processing-ms", "12"),
    ("openai-version", "2020-10-01"),
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("x-ratelimit-limit-tokens", "30000000"),
    ("x-ratelimit-remaining-tokens", "29999990"),
    ("x-ratelimit-reset-tokens", "0s"),
];

const GEMINI: &[(&str, &str)] =
    &[("server-timing", "gfet4t7; dur=12"), ("vary", "Origin, X-Origin, Referer")];

const VERTEX: &[(&str, &str)] =
    &[("x-vertex-ai-llm-request-type", "shared"), ("vary", "Origin, X-Origin, Referer")];
