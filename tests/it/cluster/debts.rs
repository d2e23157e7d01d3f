//! What a follower owes and could lose on the way: refused by its leader, booked under a name that it had before, or owed to
//! a leader that it has become itself.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::{
    PACE, ask, booked, follower, follower_behind, leader, leader_behind_links, leader_setup, metric, peer,
    ready,
};
use crate::cli::plain;
use crate::harness::postgres::Postgres;
use crate::harness::{Link, Mock, Mode, Node, time, until};

async fn unsynced(node: &Node) -> usize {
    node.usage().await.iter().filter(|row| row["synced"] == json!(false)).count()
}

async fn leader_on_postgresql(mock: &Mock) -> Option<(Node, std::sync::Arc<Postgres>)> {
    let server = Postgres::shared()?;
    Some((leader_behind_links(mock, &server.new_database()).start().await, server))
}

/// In the database of a node that does not run.
fn change(node: &Node, sql: &str) {
    let database = Connection::open(node.data_dir().join("sproxy.db")).unwrap();
    assert_eq!(database.execute(sql, ()).unwrap(), 1, "{sql}");
}

async fn refuse_and_retry(mock: &Mock, one: Node) {
    let key = one.user_with_key("alice").await;
    let link = Link::to(one.grpc.unwrap()).await;
    let mut two = follower_behind(&link, mock, "sp-2").await;
    link.set(Mode::Cut);
    let answer = ask(&two, &key).await;
    assert_eq!(answer.status, 200);
    let owed = two.usage_of(&answer).await;
    two.kill().await;
    change(&two, "UPDATE usage_logs SET cost_nanousd = cost_nanousd + 2000000000000000");
    link.set(Mode::Open);
    two.restart().await;
    until("the leader refuses it", async || (metric(&two, "sproxy_sync_set_aside").await == 1).then_some(()))
        .await;
    // It is nowhere to be seen as paid.
    let still_owed = until("the leader is told", async || {
        let stats = one.get("/admin/v1/stats").await;
        let of_two = |entry: &&Value| entry["node"] == json!("sp-2");
        let owed = stats["incomplete"].as_array()?.iter().find(of_two)?["unsynced"].clone();
        Some((stats, owed))
    })
    .await;
    let (still_owed, unsynced_by_two) = still_owed;
    assert_eq!(unsynced_by_two, json!(1));
    assert!(time(&still_owed["complete_through"]) < time(&owed["created_at"]), "{still_owed}");
    assert_eq!(peer(&one, "sp-2").await.unwrap()["unsynced"], json!(1));
    // A heartbeat that comes while the log is set aside counts it twice, never not at all.
    for (node, name) in [(&one, "sproxy_cluster_unsynced"), (&two, "sproxy_sync_unsynced")] {
        until("one is owed", async || (metric(node, name).await == 1).then_some(())).await;
    }

    two.kill().await;
    change(&two, "UPDATE usage_logs SET cost_nanousd = cost_nanousd - 2000000000000000");
    two.restart().await;
    ready(&two).await;
    let data_dir = two.data_dir().display().to_string();
    let retry = ["usage", "retry-rejected", "--data-dir", &data_dir];
    let said = plain(&[&retry[..], &["--json"]].concat()).await.json();
    assert_eq!(said, json!({ "node": "sp-2", "retried": 1 }));
    assert_eq!(booked(&one, 1).await["total_tokens"], json!(100));
    until("nothing is owed", async || {
        let stats = one.get("/admin/v1/stats").await;
        let is_complete = time(&stats["complete_through"]) > time(&owed["created_at"]);
        (stats["incomplete"] == json!([]) && is_complete).then_some(())
    })
    .await;
    assert_eq!(unsynced(&two).await, 0);
    let said = plain(&retry).await.done();
    assert!(said.contains("sp-2 has no usage logs that its leader refused"), "{said}");
    let audit = two.get("/admin/v1/audit").await;
    assert!(audit.to_string().contains("usage.retry_rejected"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_leader_refused_is_owed_until_it_is_offered_again_and_taken() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    refuse_and_retry(&mock, one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_on_postgresql_waits_for_what_it_refused_too() {
    let mock = Mock::start().await;
    let Some((one, _server)) = leader_on_postgresql(&mock).await else { return };
    refuse_and_retry(&mock, one).await;
}

/// The leader has not noticed yet that the node of the former name is gone: they are the same.
async fn change_the_name(mock: &Mock, one: Node) {
    let key = one.user_with_key("alice").await;
    let link = Link::to(one.grpc.unwrap()).await;
    let three = follower(mock, &one, "sp-3").await;
    let mut two = follower_behind(&link, mock, "sp-2").await;
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 1).await;
    link.set(Mode::Cut);
    for _ in 0..3 {
        assert_eq!(ask(&two, &key).await.status, 200);
    }
    two.kill().await;
    two.set("node", "id = \"berlin\"");
    link.set(Mode::Open);
    two.restart().await;
    assert_eq!(booked(&one, 4).await["total_tokens"], json!(400));
    until("nothing is owed", async || (unsynced(&two).await == 0).then_some(())).await;
    assert_eq!(metric(&two, "sproxy_sync_set_aside").await, 0);
    for (node, key) in [(&two, &key), (&three, &key)] {
        until("it serves", async || (ask(node, key).await.status == 200).then_some(())).await;
    }
    booked(&one, 6).await;
    let nodes: Vec<Value> = one.usage().await.iter().map(|row| row["source_node"].clone()).collect();
    let of = |name: &str| nodes.iter().filter(|node| **node == json!(name)).count();
    assert_eq!((of("sp-2"), of("berlin"), of("sp-3")), (4, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_owed_under_a_name_that_a_node_had_before_is_taken() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    change_the_name(&mock, one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_on_postgresql_takes_what_is_owed_under_a_former_name_too() {
    let mock = Mock::start().await;
    let Some((one, _server)) = leader_on_postgresql(&mock).await else { return };
    change_the_name(&mock, one).await;
}

/// A follower that is made the leader, and later a follower again.
async fn lead_for_a_while(mock: &Mock, store: Option<&str>) {
    let mut one = leader(mock).await;
    let key = one.user_with_key("alice").await;
    let line = |leader: &Node| format!("{PACE}\nleader = \"http://{}\"", leader.grpc.unwrap());
    let mut setup = leader_setup(mock).only("cluster", &line(&one)).section("node", "id = \"sp-2\"");
    if let Some(store) = store {
        setup = setup.section("store", &format!("url = \"{store}\""));
    }
    let mut two = setup.start().await;
    ready(&two).await;
    for _ in 0..2 {
        assert_eq!(ask(&two, &key).await.status, 200);
    }
    booked(&one, 2).await;
    until("they are acknowledged", async || (unsynced(&two).await == 0).then_some(())).await;
    one.kill().await;
    for _ in 0..3 {
        assert_eq!(ask(&two, &key).await.status, 200);
    }
    assert_eq!(unsynced(&two).await, 3);

    two.kill().await;
    two.set("cluster", PACE);
    two.restart().await;
    ready(&two).await;
    assert_eq!(booked(&two, 5).await["total_tokens"], json!(500));
    assert_eq!(unsynced(&two).await, 0);
    let last = time(&two.usage().await.last().unwrap()["created_at"]);
    until("totals are complete", async || {
        let stats = two.get("/admin/v1/stats").await;
        (time(&stats["complete_through"]) > last).then_some(())
    })
    .await;
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&two, 6).await;

    one.restart().await;
    two.kill().await;
    two.set("cluster", &line(&one));
    two.restart().await;
    assert_eq!(booked(&one, 6).await["total_tokens"], json!(600));
    until("they are acknowledged", async || (unsynced(&two).await == 0).then_some(())).await;
    assert_eq!(booked(&one, 6).await["total_tokens"], json!(600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_becomes_the_leader_counts_what_it_owed_once_and_owes_it_again_when_it_follows() {
    let mock = Mock::start().await;
    lead_for_a_while(&mock, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_on_postgresql_that_becomes_the_leader_counts_what_it_owed_once() {
    let Some(server) = Postgres::shared() else { return };
    let mock = Mock::start().await;
    lead_for_a_while(&mock, Some(&server.new_database())).await;
}
