//! The line from a node to its PostgreSQL goes dead while it serves: first nothing is heard any more, then it is cut.

use std::sync::Arc;

use reqwest::Method;
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::{Traffic, ask, compare_books, follower_setup, leader_setup, ready, settled};
use crate::harness::postgres::Postgres;
use crate::harness::switch::{Passes, Switch};
use crate::harness::{Mock, Node, until};

/// A leader and a follower, one of them on PostgreSQL by way of a switch.
struct Stage {
    server: Arc<Postgres>,
    switch: Switch,
    one: Node,
    two: Node,
    key: String,
    _mock: Mock,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Leader,
    Follower,
}

impl Stage {
    async fn start(on: On) -> Option<Self> {
        let server = spawn_blocking(Postgres::shared).await.unwrap()?;
        let mock = Mock::start().await;
        let url = server.new_database();
        let switch = Switch::to(&server.socket()).await;
        let store = format!("url = \"{}\"", switch.url_of(&url));
        let mut one = leader_setup(&mock);
        if on == On::Leader {
            one = one.section("store", &store);
        }
        let one = one.start().await;
        let mut two = follower_setup(&mock, &one).section("node", "id = \"sp-2\"");
        if on == On::Follower {
            two = two.section("store", &store);
        }
        let two = two.start().await;
        ready(&two).await;
        let key = one.user_with_key("alice").await;
        until("the follower knows alice", async || (ask(&two, &key).await.status == 200).then_some(())).await;
        Some(Self { server, switch, one, two, key, _mock: mock })
    }
}

async fn not_ready(node: &Node) -> String {
    until("it says that it is not ready", async || {
        let answer = node.http.get(node.url("/readyz")).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        (status == 503).then_some(text)
    })
    .await
}

/// How many usage logs a node owes, by its metrics.
async fn owes(node: &Node) -> Option<u64> {
    let text = node.http.get(node.url("/metrics")).send().await.ok()?.text().await.ok()?;
    text.lines().find_map(|line| line.strip_prefix("sproxy_sync_unsynced ")?.parse().ok())
}

/// What a node counts against alice's limits.
async fn counts(node: &Node, key: &str) -> Option<u64> {
    let quota = node.http.request(Method::GET, node.url("/me/quota")).bearer_auth(key).send().await.ok()?;
    let quota: Value = quota.json().await.ok()?;
    quota["user"]["used"]["monthly_tokens"].as_u64()
}

async fn lose_the_line(on: On, passes: Passes) {
    let Some(stage) = Stage::start(on).await else { return };
    let Stage { one, two, key, .. } = &stage;
    let (struck, other) = if on == On::Leader { (one, two) } else { (two, one) };
    // Where one commit is not heard, it is one of usage logs: of the follower's own, or of what it pushes.
    let nodes = if passes == Passes::UntilCommit { vec![two] } else { vec![one, two] };
    let mut traffic = Traffic::on(&nodes, key, 8);
    traffic.more(50).await;
    stage.switch.let_pass(passes);
    // What was bought by then is handed out: its record is safe on the node's own disk.
    let bought = ask(struck, key).await;
    assert_eq!((bought.status, bought.complete), (200, true), "{}", bought.text());
    if on == On::Leader {
        // It books on its own disk, and nobody notices.
        let owes = async || owes(struck).await.filter(|owed| *owed > 0);
        until("it owes the database something", owes).await;
        assert_eq!(ask(struck, key).await.status, 200);
        stage.switch.turn(None);
        assert_eq!((ask(struck, key).await.status, ask(other, key).await.status), (200, 200));
        assert_eq!(struck.http.get(struck.url("/readyz")).send().await.unwrap().status(), 200);
    } else {
        let said = not_ready(struck).await;
        assert!(said.contains("the ledger cannot be written"), "{said}");
        // Nothing is bought that cannot be booked, and the other node goes on.
        let refused = ask(struck, key).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{}", refused.text());
        assert_eq!(ask(other, key).await.status, 200);
        stage.switch.turn(None);
        not_ready(struck).await;
        assert_eq!(ask(other, key).await.status, 200);
    }
    stage.switch.let_pass(Passes::Everything);
    stage.switch.turn(Some(&stage.server.socket()));
    ready(struck).await;
    traffic.more(50).await;
    let mut received = traffic.end().await;
    received.insert(bought.id, (70, 30));
    compare_books(one, &received).await;
    settled(one, &[one, two]).await;
    let stats = one.get("/admin/v1/stats").await;
    for node in [one, two] {
        until("limits count what the books have", async || {
            (counts(node, key).await? == stats["total_tokens"]).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_nothing_of_its_database_loses_nothing() {
    lose_the_line(On::Leader, Passes::Nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_one_whose_database_commits_and_is_not_heard() {
    lose_the_line(On::Leader, Passes::UntilCommit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_hears_nothing_of_its_database_loses_nothing() {
    lose_the_line(On::Follower, Passes::Nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_a_follower_whose_database_commits_and_is_not_heard() {
    lose_the_line(On::Follower, Passes::UntilCommit).await;
}
