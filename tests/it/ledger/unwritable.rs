//! A ledger that cannot write: nothing more is bought, what was bought before is handed out and comes into the books,
//! and the node says that it is not ready.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::postgres::Postgres;
use crate::harness::{Answer, Mock, Node, Scripted, Setup, until};

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":[],\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n";
const STOP: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

fn question() -> Value {
    json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }] })
}

/// Waits until the node says that it is not ready, and why.
async fn not_ready(node: &Node, because: &str) {
    until(&format!("not ready because {because}"), async || {
        let answer = node.http.get(node.url("/readyz")).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        (status == 503 && text.contains(because)).then_some(())
    })
    .await;
    let metrics = node.http.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nsproxy_ledger_failing 1\n"), "{metrics}");
}

async fn ready(node: &Node) {
    until("the node is ready", async || {
        node.http.get(node.url("/readyz")).send().await.unwrap().status().is_success().then_some(())
    })
    .await;
}

/// In every dialect a call is refused, with the time to come back, before anything is bought.
async fn refuses_to_buy(node: &Node, key: &str) {
    for (path, kind) in [
        ("/v1/messages", "/error/type"),
        ("/v1/chat/completions", "/error/code"),
        ("/v1beta/models/gemini-2.5-pro:generateContent", "/error/status"),
        ("/api/chat", "/error"),
    ] {
        let refused = node.ask(key, path, &[], &question()).await;
        assert_eq!(refused.status, 503, "{path}: {}", refused.text());
        assert!(!refused.header("retry-after").is_empty() && refused.text().contains("ledger"), "{path}");
        assert!(refused.json().pointer(kind).is_some_and(Value::is_string), "{path}: {}", refused.text());
    }
}

#[tokio::test]
async fn a_database_that_is_removed_under_a_node_stops_it_buying_and_costs_no_answer_that_was_bought() {
    let provider = Scripted::start().await;
    let mut node = Setup::with_targets_at(&provider.url()).start().await;
    let key = node.user_with_key("alice").await;
    provider.begin_stream().chunk(START);
    let request = node.http.post(node.url("/v1/messages")).header("x-api-key", &key).json(&question());
    let mut response = request.send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), START);
    let names = ["sproxy.db", "sproxy.db-wal", "sproxy.db-shm"];
    let here = |name: &str| node.data_dir().join(name);
    let away = |name: &str| node.directory().join(name);
    for name in names {
        std::fs::rename(here(name), away(name)).unwrap();
    }
    not_ready(&node, "sproxy.db was removed").await;
    refuses_to_buy(&node, &key).await;
    assert_eq!(provider.requests().len(), 1, "nothing more was bought");
    // What was bought comes whole, since its record is safe, and survives the process.
    provider.chunk(STOP).end();
    let bought = Answer::read(response).await;
    assert!(bought.complete, "{}", bought.text());
    let (from, to): (Vec<PathBuf>, Vec<PathBuf>) = names.iter().map(|name| (away(name), here(name))).unzip();
    node.kill().await;
    for (from, to) in from.iter().zip(&to) {
        std::fs::rename(from, to).unwrap();
    }
    node.restart().await;
    ready(&node).await;
    let row = node.usage_of(&bought).await;
    assert_eq!((&row["outcome"], &row["total_tokens"]), (&json!("ok"), &json!(40)), "{row}");
    assert_eq!(node.usage().await.len(), 1);
    let quota = node.http.get(node.url("/me/quota")).bearer_auth(&key).send().await.unwrap();
    assert!(quota.text().await.unwrap().contains("40"), "what came late counts");
}

#[tokio::test]
async fn a_database_that_is_put_back_takes_what_waited_without_a_restart() {
    let provider = Scripted::start().await;
    let node = Setup::with_targets_at(&provider.url()).start().await;
    let key = node.user_with_key("alice").await;
    provider.begin_stream().chunk(START);
    let request = node.http.post(node.url("/v1/messages")).header("x-api-key", &key).json(&question());
    let mut response = request.send().await.unwrap();
    response.chunk().await.unwrap();
    let (here, away) = (node.data_dir().join("sproxy.db"), node.directory().join("sproxy.db"));
    std::fs::rename(&here, &away).unwrap();
    not_ready(&node, "sproxy.db was removed").await;
    provider.chunk(STOP).end();
    let bought = Answer::read(response).await;
    assert!(bought.complete);
    std::fs::rename(&away, &here).unwrap();
    ready(&node).await;
    node.usage_of(&bought).await;
    assert_eq!(node.usage().await.len(), 1, "once");
    std::fs::copy(&here, &away).unwrap();
    std::fs::rename(&away, &here).unwrap();
    not_ready(&node, "sproxy.db was replaced").await;
    refuses_to_buy(&node, &key).await;
}

