//! A cluster of real processes: one leader, followers, and everything that has to hold between them.

mod acknowledgements;
mod adoption;
mod books;
mod broken_off;
mod chaos;
mod compatible;
mod complete;
mod connections;
mod copies;
mod database;
mod debts;
mod dismissed;
mod failover;
mod floor;
mod grpc;
mod incomplete;
mod intake;
mod leaders;
mod metrics;
mod moving;
mod newcomers;
mod overrun;
mod parts;
mod promote;
mod pushes;
mod reflection;
mod restore;
mod rolling;
mod scim;
mod several_leaders;
mod shares;
mod silence;
mod state;
mod two_leaders;
mod verdict;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::harness::{Answer, Link, Mock, Node, Setup, until};
use verdict::{Verdict, verdict};

/// What every node here is set up with: things happen fast.
const PACE: &str = "heartbeat_interval = \"300ms\"\nsync_interval = \"200ms\"";

pub async fn leader(mock: &Mock) -> Node {
    leader_setup(mock).start().await
}

fn leader_setup(mock: &Mock) -> Setup {
    quiet(Setup::with_targets_at(&mock.url()).section("cluster", PACE))
}

/// A leader on PostgreSQL that followers reach only as they are told to: an address that they learn from it would lead
/// around a link.
fn leader_behind_links(mock: &Mock, url: &str) -> Setup {
    let nowhere = "advertise_grpc = \"http://127.0.0.1:9\"";
    leader_setup(mock).section("store", &format!("url = \"{url}\"")).section("cluster", nowhere)
}

fn follower_setup(mock: &Mock, leader: &Node) -> Setup {
    follower_of(mock, &format!("http://{}", leader.grpc.expect("a leader serves gRPC")))
}

fn follower_of(mock: &Mock, leader: &str) -> Setup {
    let line = format!("leader = \"{leader}\"");
    quiet(Setup::with_targets_at(&mock.url()).section("cluster", PACE).section("cluster", &line))
}

pub async fn follower(mock: &Mock, leader: &Node, id: &str) -> Node {
    let node = follower_setup(mock, leader).section("node", &format!("id = \"{id}\"")).start().await;
    ready(&node).await;
    node
}

/// A follower whose line to its leader is in the test's hand.
async fn follower_behind(link: &Link, mock: &Mock, id: &str) -> Node {
    let node = follower_of(mock, &link.url()).section("node", &format!("id = \"{id}\"")).start().await;
    ready(&node).await;
    node
}

fn quiet(setup: Setup) -> Setup {
    setup.section("log", "level = \"warn,sproxy=info\"")
}

/// Waits until a node may take traffic: a follower has heard of the users then.
pub async fn ready(node: &Node) {
    until("the node is ready", async || {
        let answer = node.http.get(node.url("/readyz")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}

pub async fn ask(node: &Node, key: &str) -> Answer {
    let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }] });
    node.ask(key, "/v1/messages", &[("mock-input", "70"), ("mock-output", "30")], &body).await
}

/// A leader and a follower that have answered one call each, both in the leader's totals.
async fn two_nodes_with_a_call_each(mock: &Mock) -> (Node, Node) {
    let one = leader(mock).await;
    let two = follower(mock, &one, "sp-2").await;
    let key = one.user_with_key("alice").await;
    assert_eq!(ask(&one, &key).await.status, 200);
    until("the key holds", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    booked(&one, 2).await;
    (one, two)
}

/// Waits until the leader's totals count `requests`.
async fn booked(leader: &Node, requests: usize) -> Value {
    until(&format!("{requests} requests are booked"), async || {
        let stats = leader.get("/admin/v1/stats").await;
        (stats["request_count"] == json!(requests)).then_some(stats)
    })
    .await
}

async fn peer(leader: &Node, id: &str) -> Option<Value> {
    let peers = leader.get("/admin/v1/peers").await;
    peers["items"].as_array().unwrap().iter().find(|peer| peer["id"] == json!(id)).cloned()
}

/// Request id → (input, output) of the answers that clients have received to the last byte.
type Received = Arc<Mutex<HashMap<String, (u64, u64)>>>;

/// Clients that call one node after the other until they are stopped; failures are a killed node's, and nothing more.
pub struct Traffic {
    received: Received,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    pub fn on(nodes: &[&Node], key: &str, clients: usize) -> Self {
        let (received, stop): (Received, _) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let urls: Vec<String> = nodes.iter().map(|node| node.url("/v1/messages")).collect();
        let client = |n: usize| {
            let work = call(urls.clone(), key.to_owned(), n, Arc::clone(&received), Arc::clone(&stop));
            tokio::spawn(work)
        };
        let clients = (0..clients).map(client).collect();
        Self { received, stop, clients }
    }

    async fn received(&self) -> usize {
        self.received.lock().await.len()
    }

    pub async fn more(&self, answers: usize) {
        let before = self.received().await;
        until("more answers", async || (self.received().await >= before + answers).then_some(())).await;
    }

    pub async fn end(&mut self) -> HashMap<String, (u64, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.await.unwrap();
        }
        self.received.lock().await.clone()
    }
}

