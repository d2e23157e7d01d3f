//! The response headers that providers send and clients look at.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::provider::Provider;

/// Seconds after which a caller may come back, where an error says so.
const RETRY_AFTER: &str = "1";

/// Adds what `dialect` sends with answer `number`; `status`: the error, if it is one.
pub fn insert(headers: &mut HeaderMap, dialect: Provider, status: Option<u16>, number: u64) {
    let (fixed, id_name, id_prefix) = match dialect {
        Provider::Anthropic => (ANTHROPIC, "request-id", "req_011CMock"),
        Provider::Openai => (OPENAI, "x-request-id", "req_mock"),
        Provider::Gemini => (GEMINI, "x-mock-request-id", "gemini-"),
        Provider::Ollama => return,
    };
    for &(name, value) in fixed {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(&format!("{id_prefix}{number:012x}")) {
        headers.insert(HeaderName::from_static(id_name), id);
    }
    if matches!(status, Some(429 | 503 | 529)) {
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
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
