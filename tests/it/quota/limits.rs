//! Limits as callers meet them: real nodes, a mock provider, every dialect's own way of saying no.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Mock, Node, Setup, until};

const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";
/// Twelve tokens.
const TWELVE: [(&str, &str); 2] = [("mock-input", "8"), ("mock-output", "4")];

async fn started() -> (Mock, Node) {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    (mock, node)
}

async fn user(node: &Node, name: &str, limits: Value) -> String {
    let mut new = limits;
    new["name"] = json!(name);
    node.post("/admin/v1/users", new).await;
    node.key_of(name).await
}

async fn ask(node: &Node, key: &str, path: &str) -> Answer {
    let message = json!({"role": "user", "content": "Say hello."});
    let model = if path == CHAT { "gpt-5" } else { "claude-sonnet-4-5" };
    node.ask(key, path, &TWELVE, &json!({"model": model, "max_tokens": 50, "messages": [message]})).await
}

#[tokio::test]
async fn a_spent_quota_is_final_in_every_dialect_and_says_what_is_used_and_when_it_resets() {
    let (_mock, node) = started().await;
    let key = user(&node, "alice", json!({"daily_tokens": 10})).await;
    assert_eq!(ask(&node, &key, MESSAGES).await.status, 200, "below the limit, so the call may pass it");
    let refused = ask(&node, &key, MESSAGES).await;
    assert_eq!((refused.status, refused.header("x-should-retry")), (429, "false"));
    let error = refused.json()["error"].clone();
    assert_eq!(error["type"], "billing_error");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("daily token limit of user alice reached: used 12 tokens of 10"), "{message}");
    assert!(message.contains("resets at") && message.contains("T00:00:00Z"), "{message}");
    let refused = ask(&node, &key, CHAT).await;
    assert_eq!((refused.status, refused.json()["error"]["code"].clone()), (429, json!("insufficient_quota")));
    let gemini = json!({"contents": [{"parts": [{"text": "Say hello."}]}]});
    let refused = node.ask(&key, "/v1beta/models/gemini-2.5-pro:generateContent", &[], &gemini).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["status"].clone()),
        (429, json!("RESOURCE_EXHAUSTED"))
    );
    let quota = node.http.get(node.url("/me/quota")).bearer_auth(&key).send().await.unwrap();
    assert_eq!(quota.json::<Value>().await.unwrap()["user"]["used"]["daily_tokens"], 12);
}

#[tokio::test]
async fn a_rate_limit_may_be_retried_and_counting_tokens_is_free() {
    let (_mock, node) = started().await;
    let key = user(&node, "alice", json!({"rpm": 2})).await;
    let count = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Count me."}]});
    for _ in 0..4 {
        assert_eq!(node.ask(&key, "/v1/messages/count_tokens", &[], &count).await.status, 200);
    }
    for _ in 0..2 {
        assert_eq!(ask(&node, &key, MESSAGES).await.status, 200);
    }
    let refused = ask(&node, &key, MESSAGES).await;
    assert_eq!((refused.status, refused.json()["error"]["type"].clone()), (429, json!("rate_limit_error")));
    assert_ne!(refused.header("x-should-retry"), "false");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait} s");
    let refused = ask(&node, &key, CHAT).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].clone()),
        (429, json!("rate_limit_exceeded"))
    );
}

#[tokio::test]
async fn a_groups_budget_is_shared_and_exact_after_a_kill() {
    let (_mock, mut node) = started().await;
    node.post("/admin/v1/groups", json!({"name": "research", "monthly_tokens": 24})).await;
    let alice = user(&node, "alice", json!({"group": "research"})).await;
    let bob = user(&node, "bob", json!({"group": "research"})).await;
    assert_eq!(ask(&node, &alice, MESSAGES).await.status, 200);
    assert_eq!(ask(&node, &bob, CHAT).await.status, 200);
    node.kill().await;
    node.restart().await;
    for key in [&alice, &bob] {
        let refused = ask(&node, key, MESSAGES).await;
        assert_eq!(refused.status, 429);
        assert!(
            refused.text().contains("group research reached: used 24 tokens of 24"),
            "{}",
            refused.text()
        );
    }
    let raised = json!({"monthly_tokens": 25});
    node.call(Method::PATCH, "/admin/v1/groups/research", Some(raised)).await.error_for_status().unwrap();
    assert_eq!(ask(&node, &alice, MESSAGES).await.status, 200, "a raised limit holds from the next call on");
}

#[tokio::test]
async fn models_outside_the_globs_are_forbidden_and_too_many_tokens_are_a_bad_request() {
    let (_mock, node) = started().await;
    let key = user(&node, "alice", json!({"models": ["claude-*"], "max_tokens": 49})).await;
    let refused = ask(&node, &key, CHAT).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("gpt-5"), "{}", refused.text());
    let refused = ask(&node, &key, MESSAGES).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["type"].clone()),
        (400, json!("invalid_request_error"))
    );
    assert!(refused.text().contains("asked for 50 of at most 49"), "{}", refused.text());
    let rows = until("both refusals have their rows", async || {
        Some(node.usage().await).filter(|rows| rows.len() == 2)
    })
    .await;
    assert!(rows.iter().all(|row| row["outcome"] == "refused" && row["target"] == ""), "nothing was bought");
}

