//! Whoever finds no room hears it as its provider would say it, so that its SDK raises what is to be tried again, with
//! the time after which to do so.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Raw, head};
use crate::harness::{Answer, Mock, Node, Setup, until};

/// A call of each dialect, also by a provider's name.
const CALLS: [(&str, &str); 6] = [
    ("anthropic", "/v1/messages"),
    ("openai", "/v1/chat/completions"),
    ("openai", "/v1/responses"),
    ("gemini", "/v1beta/models/gemini-2.5-flash:generateContent"),
    ("ollama", "/api/chat"),
    ("anthropic", "/anthropic/v1/messages"),
];
/// Calls whose client has its base URL wrong. They find no room either.
const MISTAKEN: [(&str, &str); 2] = [("anthropic", "/messages"), ("openai", "/v1/v1/chat/completions")];

/// What the refusal says to people, after a look at the rest of it.
fn refusal(dialect: &str, path: &str, answer: &Answer) -> String {
    let wrong = format!("{path}: {} {:?} {}", answer.status, answer.headers, answer.text());
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{wrong}");
    assert_eq!(answer.header("content-type"), "application/json", "{wrong}");
    let mut body = answer.json();
    let message = match dialect {
        "ollama" => body["error"].take(),
        _ => body["error"]["message"].take(),
    };
    let (message, none) = (message.as_str().expect(&wrong).to_owned(), Value::Null);
    if dialect == "anthropic" {
        assert!(body["request_id"].take().is_string(), "{wrong}");
    }
    let expected = match dialect {
        "anthropic" => {
            json!({ "type": "error", "error": { "type": "overloaded_error", "message": none }, "request_id": none })
        }
        "openai" => {
            json!({ "error": { "message": none, "type": "server_error", "param": none, "code": "service_unavailable" } })
        }
        "gemini" => json!({ "error": { "code": 503, "message": none, "status": "UNAVAILABLE" } }),
        _ => json!({ "error": none }),
    };
    assert_eq!(body, expected, "{wrong}");
    message
}

async fn call(node: &Node, key: &str, path: &str) -> Answer {
    let body = json!({ "model": "mock", "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }], "contents": [] });
    node.ask(key, path, &[], &body).await
}

/// Waits until there is no room for a call of each dialect, and looks at what each hears.
async fn refuse_all(node: &Node, key: &str, with: &str) {
    until("there is no room", async || (call(node, key, "/v1/messages").await.status == 503).then_some(()))
        .await;
    for (dialect, path) in CALLS {
        let said = refusal(dialect, path, &call(node, key, path).await);
        assert!(said.contains(with), "{path}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_connection_to_spare_a_call_is_refused_in_its_dialect_and_the_rest_as_a_problem() {
    let node = Setup::with_targets("").section("http", "max_connections = 1").start().await;
    let _held = Raw::connect(node.address).await;
    refuse_all(&node, "sk-sp-any", "http.max_connections").await;
    for (dialect, path) in MISTAKEN {
        refusal(dialect, path, &call(&node, "sk-sp-any", path).await);
    }
    for path in ["/admin/v1/users", "/auth/login", "/nowhere", "/"] {
        let answer = Answer::read(node.call(Method::GET, path, None).await).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        let problem = answer.json();
        assert_eq!(problem["type"], json!("urn:sproxy:problem:unavailable"), "{path}");
        assert!(problem["detail"].as_str().unwrap().contains("http.max_connections"), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_a_body_a_call_is_refused_in_its_dialect() {
    let mock = Mock::start().await;
    let limits = "max_body_bytes = 1000\nmax_buffered_bytes = 1000";
    let node = Setup::with_targets_at(&mock.url()).section("http", limits).start().await;
    let key = node.user_with_key("alice").await;
    let (address, head) = (node.address, head("POST", "/v1/messages", &key, 999));
    // It is refused itself if a call that is looked at holds the room just then, and tries again.
    let half_sent = tokio::spawn(async move {
        loop {
            let mut half_sent = Raw::sending(address, &head).await;
            half_sent.send([b' '; 998]).await;
            half_sent.read_until("\r\n\r\n").await;
        }
    });
    refuse_all(&node, &key, "http.max_buffered_bytes").await;
    half_sent.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_in_the_ledger_a_call_is_refused_in_its_dialect() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).section("usage", "queue = 1").start().await;
    let key = node.user_with_key("alice").await;
    let hanging = node.http.post(node.url("/v1/messages")).header("x-api-key", &key);
    let hanging = hanging.header("mock-fail", "hang").json(&json!({ "model": "claude", "messages": [] }));
    // It takes the one place as soon as it is free.
    let hanging = tokio::spawn(async move {
        while hanging.try_clone().unwrap().send().await.is_ok_and(|answer| answer.status() == 503) {}
    });
    refuse_all(&node, &key, "ledger").await;
    hanging.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_connection_to_the_provider_a_call_is_refused_in_its_dialect() {
    let mock = Mock::start().await;
    let target = |dialect: &str| {
        format!(
            "[[targets]]\nname = \"{dialect}\"\nprovider = \"{dialect}\"\nurl = \"{}\"\napi_key = \"k\"\nmax_connections = 1\n",
            mock.url()
        )
    };
    let targets = ["anthropic", "openai", "gemini", "ollama"].map(target).concat();
    let node = Setup::with_targets(&targets).start().await;
    let key = node.user_with_key("alice").await;
    let mut hanging = tokio::task::JoinSet::new();
    for (_, path) in CALLS {
        let call = node.http.post(node.url(path)).header("x-api-key", &key).header("mock-fail", "hang");
        let call = call.json(&json!({ "model": "mock", "messages": [], "contents": [] }));
        hanging.spawn(async move {
            while call.try_clone().unwrap().send().await.is_ok_and(|answer| answer.status() == 503) {}
        });
    }
    for (dialect, path) in CALLS {
        until("it is busy", async || (call(&node, &key, path).await.status == 503).then_some(())).await;
        let said = refusal(dialect, path, &call(&node, &key, path).await);
        assert!(said.contains(&format!("target {dialect} is busy")), "{said}");
    }
}