async fn call(urls: Vec<String>, key: String, number: usize, received: Received, stop: Arc<AtomicBool>) {
    let http = reqwest::Client::new();
    let mut turn = number * 1_000_000;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let url = &urls[turn % urls.len()];
        let turn = turn as u64;
        let (input, output, stream) = (10 + turn % 997, 1 + turn % 89, turn.is_multiple_of(2));
        let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "stream": stream, "messages": [{ "role": "user", "content": "Hi" }] });
        let request = http
            .post(url)
            .header("x-api-key", &key)
            .header("mock-input", input)
            .header("mock-output", output);
        let Ok(response) = request.json(&body).send().await else { continue };
        let answer = Answer::read(response).await;
        // A stream is complete for its reader with its final event, whether or not the connection ends well.
        let whole = if stream { answer.text().contains("message_stop") } else { answer.complete };
        if answer.status == 200 && whole {
            received.lock().await.insert(answer.id, (input, output));
        }
    }
}

/// Everything that was received is in the leader's ledger, once, with what it cost.
pub async fn compare_books(leader: &Node, received: &HashMap<String, (u64, u64)>) {
    let rows = until("every answer is booked", async || {
        let rows = leader.usage().await;
        verdict(&rows, received).lost.is_empty().then_some(rows)
    })
    .await;
    assert_eq!(verdict(&rows, received), Verdict::default());
}

/// A counter or gauge of a node.
pub async fn metric(node: &Node, name: &str) -> u64 {
    let text = node.call(Method::GET, "/metrics", None).await.text().await.unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no metric {name}:\n{text}"))
}

/// Waits until nobody owes anything, then holds the leader's totals against its rows and the nodes' own totals.
pub async fn settled(leader: &Node, nodes: &[&Node]) {
    until("no peer owes anything", async || {
        let peers = leader.get("/admin/v1/peers").await;
        let owes = |peer: &Value| peer["is_active"] == json!(true) && peer["unsynced"] != json!(0);
        (!peers["items"].as_array().unwrap().iter().any(owes)).then_some(())
    })
    .await;
    until("the leader has as many usage logs as all nodes have of their own", async || {
        let mut requests = 0;
        for node in nodes {
            requests +=
                node.usage().await.iter().filter(|row| row["source_node"] == node_name(row, node)).count();
        }
        (leader.usage().await.len() == requests).then_some(())
    })
    .await;
    // What a leader on a shared database has answered itself comes into it a moment later, like a follower's.
    let (rows, stats) = until("the sums have every usage log", async || {
        let (rows, stats) = (leader.usage().await, leader.get("/admin/v1/stats").await);
        (stats["request_count"] == json!(rows.len())).then_some((rows, stats))
    })
    .await;
    let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(stats["total_tokens"], json!(sum("total_tokens")));
    assert_eq!(stats["cost_nanousd"], json!(sum("cost_nanousd")));
}

/// A follower's ledger holds nothing but its own logs; of the leader's only its own count.
fn node_name(row: &Value, node: &Node) -> Value {
    if node.grpc.is_some() { json!("sp-1") } else { row["source_node"].clone() }
}

async fn disable(leader: &Node, user: &str) {
    let answer = leader
        .call(Method::PATCH, &format!("/admin/v1/users/{user}"), Some(json!({ "active": false })))
        .await;
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}
