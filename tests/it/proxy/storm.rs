//! The official SDKs notice nothing of a provider's bad day while another target is well, the books say all of it, and
//! when nobody is well they are given the provider's own words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::harness::{Mock, Node, Setup, python_with, run_script, until};

/// Two targets of every dialect: `a` is asked first, and `b` where `a` fails.
fn targets(a: &Mock, b: &Mock) -> String {
    let mut text = String::new();
    for dialect in ["anthropic", "openai", "gemini", "ollama"] {
        for (name, mock, tier) in [("a", a, 0), ("b", b, 1)] {
            let url = mock.url();
            writeln!(
                text,
                "[[targets]]\nname = \"{dialect}-{name}\"\nprovider = \"{dialect}\"\nurl = \"{url}\"\napi_key = \"k-{name}\"\ntier = {tier}"
            )
            .unwrap();
        }
    }
    text
}

/// What `a` does, call after call, and the reasons for which its attempts are booked as failed. A good answer in between
/// keeps it from being ejected. The SDKs' streams are every other call: with an odd number of steps each falls on both.
fn bad_day(sdk: &str) -> Vec<(Value, Option<&'static str>)> {
    let good = || (json!({}), None);
    let error_event = |after: usize| {
        let event = json!({ "fail": "error-event", "after": after, "status": 503 });
        (event, Some("error_event"))
    };
    let mut day = vec![
        (json!({ "status": 529 }), Some("overloaded")),
        (json!({ "status": 503, "headers": { "retry-after": "now+20s" } }), Some("overloaded")),
        good(),
        (json!({ "status": 429, "headers": { "retry-after": "7" } }), Some("rate_limited")),
        (json!({ "fail": "reset" }), Some("cut")),
        good(),
        (
            json!({ "status": 429, "headers": { "retry-after": null, "retry-after-ms": "1" } }),
            Some("rate_limited"),
        ),
        (json!({ "fail": "before-headers" }), Some("cut")),
        good(),
        (json!({ "fail": "close-unread" }), Some("cut")),
        (json!({ "fail": "close-after" }), None),
    ];
    // Ollama has no word for an overload in a stream, and Gemini's first event is content.
    match sdk {
        "ollama" => {}
        "gemini" => day.extend([good(), error_event(0), good(), error_event(0), good(), good()]),
        _ => day.extend([good(), error_event(0), good(), error_event(1), good(), good()]),
    }
    day
}

/// The reasons of all failed attempts, with their numbers.
fn reasons(rows: &[Value]) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for attempt in rows.iter().flat_map(|row| row["attempts"].as_array().expect("attempts")) {
        *reasons.entry(attempt["reason"].as_str().expect("a reason").to_owned()).or_default() += 1;
    }
    reasons
}

/// What both have served: requests, input, output, errors.
async fn served(mocks: [&Mock; 2]) -> [u64; 4] {
    let mut sums = [0; 4];
    for mock in mocks {
        for model in mock.served().await.as_object().expect("models").values() {
            for (sum, name) in sums.iter_mut().zip(["requests", "input", "output", "errors"]) {
                *sum += model[name].as_u64().expect("a number");
            }
        }
    }
    sums
}

/// Rounds of the bad day.
const ROUNDS: usize = 5;

async fn rides_out(sdk: &str, module: &str) {
    let Some(python) = python_with(module).await else { return };
    let (a, b) = (Mock::start().await, Mock::start().await);
    let node = Setup::with_targets(&targets(&a, &b));
    let node = node.section("upstream", "retry_uncertain = true\nretry_ratio = 1.0").start().await;
    let key = node.user_with_key("developer").await;
    let day: Vec<_> = (0..ROUNDS).flat_map(|_| bad_day(sdk)).collect();
    let steps: Vec<Value> = day.iter().map(|(step, _)| step.clone()).collect();
    a.script(&steps).await;
    let count = day.len().to_string();
    let used = run_script(&python, "storm.py", &["ride", sdk, &node.url(""), &key, &count]).await;

    let sdk_has = ["requests", "input", "output"].map(|name| used[name].as_u64().expect("a number"));
    assert_eq!(sdk_has[0], day.len() as u64);
    let rows = until("every call is booked", async || {
        Some(node.usage().await).filter(|rows| rows.len() == day.len())
    })
    .await;
    assert!(rows.iter().all(|row| row["outcome"] == "ok" && row["status_code"] == 200), "{rows:?}");
    let sum = |name: &str| rows.iter().map(|row| row[name].as_u64().expect("a number")).sum::<u64>();
    assert_eq!([rows.len() as u64, sum("input_tokens"), sum("output_tokens")], sdk_has);
    let [requests, input, output, _] = served([&a, &b]).await;
    assert_eq!([requests, input, output], sdk_has, "what was served is what was received");

    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for (at, reason) in day.iter().enumerate().filter_map(|(at, (_, reason))| Some((at, (*reason)?))) {
        // Where nothing streams, the event is an answer of its own.
        let reason = if reason == "error_event" && at % 2 == 0 { "overloaded" } else { reason };
        *expected.entry(reason.to_owned()).or_default() += 1;
    }
    assert!(a.played().await.iter().all(|played| *played == 1), "the whole day was played");
    assert_eq!(reasons(&rows), expected);
}

#[tokio::test]
async fn the_anthropic_sdk_rides_out_a_storm() {
    rides_out("anthropic", "anthropic").await;
}

#[tokio::test]
async fn the_openai_sdk_rides_out_a_storm() {
    rides_out("openai", "openai").await;
}

#[tokio::test]
async fn the_gemini_sdk_rides_out_a_storm() {
    rides_out("gemini", "google.genai").await;
}

#[tokio::test]
async fn the_ollama_sdk_rides_out_a_storm() {
    rides_out("ollama", "ollama").await;
}