/// A small disk of one's own, for root.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(path: &Path) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(path).output().ok()?;
        if !mounted.status.success() {
            eprintln!("left out: a file system cannot be mounted here");
            return None;
        }
        Some(Self(path.to_owned()))
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("ballast")).unwrap();
        for piece in [1 << 16, 1 << 10, 1] {
            while std::io::Write::write_all(&mut file, &vec![0_u8; piece]).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_buying_and_loses_no_answer_even_if_the_node_is_killed() {
    let mock = Mock::start().await;
    let setup = Setup::with_targets_at(&mock.url()).section("log", "level = \"warn,sproxy=info\"");
    let Some(disk) = SmallDisk::at(&setup.data_dir()) else { return };
    let mut node = setup.start().await;
    let key = node.user_with_key("alice").await;
    disk.fill();
    // As many as there are until the disk is found full, and those that are under way then.
    let node_ref = &node;
    let key_ref = &key;
    let calls = (0..40_u64).map(|turn| async move {
        let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "stream": turn % 2 == 0, "messages": [{ "role": "user", "content": "Hi" }] });
        let headers = [("mock-input", "70"), ("mock-output", "30"), ("mock-events", "3"), ("mock-delay-ms", "20")];
        node_ref.ask(key_ref, "/v1/messages", &headers, &body).await
    });
    let answers = futures_util::future::join_all(calls).await;
    let whole: Vec<_> = answers.iter().filter(|answer| answer.status == 200 && answer.complete).collect();
    assert!(!whole.is_empty());
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(
            (refused.status, refused.header("retry-after").is_empty()),
            (503, false),
            "{}",
            refused.text()
        );
    }
    not_ready(&node, "cannot be written").await;
    refuses_to_buy(&node, &key).await;
    let served = mock.served().await["claude-sonnet-4-5"]["requests"].as_u64().unwrap();
    assert_eq!(whole.len() as u64, served, "whoever bought an answer has it");
    node.kill().await;
    disk.make_room();
    node.restart().await;
    ready(&node).await;
    let rows = node.usage().await;
    for answer in &whole {
        let found: Vec<_> = rows.iter().filter(|row| row["request_id"] == json!(answer.id)).collect();
        assert_eq!(found.len(), 1, "{} is in the books once", answer.id);
        assert_eq!(found[0]["total_tokens"], json!(100));
    }
    assert_eq!(node.ask(&key, "/v1/messages", &[], &question()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_server_that_is_away_costs_a_leader_nothing_and_gets_what_was_booked_meanwhile() {
    let Some(server) = tokio::task::spawn_blocking(Postgres::start).await.unwrap() else { return };
    let server = Arc::new(server);
    let mock = Mock::start().await;
    let url = format!("url = \"{}\"", server.new_database());
    let mut node = Setup::with_targets_at(&mock.url()).section("store", &url).start().await;
    let key = node.user_with_key("alice").await;
    assert_eq!(node.ask(&key, "/v1/messages", &[], &question()).await.status, 200);
    let crashing = Arc::clone(&server);
    tokio::task::spawn_blocking(move || crashing.crash()).await.unwrap();
    let bought = node.ask(&key, "/v1/messages", &[], &question()).await;
    assert_eq!((bought.status, bought.complete), (200, true), "{}", bought.text());
    node.kill().await;
    let resuming = Arc::clone(&server);
    tokio::task::spawn_blocking(move || resuming.resume()).await.unwrap();
    node.restart().await;
    ready(&node).await;
    node.usage_of(&bought).await;
    assert_eq!(node.usage().await.len(), 2);
    assert_eq!(mock.served().await["claude-sonnet-4-5"]["requests"], json!(2));
}
