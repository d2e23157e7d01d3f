//! Several leaders on one PostgreSQL: each sees what happens, and a receiver is told once.

use serde_json::{Value, json};

use super::{alerts_at, ask, setup, spend, user};
use crate::harness::postgres::Postgres;
use crate::harness::{Mock, Node, Receiver, Setup, until};

const PACE: &str = "heartbeat_interval = \"300ms\"\nsync_interval = \"200ms\"";

fn leader(mock: &Mock, url: &str, alerts: &str) -> Setup {
    setup(mock, alerts).section("store", &format!("url = \"{url}\"")).section("cluster", PACE)
}

async fn ready(node: &Node) {
    until("the node is ready", async || {
        let answer = node.http.get(node.url("/readyz")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}

async fn events_of_cluster(node: &Node) -> Vec<Value> {
    node.get("/admin/v1/alerts/events?of=cluster").await["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_leaders_tell_a_receiver_once_and_one_sends_what_the_other_died_over() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, receiver, url) = (Mock::start().await, Receiver::start().await, server.new_database());
    let alerts = alerts_at(&receiver, "events = [\"quota.spent\", \"peer.lost\"]\ntimeout = \"1s\"");
    let one = leader(&mock, &url, &alerts).start().await;
    let mut two = leader(&mock, &url, &alerts).start().await;
    for node in [&one, &two] {
        ready(node).await;
    }
    let names = ["alice", "bob", "carol", "dave"];
    for name in names {
        let key = user(&one, name, json!({ "daily_tokens": 100 })).await;
        until("the key holds", async || (ask(&two, &key, 100).await.status == 200).then_some(())).await;
    }
    for name in names {
        receiver.sent("quota.spent", name).await;
    }
    until("both have had their say", async || {
        let mut raised = Vec::new();
        for node in [&one, &two] {
            let events = events_of_cluster(node).await;
            raised.push(events.iter().filter(|event| event["state"] == "delivered").count());
        }
        (raised == [4, 4]).then_some(())
    })
    .await;
    for name in names {
        assert_eq!(receiver.of("quota.spent", name).len(), 1, "{name}");
    }
    // Whoever sends this never hears what came of it; one of them dies.
    receiver.set_hanging(true);
    spend(&one, "erin").await;
    receiver.sent("quota.spent", "erin").await;
    two.kill().await;
    receiver.set_hanging(false);
    until("it is delivered", async || {
        let events = events_of_cluster(&one).await;
        let erin = events.iter().find(|event| event["title"].as_str().unwrap().contains("erin"))?;
        (erin["state"] == "delivered").then_some(())
    })
    .await;
    let lost = receiver.sent("peer.lost", "sp-2").await.json();
    assert_eq!(lost["node"], "sp-1");
}
