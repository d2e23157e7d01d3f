//! Which target gets calls: weights, sessions, checks, failures and recovery; and what is told about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{COMPLETION, chat};
use crate::harness::{Answer, Node, Setup, until};

const CHATS: &str = "/v1/chat/completions";
/// Its calls are part of no conversation, which would stay with one target.
const PATH: &str = "/v1/completions";

/// A provider that is well or answers 500, as the test says.
struct Moody {
    port: u16,
    is_ill: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Moody {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_ill, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (ill, counted) = (Arc::clone(&is_ill), Arc::clone(&calls));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (ill, counted) = (Arc::clone(&ill), Arc::clone(&counted));
                tokio::spawn(async move {
                    let mut request = vec![0; 64 * 1024];
                    // Requests of these tests come in one piece.
                    while socket.read(&mut request).await.is_ok_and(|read| read > 0) {
                        let is_call = request.starts_with(b"POST");
                        counted.fetch_add(usize::from(is_call), Ordering::Relaxed);
                        let status = if ill.load(Ordering::Relaxed) { "500 Broken" } else { "200 OK" };
                        let answer = format!(
                            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{COMPLETION}",
                            COMPLETION.len()
                        );
                        if socket.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, is_ill, calls }
    }

    fn target(&self, name: &str, more: &str) -> String {
        format!(
            "[[targets]]\nname = \"{name}\"\nprovider = \"openai\"\nurl = \"http://127.0.0.1:{}\"\n{more}\n",
            self.port
        )
    }

    fn set_ill(&self, is_ill: bool) {
        self.is_ill.store(is_ill, Ordering::Relaxed);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

async fn node(targets: &str) -> (Node, String) {
    let node = Setup::with_targets(targets).start().await;
    let key = node.user_with_key("alice").await;
    (node, key)
}

async fn ask(node: &Node, key: &str) -> Answer {
    node.ask(key, PATH, &[], &json!({ "model": "gpt-5", "prompt": "Hi" })).await
}

async fn view(node: &Node, name: &str) -> Value {
    let targets = node.get("/admin/v1/targets").await;
    let found = targets["items"].as_array().unwrap().iter().find(|target| target["name"] == json!(name));
    found.expect("the target").clone()
}

async fn ready(node: &Node) -> (u16, String) {
    let answer = node.http.get(node.url("/readyz")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn calls_are_spread_by_weight_and_those_of_a_session_stay_together() {
    let (heavy, light) = (Moody::start().await, Moody::start().await);
    let targets = heavy.target("heavy", "weight = 300") + &light.target("light", "weight = 100");
    let (node, key) = node(&targets).await;
    for _ in 0..40 {
        assert_eq!(ask(&node, &key).await.status, 200);
    }
    assert_eq!(heavy.calls() + light.calls(), 40);
    assert!((28..=32).contains(&heavy.calls()), "{} of 40 where 30 are its share", heavy.calls());
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for turn in 0..24 {
        let session = format!("session-{}", turn % 8);
        let answer = node.ask(&key, CHATS, &[("x-claude-code-session-id", &session)], &chat()).await;
        let row = node.usage_of(&answer).await;
        places.entry(session).or_default().push(row["target"].as_str().unwrap().to_owned());
    }
    for (session, places) in places {
        assert!(places.iter().all(|place| *place == places[0]), "{session} went to {places:?}");
    }
}

#[tokio::test]
async fn a_target_that_fails_is_left_alone_and_gets_calls_again_once_it_is_well() {
    let (ill, well) = (Moody::start().await, Moody::start().await);
    ill.set_ill(true);
    let targets = ill.target("ill", "weight = 100") + &well.target("well", "weight = 100");
    let (node, key) = node(&targets).await;
    until("the failures have told", async || {
        ask(&node, &key).await;
        (view(&node, "ill").await["healthy"] == json!(false)).then_some(())
    })
    .await;
    let shown = view(&node, "ill").await;
    assert_eq!(shown["failures"], json!(3), "{shown}");
    assert!(shown["cooling_until"].is_string() && shown["attempts"].as_u64() >= Some(3), "{shown}");
    assert!(shown["last_error"].as_str().unwrap().contains("500"), "{shown}");
    assert!(shown["reason"].as_str().unwrap().contains("failed several times"), "{shown}");
    let before = ill.calls();
    for _ in 0..10 {
        assert_eq!(ask(&node, &key).await.status, 200);
    }
    assert!(ill.calls() <= before + 1, "left alone but for one call that tries");
    ill.set_ill(false);
    until("it gets calls again", async || {
        assert_eq!(ask(&node, &key).await.status, 200);
        (view(&node, "ill").await["healthy"] == json!(true)).then_some(())
    })
    .await;
    assert_eq!(view(&node, "ill").await["cooling_until"], json!(null));
}

#[tokio::test]
async fn a_target_that_fails_every_call_is_shown_so_everywhere() {
    // Bound and dropped: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let target = format!(
        "[[targets]]\nname = \"down\"\nprovider = \"openai\"\nurl = \"http://127.0.0.1:{port}\"\nconnect_timeout = \"1s\"\n"
    );
    let (node, key) = node(&target).await;
    assert_eq!(ready(&node).await.0, 200);
    let mut last = None;
    for _ in 0..3 {
        let answer = ask(&node, &key).await;
        assert_eq!(answer.status, 502);
        last = Some(answer);
    }
    let row = node.usage_of(&last.unwrap()).await;
    assert_eq!(row["target"], json!("down"), "{row}");
    assert_eq!(row["upstream_url"], json!(format!("http://127.0.0.1:{port}")), "{row}");
    assert_eq!(row["outcome"], json!("upstream_unreachable"), "{row}");
    let shown = view(&node, "down").await;
    assert_eq!(
        (&shown["healthy"], &shown["failures"], &shown["attempts"]),
        (&json!(false), &json!(3), &json!(3))
    );
    assert!(shown["last_error"].as_str().unwrap().contains("refused"), "{shown}");
    let (status, text) = ready(&node).await;
    assert!(status == 503 && text.contains("no target is usable: down"), "{status} {text}");
}

#[tokio::test]
async fn a_check_takes_a_target_out_and_puts_it_back() {
    let (checked, other) = (Moody::start().await, Moody::start().await);
    checked.set_ill(true);
    let targets = checked.target("checked", "health_path = \"/ping\"") + &other.target("other", "");
    let (node, key) = node(&targets).await;
    until("the check has told", async || {
        (view(&node, "checked").await["healthy"] == json!(false)).then_some(())
    })
    .await;
    assert!(view(&node, "checked").await["reason"].as_str().unwrap().contains("health_path"));
    let before = checked.calls();
    for _ in 0..4 {
        assert_eq!(ask(&node, &key).await.status, 200);
    }
    assert_eq!((checked.calls(), other.calls() >= 4), (before, true));
    checked.set_ill(false);
    until("the check has found it well", async || {
        ask(&node, &key).await;
        (checked.calls() > before).then_some(())
    })
    .await;
}

/// Accepts connections and says nothing.
async fn silent() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    (port, accepted)
}

#[tokio::test]
async fn a_node_leaves_at_once_though_a_check_is_not_answered() {
    let (port, accepted) = silent().await;
    let target = format!(
        "[[targets]]\nname = \"silent\"\nprovider = \"openai\"\nurl = \"http://127.0.0.1:{port}\"\nhealth_path = \"/ping\"\n"
    );
    let (mut node, _) = node(&target).await;
    until("a check is under way", async || (accepted.load(Ordering::Relaxed) > 0).then_some(())).await;
    node.process.ask_to_leave().await;
    assert_eq!(node.process.ended().await, Some(0));
    assert!(!node.log().contains("tasks did not end in time"), "{}", node.log());
}