#[tokio::test]
async fn a_place_among_the_concurrent_requests_is_free_again_when_its_request_ends_either_way() {
    let (_mock, node) = started().await;
    let key = user(&node, "alice", json!({"concurrent": 1})).await;
    let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 50, "stream": true, "messages": [{"role": "user", "content": "Slowly."}]});
    let open = async || {
        let request = node.http.post(node.url(MESSAGES)).header("x-api-key", &key).json(&body);
        let stream = request.header("mock-events", "400").header("mock-delay-ms", "50").send().await.unwrap();
        assert_eq!(stream.status(), 200);
        stream
    };
    let stream = open().await;
    let refused = ask(&node, &key, MESSAGES).await;
    assert_eq!((refused.status, refused.json()["error"]["type"].clone()), (429, json!("rate_limit_error")));
    assert!(refused.text().contains("concurrency limit of user alice reached: 1 requests in flight of 1"));
    drop(stream);
    until("the place of the caller who hung up", async || {
        (ask(&node, &key, MESSAGES).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(ask(&node, &key, MESSAGES).await.status, 200, "and of the one whose answer ended");
}

#[tokio::test]
async fn a_storm_of_wrong_logins_does_not_keep_calls_from_being_answered() {
    let (_mock, node) = started().await;
    let key = user(&node, "alice", json!({})).await;
    let guesses = (0..300).map(|number| {
        let guess = json!({"username": format!("guess-{}", number % 40), "password": "a wrong guess"});
        node.http.post(node.url("/auth/login")).json(&guess).send()
    });
    let calls = async {
        let mut answered = 0;
        for _ in 0..20 {
            answered += u32::from(ask(&node, &key, MESSAGES).await.status == 200);
        }
        answered
    };
    let (guesses, answered) = tokio::join!(futures_util::future::join_all(guesses), calls);
    assert_eq!(answered, 20);
    for guess in guesses {
        let status = guess.unwrap().status().as_u16();
        assert!([401, 429, 503].contains(&status), "{status}");
    }
}

#[tokio::test]
async fn limits_count_what_the_ledger_holds_however_absurd_an_answer_is() {
    let (_mock, node) = started().await;
    let key = user(&node, "alice", json!({"monthly_usd": 5_000_000})).await;
    let absurd = [("mock-input", "900000000000"), ("mock-output", "900000000000")];
    let message = json!({"role": "user", "content": "Say hello."});
    let call = json!({"model": "claude-sonnet-4-5", "max_tokens": 50, "messages": [message]});
    let answer = node.ask(&key, MESSAGES, &absurd, &call).await;
    let row = node.usage_of(&answer).await;
    let quota = node.http.get(node.url("/me/quota")).bearer_auth(&key).send().await.unwrap();
    let used = quota.json::<Value>().await.unwrap()["user"]["used"].clone();
    assert_eq!(used["monthly_tokens"], row["total_tokens"]);
    assert_eq!(used["monthly_usd"], json!(1_000_000.0), "the most that one record may cost");
    assert_eq!(row["cost_nanousd"], json!(1_000_000_000_000_000_u64));
    assert_eq!(
        ask(&node, &key, MESSAGES).await.status,
        200,
        "one absurd answer spends no more than is booked"
    );
}

#[tokio::test]
async fn a_refusal_has_a_row_without_tokens_that_no_limit_counts_and_only_so_many_a_minute() {
    let mock = Mock::start().await;
    let target = format!(
        "[[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"{}\"\napi_key = \"k\"\nmodels = [\"claude-*\"]\n",
        mock.url()
    );
    let node = Setup::with_targets(&target).start().await;
    let key = node.user_with_key("alice").await;
    let ask = |model: &str| json!({ "model": model, "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }] });
    let lost = node.ask(&key, "/v1/messages", &[], &ask("no-such-model")).await;
    assert_eq!(lost.status, 404);
    let row = node.usage_of(&lost).await;
    for (field, value) in [
        ("user", json!("alice")),
        ("model", json!("no-such-model")),
        ("outcome", json!("refused")),
        ("status_code", json!(404)),
        ("total_tokens", json!(0)),
        ("cost_nanousd", json!(0)),
        ("target", json!("")),
    ] {
        assert_eq!(row[field], value, "{field} of {row}");
    }
    node.call(reqwest::Method::PATCH, "/admin/v1/users/alice", Some(json!({ "rpm": 0 }))).await;
    for _ in 0..80 {
        assert_eq!(node.ask(&key, "/v1/messages", &[], &ask("claude-sonnet-4-5")).await.status, 429);
    }
    assert_eq!(node.ask(&key, "/v1/messages/count_tokens", &[], &ask("no-such-model")).await.status, 404);
    until("the metric counts the rest", async || {
        let metrics = node.http.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("sproxy_refusals_unbooked_total "))?;
        (line.parse::<u64>().unwrap() > 0).then_some(())
    })
    .await;
    let rows = node.usage().await;
    assert!((60..=120).contains(&rows.len()), "60 a minute, in at most two minutes: {}", rows.len());
    let stats = node.get("/admin/v1/stats/users").await;
    assert_eq!(stats["items"][0]["error_count"], json!(rows.len()), "{stats}");
    node.call(reqwest::Method::PATCH, "/admin/v1/users/alice", Some(json!({ "rpm": 1 }))).await;
    assert_eq!(
        node.ask(&key, "/v1/messages", &[], &ask("claude-sonnet-4-5")).await.status,
        200,
        "not counted"
    );
}