#[tokio::test]
async fn what_was_not_processed_over_http2_is_sent_once_more_and_then_elsewhere() {
    let (a, b) = (Mock::start().await, Mock::start().await);
    let text = targets(&a, &b).replace("tier =", "http2_only = true\ntier =");
    let node = Setup::with_targets(&text).start().await;
    let key = node.user_with_key("developer").await;
    let (refused, goaway, good) =
        (json!({ "fail": "refused-stream" }), json!({ "fail": "goaway" }), json!({}));
    let day = [
        vec![&refused, &good],
        vec![&goaway, &good],
        vec![&refused, &refused],
        vec![&good],
        vec![&goaway, &goaway],
        vec![&good],
        vec![&goaway, &refused],
        vec![&good],
    ];
    a.script(&day.concat().into_iter().cloned().collect::<Vec<_>>()).await;
    for (at, steps) in day.iter().enumerate() {
        let body =
            json!({ "model": format!("storm-{at}"), "max_tokens": 9, "stream": at % 2 == 0, "messages": [] });
        // A conversation stays where it has moved to.
        let session = at.to_string();
        let answer = node.ask(&key, "/v1/messages", &[("x-session-id", &session)], &body).await;
        let moved = *steps.last().expect("a step") != &good;
        let target = if moved { "anthropic-b" } else { "anthropic-a" };
        assert_eq!((answer.status, answer.header("x-sproxy-target")), (200, target), "{at}");
        let attempts = &node.usage_of(&answer).await["attempts"];
        let reasons: Vec<_> = attempts.as_array().expect("a list").iter().map(|one| &one["reason"]).collect();
        assert_eq!(reasons, vec!["not_processed"; usize::from(moved)], "{at}");
    }
    assert!(a.played().await.iter().all(|played| *played == 1));
    let [requests, _, _, errors] = served([&a, &b]).await;
    assert_eq!((requests, errors), (day.len() as u64, 0));
}

/// An error in the words of a provider, with more in it than the gateway would say.
fn own_words(sdk: &str, name: &str) -> Value {
    let message = format!("own words of {name}, naïve \"quotes\"");
    match sdk {
        "anthropic" => json!({
            "type": "error", "error": { "type": "overloaded_error", "message": message, "details": { "odd": [1, null] } },
            "request_id": "req_own"
        }),
        "openai" => {
            json!({ "error": { "message": message, "type": "odd", "param": null, "code": "own_code", "odd": 1.5 } })
        }
        "gemini" => {
            json!({ "error": { "code": 529, "message": message, "status": "ODD", "details": [{ "odd": true }] } })
        }
        _ => json!({ "error": message }),
    }
}

/// All targets refuse every call.
async fn is_given_the_providers_words(sdk: &str, module: &str) {
    let Some(python) = python_with(module).await else { return };
    let (a, b) = (Mock::start().await, Mock::start().await);
    let node = Setup::with_targets(&targets(&a, &b)).start().await;
    let key = node.user_with_key("developer").await;
    for status in [429, 503, 529] {
        for (name, mock) in [("a", &a), ("b", &b)] {
            let step = json!({ "times": 100, "status": status, "body": own_words(sdk, name), "headers": { "retry-after": "7" } });
            mock.script(&[step]).await;
        }
        let (status, model) = (status.to_string(), format!("down-{status}"));
        let words = own_words(sdk, "b").to_string();
        let arguments = ["words", sdk, &node.url(""), &key, &model, &status, &words];
        let calls = run_script(&python, "storm.py", &arguments).await["calls"].as_u64().expect("a number");
        assert_eq!((a.played().await, b.played().await), (vec![calls], vec![calls]));
    }
    assert_words_untouched(&node, &key, sdk).await;
    let rows = node.usage().await;
    assert!(
        rows.iter().all(|row| row["outcome"] == "upstream_error" && row["input_tokens"] == 0),
        "{rows:?}"
    );
    let [requests, _, _, errors] = served([&a, &b]).await;
    let attempts = reasons(&rows).values().sum::<usize>() + rows.len();
    assert_eq!((requests, errors), (0, attempts as u64));
}

/// The SDKs parse what they get; this sees the bytes.
async fn assert_words_untouched(node: &Node, key: &str, sdk: &str) {
    let (path, body) = match sdk {
        "anthropic" => ("/v1/messages", json!({ "model": "down-bytes", "max_tokens": 1, "messages": [] })),
        "openai" => ("/v1/responses", json!({ "model": "down-bytes", "input": "x" })),
        "gemini" => ("/v1beta/models/down-bytes:generateContent", json!({ "contents": [] })),
        _ => ("/api/chat", json!({ "model": "down-bytes", "messages": [] })),
    };
    let answer = node.ask(key, path, &[], &body).await;
    assert_eq!((answer.status, answer.header("retry-after")), (529, "7"));
    assert_eq!(answer.text(), own_words(sdk, "b").to_string());
    assert_eq!(answer.header("x-sproxy-target"), format!("{sdk}-b"));
}

#[tokio::test]
async fn the_anthropic_sdk_is_given_the_providers_words_when_all_are_down() {
    is_given_the_providers_words("anthropic", "anthropic").await;
}

#[tokio::test]
async fn the_openai_sdk_is_given_the_providers_words_when_all_are_down() {
    is_given_the_providers_words("openai", "openai").await;
}

#[tokio::test]
async fn the_gemini_sdk_is_given_the_providers_words_when_all_are_down() {
    is_given_the_providers_words("gemini", "google.genai").await;
}

#[tokio::test]
async fn the_ollama_sdk_is_given_the_providers_words_when_all_are_down() {
    is_given_the_providers_words("ollama", "ollama").await;
}
