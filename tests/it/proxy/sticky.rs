//! Conversations stay where their prompt cache is, across several keys of one provider and across the loss of one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::{Node, Setup, until};

const SESSIONS: usize = 50;
const KEYS: [&str; 4] = ["key-a", "key-b", "key-c", "key-d"];
const ANSWER: &str = r#"{"id":"m","type":"message","role":"assistant","model":"claude-haiku-4-5","content":[],"usage":{"input_tokens":1,"output_tokens":1}}"#;

/// Which key is out, and which key each session was answered with last.
#[derive(Default)]
struct Seen {
    out: Option<String>,
    last: BTreeMap<String, String>,
    /// Answers to a session that had been answered before, and of these, those with the same key.
    turns: usize,
    at_home: usize,
}

struct Provider {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let noted = Arc::clone(&seen);
        let app = Router::new().fallback(move |headers: HeaderMap| {
            let noted = Arc::clone(&noted);
            async move {
                let text =
                    |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
                let (key, session) = (text("x-api-key"), text("x-claude-code-session-id"));
                let mut seen = noted.lock().unwrap();
                if seen.out.as_ref() == Some(&key) {
                    return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], "{}").into_response();
                }
                let before = seen.last.insert(session, key.clone());
                seen.turns += usize::from(before.is_some());
                seen.at_home += usize::from(before.as_ref() == Some(&key));
                ([("content-type", "application/json")], ANSWER).into_response()
            }
        });
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, seen, serving }
    }

    /// Answers since the last call: those of sessions with a cache, and of these, those that found it.
    fn taken(&self) -> (usize, usize) {
        let mut seen = self.seen.lock().unwrap();
        (std::mem::take(&mut seen.turns), std::mem::take(&mut seen.at_home))
    }
}

/// So many turns of every session; all sessions at once, each turn after its session's last.
async fn turns(node: &Node, key: &str, count: usize) {
    join_all((0..SESSIONS).map(async |session| {
        for turn in 0..count {
            let text = "a word ".repeat(turn + 1);
            let body = json!({
                "model": "claude-haiku-4-5", "max_tokens": 8, "messages": [{ "role": "user", "content": text }]
            });
            let name = format!("session-{session}");
            let answer = node.ask(key, "/v1/messages", &[("x-claude-code-session-id", &name)], &body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }))
    .await;
}

async fn key_view(node: &Node, name: &str) -> Value {
    let targets = node.get("/admin/v1/targets").await;
    let keys = targets["items"].as_array().or(targets["data"].as_array()).unwrap()[0]["keys"].clone();
    keys.as_array().unwrap().iter().find(|key| key["name"] == name).unwrap().clone()
}

#[tokio::test]
async fn sessions_keep_to_the_key_that_has_their_cache_also_after_one_was_out() {
    let provider = Provider::start().await;
    let keys = KEYS.map(|key| format!("{{ name = \"{key}\", api_key = \"{key}\" }}")).join(", ");
    let target = format!(
        "[[targets]]\nname = \"anthropic\"\nprovider = \"anthropic\"\nurl = \"http://{}\"\nkeys = [{keys}]\n",
        provider.address
    );
    let node = Setup::with_targets(&target).section("upstream", "retry_ratio = 1.0").start().await;
    let key = node.user_with_key("alice").await;

    turns(&node, &key, 10).await;
    assert_eq!(provider.taken(), (SESSIONS * 9, SESSIONS * 9), "all turns go where the cache is");
    let homes = provider.seen.lock().unwrap().last.clone();
    let of = |key: &str| homes.values().filter(|home| *home == key).count();
    assert!(KEYS.iter().all(|key| of(key) > 0), "every key has its share: {homes:?}");

    provider.seen.lock().unwrap().out = Some("key-b".to_owned());
    turns(&node, &key, 3).await;
    let (taken, at_home) = provider.taken();
    // Whoever was at home there has to move, once.
    assert_eq!((taken, taken - at_home), (SESSIONS * 3, of("key-b")));

    provider.seen.lock().unwrap().out = None;
    until("the key is used again", async || {
        Some(key_view(&node, "key-b").await).filter(|view| view["healthy"] == json!(true))
    })
    .await;
    turns(&node, &key, 7).await;
    let (taken, at_home) = provider.taken();
    assert_eq!(taken, SESSIONS * 7);
    assert!(at_home * 100 >= taken * 99, "{at_home} of {taken}: who has moved stays with the new cache");
}
