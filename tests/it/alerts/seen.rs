//! What calls show: answers without figures, models without a price, and what a day came to.

use serde_json::{Value, json};
use sproxy::domain::clock::{Clock, SystemClock};

use super::{alerts_at, ask, setup, spend, user};
use crate::harness::{Mock, Receiver, Scripted, Setup, until};
use crate::quota::clock::Offset;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_cannot_be_metered_are_told_with_their_number_and_not_with_what_they_say() {
    let (provider, receiver) = (Scripted::start().await, Receiver::start().await);
    let node = Setup::with_targets_at(&provider.url()).and_file(&alerts_at(&receiver, "")).start().await;
    let key = user(&node, "alice", json!({})).await;
    provider.answer_json("canary-answer-44d7 is no JSON");
    assert_eq!(ask(&node, &key, 10).await.status, 200);
    let told = receiver.sent("unmetered", "anthropic").await.json();
    let details = json!({ "target": "anthropic", "model": "claude-sonnet-4-5", "count": 1 });
    assert_eq!((&told["details"], &told["severity"]), (&details, &json!("warning")), "{told}");
    // Once an hour.
    for _ in 0..2 {
        provider.answer_json("canary-answer-44d7 is no JSON");
        assert_eq!(ask(&node, &key, 10).await.status, 200);
    }
    spend_without(&provider, &node).await;
    receiver.sent("quota.spent", "bob").await;
    assert_eq!(receiver.of("unmetered", "anthropic").len(), 1);
    assert!(!receiver.deliveries().iter().any(|one| String::from_utf8_lossy(&one.body).contains("canary")));
}

/// The daily tokens of bob are used up by an answer that says so.
async fn spend_without(provider: &Scripted, node: &crate::harness::Node) {
    let key = user(node, "bob", json!({ "daily_tokens": 100 })).await;
    let answer = json!({ "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [],
        "stop_reason": "end_turn", "usage": { "input_tokens": 99, "output_tokens": 1 } });
    provider.answer_json(&answer.to_string());
    assert_eq!(ask(node, &key, 100).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_without_a_price_is_told_once_a_day_and_a_callers_own_words_never() {
    let (mock, receiver) = (Mock::start().await, Receiver::start().await);
    let mut node = setup(&mock, &alerts_at(&receiver, "")).start().await;
    let key = user(&node, "alice", json!({})).await;
    let call = async |node: &crate::harness::Node, model: &str| {
        let body =
            json!({ "model": model, "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }] });
        assert_eq!(node.ask(&key, "/v1/chat/completions", &[], &body).await.status, 200, "{model}");
    };
    call(&node, "house-model-7b").await;
    let told = receiver.sent("price.unknown", "house-model-7b").await.json();
    assert_eq!(told["details"], json!({ "model": "house-model-7b", "count": 1 }));
    for hostile in ["<!channel> canary-words-2e", "sk-canary-key-90"] {
        call(&node, hostile).await;
    }
    receiver.sent("price.unknown", "other").await;
    node.kill().await;
    node.restart().await;
    call(&node, "house-model-7b").await;
    spend(&node, "bob").await;
    receiver.sent("quota.spent", "bob").await;
    assert_eq!(receiver.of("price.unknown", "house-model-7b").len(), 1, "also by a node that began anew");
    let bodies: Vec<String> =
        receiver.deliveries().iter().map(|one| String::from_utf8_lossy(&one.body).into_owned()).collect();
    assert!(!bodies.iter().any(|body| body.contains("canary")), "{bodies:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_five_past_midnight_a_leader_tells_once_what_yesterday_came_to() {
    let Some((offset, library)) = Offset::new() else { return };
    let (mock, receiver) = (Mock::start().await, Receiver::start().await);
    let alerts = alerts_at(&receiver, "events = [\"summary.daily\", \"quota.spent\"]");
    let mut node = offset.faked(library, setup(&mock, &alerts)).start().await;
    node.post("/admin/v1/groups", json!({ "name": "research" })).await;
    let key = user(&node, "alice", json!({ "group": "research" })).await;
    for _ in 0..3 {
        assert_eq!(ask(&node, &key, 100).await.status, 200);
    }
    until("they are booked", async || (node.usage().await.len() == 3).then_some(())).await;
    let now = SystemClock.now();
    let ahead = now.next_day_start().since(now).as_secs() + 5 * 60 + 2;
    offset.set(&format!("+{ahead}"));
    let told = receiver.sent_that("the summary", |delivery| delivery.event() == "summary.daily").await.json();
    let details = &told["details"];
    let day = now.to_string();
    assert_eq!(details["day"], Value::from(day.split_once('T').unwrap().0), "{told}");
    let row = |name: &str| json!([{ "name": name, "requests": 3, "errors": 0, "tokens": 300, "cost_nanousd": details["cost_nanousd"] }]);
    assert_eq!((&details["requests"], &details["errors"]), (&json!(3), &json!(0)));
    assert_eq!((&details["input_tokens"], &details["output_tokens"]), (&json!(297), &json!(3)));
    assert!(details["cost_nanousd"].as_u64() > Some(0));
    assert_eq!(details["top_users"], row("alice"));
    assert_eq!(details["top_groups"], row("research"));
    assert_eq!(details["top_models"], row("claude-sonnet-4-5"));
    assert_eq!(details["incomplete"], json!([]));
    node.kill().await;
    node.restart().await;
    spend(&node, "bob").await;
    receiver.sent("quota.spent", "bob").await;
    let summaries = receiver.deliveries().into_iter().filter(|delivery| delivery.event() == "summary.daily");
    assert_eq!(summaries.count(), 1);
}
