//! What holds on for a while: it is told when it begins and when it is over.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::json;

use super::{AT_ONCE, alerts_at, ask, setup, spend, user};
use crate::harness::{Mock, Node, Receiver, Setup, until};

const PACE: &str = "heartbeat_interval = \"300ms\"\nsync_interval = \"200ms\"";

async fn ready(node: &Node) {
    until("the node is ready", async || {
        let answer = node.http.get(node.url("/readyz")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}

fn target_at(address: SocketAddr) -> String {
    format!(
        "[[targets]]\nname = \"main\"\nprovider = \"anthropic\"\nurl = \"http://{address}\"\napi_key = \"k\"\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_dies_is_told_down_and_when_it_answers_again_up_also_by_a_node_that_began_anew() {
    let receiver = Receiver::start().await;
    let mut mock = Mock::start().await;
    let address = mock.address;
    let setup =
        Setup::with_targets(&(target_at(address) + &alerts_at(&receiver, ""))).section("alerting", AT_ONCE);
    let mut node = setup.start().await;
    let key = user(&node, "alice", json!({})).await;
    assert_eq!(ask(&node, &key, 10).await.status, 200);
    mock.process.kill().await;
    for _ in 0..3 {
        assert_ne!(ask(&node, &key, 10).await.status, 200);
    }
    let down = receiver.sent("target.down", "main").await.json();
    assert_eq!((&down["status"], &down["severity"]), (&json!("firing"), &json!("critical")), "{down}");
    assert_eq!(down["title"], "Target main of sp-1 is down");
    assert_eq!(down["details"]["reason"], "failed several times in a row");
    node.kill().await;
    let restarted = ["mock-provider", "--listen", &address.to_string()].map(str::to_owned);
    let arguments: Vec<&str> = restarted.iter().map(String::as_str).collect();
    let (_again, _) = crate::harness::Process::start(&arguments, &[]).await;
    node.restart().await;
    let up = receiver.sent("target.up", "main").await.json();
    assert_eq!((&up["status"], &up["severity"]), (&json!("resolved"), &json!("info")), "{up}");
    assert_eq!(ask(&node, &key, 10).await.status, 200);
    assert_eq!(receiver.of("target.down", "main").len(), 1, "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_fails_for_a_moment_is_not_told() {
    let (mock, receiver) = (Mock::start().await, Receiver::start().await);
    let node = Setup::with_targets_at(&mock.url()).and_file(&alerts_at(&receiver, "")).start().await;
    let key = user(&node, "alice", json!({})).await;
    mock.script(&[json!({ "times": 3, "fail": "before-headers" })]).await;
    for _ in 0..3 {
        let _failed = ask(&node, &key, 10).await;
    }
    until("the node sees it down", async || {
        let targets = node.get("/admin/v1/targets").await;
        (targets["items"][0]["healthy"] == json!(false)).then_some(())
    })
    .await;
    until("it is up again", async || (ask(&node, &key, 10).await.status == 200).then_some(())).await;
    spend(&node, "bob").await;
    receiver.sent("quota.spent", "bob").await;
    assert!(receiver.deliveries().iter().all(|delivery| !delivery.event().starts_with("target.")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_killed_is_told_lost_and_back_and_one_that_leaves_is_not() {
    let (mock, receiver) = (Mock::start().await, Receiver::start().await);
    let mut one = setup(&mock, &alerts_at(&receiver, "events = [\"peer.lost\"]"))
        .section("cluster", PACE)
        .start()
        .await;
    let follower = |id: &str, leader: &Node| {
        let leader = format!("leader = \"http://{}\"", leader.grpc.expect("a leader serves gRPC"));
        let setup = Setup::with_targets_at(&mock.url()).section("cluster", PACE).section("cluster", &leader);
        setup.section("node", &format!("id = \"{id}\""))
    };
    let mut two = follower("sp-2", &one).start().await;
    let mut three = follower("sp-3", &one).start().await;
    for node in [&two, &three] {
        ready(node).await;
    }
    three.process.ask_to_leave().await;
    three.process.ended().await;
    two.kill().await;
    let lost = receiver.sent("peer.lost", "sp-2").await.json();
    assert_eq!((&lost["status"], &lost["severity"]), (&json!("firing"), &json!("critical")), "{lost}");
    assert_eq!((&lost["node"], &lost["title"]), (&json!("sp-1"), &json!("sp-2 has fallen silent")));
    // A leader that begins anew knows what it has told.
    one.kill().await;
    one.restart().await;
    ready(&one).await;
    two.restart().await;
    ready(&two).await;
    let back = receiver
        .sent_that("sp-2 is back", |delivery| {
            delivery.is("peer.lost", "sp-2") && delivery.json()["status"] == "resolved"
        })
        .await;
    assert_eq!(back.json()["title"], "sp-2 is back");
    // What a leader was killed over is sent again, with the same id.
    let told = || -> BTreeSet<String> {
        let of_it = receiver.of("peer.lost", "sp-2");
        of_it
            .iter()
            .map(|delivery| format!("{} {}", delivery.json()["id"], delivery.json()["status"]))
            .collect()
    };
    assert_eq!(told().len(), 2, "{:?}", told());
    // Another silence is told anew, and a peer that is forgotten is over.
    two.kill().await;
    until("it is told again", async || (told().len() == 3).then_some(())).await;
    let forgotten = one.call(reqwest::Method::DELETE, "/admin/v1/peers/sp-2", None).await;
    assert!(forgotten.status().is_success());
    let over =
        receiver.sent_that("it is over", |delivery| delivery.json()["title"] == "sp-2 is forgotten").await;
    assert_eq!(over.json()["status"], "resolved");
    assert!(receiver.of("peer.lost", "sp-3").is_empty(), "it has left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_cannot_push_tells_its_backlog_and_that_it_has_caught_up() {
    let (mock, receiver) = (Mock::start().await, Receiver::start().await);
    let mut one = Setup::with_targets_at(&mock.url()).section("cluster", PACE).start().await;
    let leader = format!("leader = \"http://{}\"", one.grpc.expect("a leader serves gRPC"));
    let two = setup(&mock, &alerts_at(&receiver, "events = [\"backlog\"]"))
        .section("alerting", "backlog_count = 3")
        .section("cluster", PACE)
        .section("cluster", &leader)
        .section("node", "id = \"sp-2\"")
        .start()
        .await;
    ready(&two).await;
    let key = user(&one, "alice", json!({})).await;
    until("the key holds", async || (ask(&two, &key, 10).await.status == 200).then_some(())).await;
    one.kill().await;
    for _ in 0..3 {
        assert_eq!(ask(&two, &key, 10).await.status, 200);
    }
    let behind = receiver.sent("backlog", "sp-2").await.json();
    assert_eq!((&behind["status"], &behind["node"]), (&json!("firing"), &json!("sp-2")), "{behind}");
    assert!(behind["details"]["unsynced"].as_u64() >= Some(3), "{behind}");
    one.restart().await;
    let over =
        receiver.sent_that("it has caught up", |delivery| delivery.json()["status"] == "resolved").await;
    assert_eq!(over.json()["title"], "sp-2 has caught up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_cannot_write_is_told_although_the_outbox_lies_in_the_same_database() {
    let (mock, receiver) = (Mock::start().await, Receiver::start().await);
    let node = setup(&mock, &alerts_at(&receiver, "events = [\"ledger.stuck\"]")).start().await;
    let key = user(&node, "alice", json!({})).await;
    assert_eq!(ask(&node, &key, 10).await.status, 200);
    let database = rusqlite::Connection::open(node.data_dir().join("sproxy.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let bought = ask(&node, &key, 10).await;
    assert_eq!((bought.status, bought.complete), (200, true), "{}", bought.text());
    let stuck = receiver.sent("ledger.stuck", "sp-1").await.json();
    assert_eq!((&stuck["status"], &stuck["severity"]), (&json!("firing"), &json!("critical")), "{stuck}");
    assert_eq!(stuck["title"], "The ledger of sp-1 is stuck");
    database.execute_batch("ROLLBACK").unwrap();
    let over = receiver.sent_that("it is over", |delivery| delivery.json()["status"] == "resolved").await;
    assert_eq!(over.json()["title"], "The ledger of sp-1 takes usage again");
    let events = until("what was told from memory is written down", async || {
        let events = node.get("/admin/v1/alerts/events").await;
        let events = events["items"].as_array().unwrap().clone();
        let all = events.len() == 2 && events.iter().all(|event| event["state"] == "delivered");
        all.then_some(events)
    })
    .await;
    assert_eq!(events[1]["id"], stuck["id"]);
    assert_eq!(receiver.deliveries().len(), 2, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_removed_under_a_node_is_told() {
    let (mock, receiver) = (Mock::start().await, Receiver::start().await);
    let node = setup(&mock, &alerts_at(&receiver, "events = [\"ledger.stuck\"]")).start().await;
    let (here, away) = (node.data_dir().join("sproxy.db"), node.directory().join("sproxy.db"));
    std::fs::rename(&here, &away).unwrap();
    let stuck = receiver.sent("ledger.stuck", "sp-1").await.json();
    assert!(stuck["text"].as_str().unwrap().contains("sproxy.db was removed"), "{stuck}");
    std::fs::rename(&away, &here).unwrap();
    receiver.sent_that("it is over", |delivery| delivery.json()["status"] == "resolved").await;
}
