//! A rolling restart behind a load balancer: every node in turn, under load, and no caller notices.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::{compare_books, follower, leader, peer, settled};
use crate::harness::balancer::Balancer;
use crate::harness::{Answer, Mock, Node, SPROXY, until};

const CLIENTS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_drained_and_restarted_in_turn_cost_no_caller_an_answer() {
    in_turn("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_where_the_balancer_speaks_http2() {
    in_turn("proto h2 check-proto h1").await;
}

async fn in_turn(balancer_speaks: &str) {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let (two, three) = (follower(&mock, &one, "sp-2").await, follower(&mock, &one, "sp-3").await);
    let mut nodes = [one, two, three];
    let Some(balancer) = Balancer::before(&nodes.each_ref(), balancer_speaks) else { return };
    nodes[0].post("/admin/v1/users", json!({ "name": "root", "role": "admin" })).await;
    let (root, key) = (nodes[0].key_of("root").await, nodes[0].user_with_key("alice").await);
    for (n, node) in nodes.iter().enumerate() {
        until("the keys hold", async || peers(node, &root).await).await;
        balancer.sees(&format!("sp-{}", n + 1), true).await;
    }

    // From its next start on.
    nodes[2].set("http", "shutdown_delay = \"3s\"");
    let mut load = Load::on(&balancer, &key);
    load.more(50).await;
    let mut under_way = 0;
    for n in 0..nodes.len() {
        let (id, beside) = (format!("sp-{}", n + 1), (n + 1) % nodes.len());
        command(&nodes[beside], &root, &["peer", "drain", &id]).await;
        balancer.sees(&id, false).await;
        let listed = peer(&nodes[0], &id).await.unwrap();
        assert_eq!((&listed["draining"], &listed["is_active"]), (&json!(true), &json!(true)));
        under_way += in_flight(&nodes[n]).await;
        leave_and_come_back(&mut nodes[n]).await;
        assert!(reasons(&nodes[n]).await.contains("the node is drained"), "a restart undoes no drain");
        load.more(20).await;
        command(&nodes[beside], &root, &["peer", "undrain", &id]).await;
        balancer.sees(&id, true).await;
        load.more(50).await;
    }
    assert!(under_way > 0, "no stream was under way when its node was asked to leave");

    // Nobody drains it before: that it goes on for a while is enough for the balancer to notice.
    leave_and_come_back(&mut nodes[2]).await;
    balancer.sees("sp-3", true).await;
    load.more(50).await;

    let (received, failed) = load.end().await;
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), received.len() + failed.len());
    let [one, two, three] = &nodes;
    settled(one, &[one, two, three]).await;
    compare_books(one, &received).await;
    let (served, stats) = (mock.served().await, one.get("/admin/v1/stats").await);
    let sum = |field: &str| served.as_object().unwrap().values().map(|of| of[field].as_u64().unwrap()).sum();
    let served: [u64; 3] = ["requests", "input", "output"].map(sum);
    let booked = ["request_count", "total_input", "total_output"].map(|field| stats[field].as_u64().unwrap());
    assert_eq!((served, received.len() as u64), (booked, served[0]));
    println!("{} answers, {under_way} of them under way when their node was asked to leave", received.len());
}

/// SIGTERM, a good end, and the start of what would be the next version.
async fn leave_and_come_back(node: &mut Node) {
    node.process.ask_to_leave().await;
    assert_eq!(node.process.ended().await, Some(0), "{}", node.log());
    node.restart().await;
}

async fn reasons(node: &Node) -> String {
    let answer = node.http.get(node.url("/readyz")).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["reasons"].to_string()
}

async fn in_flight(node: &Node) -> u64 {
    let text = node.http.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let values =
        text.lines().filter_map(|line| line.strip_prefix("sproxy_target_in_flight{")?.split_once("} "));
    values.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}

/// What an admin types, at any node. A follower may have to find its leader again first.
async fn command(at: &Node, token: &str, arguments: &[&str]) {
    until(&format!("sproxy {arguments:?}"), async || {
        let mut command = Command::new(SPROXY);
        command.args(arguments).args(["--server", &at.url(""), "--token", token]);
        let ended = command.output().await.unwrap();
        ended.status.success().then_some(())
    })
    .await;
}

/// Whether the node knows an admin's key.
async fn peers(node: &Node, token: &str) -> Option<()> {
    let request = node.http.get(node.url("/admin/v1/peers")).bearer_auth(token);
    request.send().await.ok()?.status().is_success().then_some(())
}

/// Request id → (input, output).
type Received = HashMap<String, (u64, u64)>;

/// What was answered as it should be, and what was not.
type Answers = Arc<Mutex<(Received, Vec<String>)>>;

/// Callers behind the balancer, each with one call after the other, until they are stopped.
struct Load {
    answers: Answers,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(balancer: &Balancer, key: &str) -> Self {
        let (answers, stop): (Answers, _) = Default::default();
        let client = |number| {
            let (url, key) = (balancer.url("/v1/messages"), key.to_owned());
            let (answers, stop): (_, Arc<AtomicBool>) = (Arc::clone(&answers), Arc::clone(&stop));
            tokio::spawn(async move {
                let http = reqwest::Client::new();
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let answered = call(&http, &url, &key, number, turn).await;
                    let mut answers = answers.lock().await;
                    match answered {
                        Ok((id, tokens)) => drop(answers.0.insert(id, tokens)),
                        Err(what) => answers.1.push(what),
                    }
                }
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { answers, stop, clients }
    }

    async fn received(&self) -> usize {
        self.answers.lock().await.0.len()
    }

    async fn more(&self, answers: usize) {
        let before = self.received().await;
        until("more answers", async || (self.received().await >= before + answers).then_some(())).await;
    }

    async fn end(&mut self) -> (Received, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.await.unwrap();
        }
        std::mem::take(&mut *self.answers.lock().await)
    }
}

/// One call. Some callers want JSON, some a stream, and some a stream that takes seconds.
async fn call(
    http: &reqwest::Client,
    url: &str,
    key: &str,
    number: usize,
    turn: u64,
) -> Result<(String, (u64, u64)), String> {
    let (input, output) = (10 + (number as u64 * 7_919 + turn) % 997, 1 + turn % 89);
    let (stream, events, delay) = [(false, 1, 20), (true, 5, 5), (true, 40, 100)][number % 3];
    let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "stream": stream, "messages": [{ "role": "user", "content": "Hi" }] });
    let request = http.post(url).header("x-api-key", key).json(&body);
    let request = request.header("mock-events", events).header("mock-delay-ms", delay);
    let request = request.header("mock-input", input).header("mock-output", output);
    let answer = Answer::read(request.send().await.map_err(|error| format!("{error:?}"))?).await;
    let whole = answer.complete && (!stream || answer.text().contains("message_stop"));
    if answer.status == 200 && whole {
        return Ok((answer.id, (input, output)));
    }
    Err(format!("caller {number}, turn {turn}: {} {} {:?}", answer.status, answer.text(), answer.headers))
}
