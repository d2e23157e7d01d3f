//! What errors say: whether one is about a model, and AWS's exceptions in the words of Anthropic's API.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};
use sproxy::cloud::bedrock_errors::{Exception, anthropic_error};
use sproxy::dialect::error_answer::{is_about_model, says_overload};

use super::input::Input;
use super::json::{laid_out, members, parsed};

/// Those of <https://docs.anthropic.com/en/api/errors>.
const KINDS: [&str; 9] = [
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
];
const STATUSES: [Option<u16>; 12] = [
    None,
    Some(400),
    Some(401),
    Some(403),
    Some(404),
    Some(408),
    Some(413),
    Some(424),
    Some(429),
    Some(500),
    Some(503),
    Some(529),
];

/// A letter for the status, a line with the exception's name, and the body.
pub fn check(input: &[u8]) {
    let mut input = Input::new(input);
    let status = input.choice(&STATUSES);
    let name = input.text_line();
    let body = input.rest();
    let about_model = is_about_model(body);
    if let Some(document) = parsed(body) {
        assert_eq!(is_about_model(document.to_string().as_bytes()), about_model, "written anew");
        assert_eq!(is_about_model(&laid_out(body)), about_model, "laid out in another way");
    } else {
        assert!(!about_model, "what is no JSON says nothing");
    }
    quoted_says_nothing(&String::from_utf8_lossy(body));
    exception(&name, status, body);
}

/// A caller's own words, which an error quotes, make it no error about a model, and none about load.
fn quoted_says_nothing(words: &str) {
    for error in [
        json!({ "type": "error", "error": { "type": "not_found_error", "message": format!("File not found: {words}") } }),
        json!({ "error": { "message": format!("No such file: {words}"), "type": "invalid_request_error", "code": null } }),
        json!({ "error": { "code": 404, "message": format!("cachedContents/{words}"), "status": "NOT_FOUND" } }),
        json!({ "error": format!("file {words}") }),
    ] {
        assert!(!is_about_model(error.to_string().as_bytes()), "{error}");
    }
    let is_overload = says_overload(words.as_bytes());
    assert_eq!(says_overload(format!("data: {words}\n\n").as_bytes()), is_overload);
}

fn exception(name: &str, status: Option<u16>, body: &[u8]) {
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let told = anthropic_error(&Exception { name, status, body });
    let error: Value = serde_json::from_slice(&told).expect("an error is JSON");
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(keys(&error), BTreeSet::from(["type".to_owned(), "error".to_owned()]));
    assert_eq!(keys(&error["error"]), BTreeSet::from(["type".to_owned(), "message".to_owned()]));
    assert_eq!(error["type"], "error");
    let kind = error["error"]["type"].as_str().expect("a text");
    assert!(KINDS.contains(&kind), "{kind}");
    let message = error["error"]["message"].as_str().expect("a text");
    assert!(!message.is_empty(), "an error says something");
    if let Some(members) = members(body) {
        let texts = |wanted: &[&str]| {
            let texts = members.iter().filter(|(key, _)| wanted.contains(&key.as_str()));
            texts.filter_map(|(_, value)| value.as_str()).filter(|text| !text.is_empty()).collect::<Vec<_>>()
        };
        let original = texts(&["originalMessage"]).last().copied();
        if let Some(expected) = original.or(texts(&["message", "Message"]).first().copied()) {
            assert_eq!(message, expected);
        }
    }
}
