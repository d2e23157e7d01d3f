//! A line for each call that is in the books.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ask, message};
use crate::harness::{Mock, Node, Setup, until};

/// The lines of calls.
fn lines(node: &Node) -> Vec<Value> {
    let log = node.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == json!("sproxy::call")).collect()
}

/// Changes the configuration, and has it taken over.
async fn take_over(node: &Node, from: &str, to: &str) {
    let file = node.directory().join("sproxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
    node.post("/admin/v1/reload", json!({})).await;
}

async fn line_of(node: &Node, id: &str) -> Value {
    until("the line of a call", async || {
        lines(node).into_iter().find(|line| line["fields"]["request_id"] == json!(id))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_has_one_line_that_says_what_its_row_says() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).section("log", "level = \"info\"").start().await;
    node.post("/admin/v1/groups", json!({ "name": "devs" })).await;
    node.post("/admin/v1/users", json!({ "name": "alice", "group": "devs" })).await;
    let key = node.key_of("alice").await;
    let session = [("x-claude-code-session-id", "session-1")];
    let answers = [
        ask(&node, &key, &session).await,
        node.ask(&key, "/v1/messages", &[], &message("claude-haiku-4-5", true)).await,
        node.ask(&key, "/v1/chat/completions", &[], &message("nobody-serves/this model", false)).await,
    ];
    for answer in &answers {
        let (row, line) = (node.usage_of(answer).await, line_of(&node, &answer.id).await);
        let said = &line["fields"];
        assert_eq!((&said["message"], &line["level"]), (&json!("call"), &json!("INFO")));
        for field in [
            "user",
            "group",
            "provider",
            "target",
            "outcome",
            "duration_ms",
            "input_tokens",
            "output_tokens",
            "cost_nanousd",
            "token_source",
        ] {
            assert_eq!(said[field], row[field], "{field} of {said} and {row}");
        }
        for (field, column) in [("status", "status_code"), ("stream", "is_streaming")] {
            assert_eq!(said[field], row[column], "{field} of {said} and {row}");
        }
    }
    let said = line_of(&node, &answers[0].id).await;
    assert_eq!(
        (&said["fields"]["model"], &said["fields"]["session"]),
        (&json!("claude-sonnet-4-5"), &json!("session-1"))
    );
    let said = line_of(&node, &answers[2].id).await;
    assert_eq!(
        said["fields"]["model"],
        json!("other"),
        "what does not look like a name is not shown: {said}"
    );
    assert_eq!(lines(&node).len(), 3, "{:?}", lines(&node));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_is_in_the_books_has_a_line_and_a_stranger_has_none() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).section("log", "level = \"info\"").start().await;
    let key = node.user_with_key("alice").await;
    node.call(Method::PATCH, "/admin/v1/users/alice", Some(json!({ "rpm": 0 }))).await;
    let refused = until("the limit holds", async || {
        Some(ask(&node, &key, &[]).await).filter(|answer| answer.status == 429)
    })
    .await;
    let line = line_of(&node, &refused.id).await;
    assert_eq!((&line["fields"]["outcome"], &line["fields"]["status"]), (&json!("refused"), &json!(429)));
    let before = lines(&node).len();
    assert_eq!(ask(&node, "sk-sp-nobody", &[]).await.status, 401);
    let last = ask(&node, &key, &[]).await;
    line_of(&node, &last.id).await;
    assert_eq!(lines(&node).len(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_turned_off_and_levels_changed_while_the_node_runs() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).section("log", "level = \"info\"").start().await;
    let key = node.user_with_key("alice").await;
    let answer = ask(&node, &key, &[]).await;
    line_of(&node, &answer.id).await;
    take_over(&node, "level = \"info\"", "level = \"debug\"\nrequests = false").await;
    assert_eq!(ask(&node, &key, &[]).await.status, 200);
    assert_eq!(ask(&node, "sk-sp-nobody", &[]).await.status, 401);
    until("the level holds", async || node.log().contains("\"DEBUG\"").then_some(())).await;
    assert_eq!(lines(&node).len(), 1);
    let quiet = "level = \"warn,sproxy::call=info\"";
    take_over(&node, "level = \"debug\"\nrequests = false", quiet).await;
    let answer = ask(&node, &key, &[]).await;
    line_of(&node, &answer.id).await;
}
