//! What callers write, and what nobody may see, comes up in nothing that a node tells: not in the log at any level, not in
//! spans, metrics, exports, errors or files.

use serde_json::json;

use super::collector::Collector;
use crate::harness::{Mock, Setup, until};

/// Stands for a prompt.
const PROMPT: &str = "canary-prompt-5d1e";
/// Stands for a secret that was written where a name belongs.
const MISPLACED: &str = "sk-ant-canary-91c4";
/// A sentence where a name belongs.
const SENTENCE: &str = "a canary sentence 77b2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_caller_wrote_and_no_secret_is_told() {
    let (collector, mock) = (Collector::grpc().await, Mock::start().await);
    let telemetry =
        format!("otlp_endpoint = \"{}\"\nuser_metrics = true\ngenai_metrics = true", collector.url());
    let setup = Setup::with_targets_at(&mock.url())
        .section("telemetry", &telemetry)
        .section("log", "level = \"trace\"")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-collector=canary-collector-key-08aa");
    let node = setup.start().await;
    let key = node.user_with_key("alice").await;
    let mut said = String::new();
    let headers = [
        ("x-claude-code-session-id", SENTENCE),
        ("x-request-id", SENTENCE),
        ("traceparent", SENTENCE),
        ("tracestate", PROMPT),
        ("user-agent", PROMPT),
        ("x-any-header", PROMPT),
    ];
    let body = |model: &str, stream: bool| {
        json!({ "model": model, "max_tokens": 20, "stream": stream, "system": PROMPT,
            "messages": [{ "role": "user", "content": PROMPT }] })
    };
    mock.script(&[
        json!({ "skip": 2, "status": 400, "message": PROMPT }),
        json!({ "fail": "reset", "after": 1 }),
    ])
    .await;
    let mut last = String::new();
    for (model, stream) in [
        ("claude-sonnet-4-5", false),
        ("claude-sonnet-4-5", true),
        (MISPLACED, false),
        (SENTENCE, true),
        ("claude-haiku-4-5", true),
    ] {
        let answer =
            node.ask(&key, &format!("/v1/messages?q={PROMPT}"), &headers, &body(model, stream)).await;
        last.clone_from(&answer.id);
    }
    // Refused by the gateway itself: with a wrong key, and with a body that is none.
    said += &node.ask(MISPLACED, "/v1/messages", &headers, &body("claude-sonnet-4-5", false)).await.text();
    said += &node.ask(&key, "/v1/messages", &headers, &json!(PROMPT)).await.text();
    said += &node.ask(&key, "/nowhere", &headers, &json!(PROMPT)).await.text();
    collector.span_of(&last).await;
    until("the line of the last call", async || {
        node.log().lines().any(|line| line.contains("sproxy::call") && line.contains(&last)).then_some(())
    })
    .await;
    let metrics = node.http.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let targets = node.get("/admin/v1/targets").await.to_string();
    let files: Vec<u8> = std::fs::read_dir(node.data_dir())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name() != "admin.token")
        .filter_map(|entry| std::fs::read(entry.unwrap().path()).ok())
        .flatten()
        .collect();
    let (log, spans) = (node.log(), collector.bytes());
    let upstream = "upstream-secret-anthropic";
    let collector_key = "canary-collector-key-08aa";
    let has = |text: &[u8], word: &str| text.windows(word.len()).any(|window| window == word.as_bytes());
    for (sink, text) in [
        ("the log", log.as_bytes()),
        ("a span", &spans),
        ("a metric", metrics.as_bytes()),
        ("the list of targets", targets.as_bytes()),
        ("an error", said.as_bytes()),
    ] {
        for word in [PROMPT, MISPLACED, SENTENCE, &key, upstream, collector_key] {
            assert!(!has(text, word), "{sink} tells {word}: {}", String::from_utf8_lossy(text));
        }
    }
    // The books have the names as they were written, for whoever may read them, and nothing else.
    for word in [PROMPT, &key, upstream, collector_key] {
        assert!(!has(&files, word), "a file tells {word}");
    }
}
