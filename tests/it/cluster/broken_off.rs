//! Followers that stop while they push: what the leader has committed counts against limits all the same.

use reqwest::Method;
use serde_json::Value;
use sproxy::domain::ids::RequestId;
use sproxy::domain::usage::UsageFilter;
use sproxy::store::{Location, Store, Synchronous, UsageRepo};

use super::{ask, booked, follower, leader};
use crate::harness::{Mock, Node, until};

/// Logs that the follower owes; several rounds of pushing.
const BACKLOG: usize = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_know_what_the_books_know_though_a_follower_stops_in_the_middle_of_its_pushes() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let mut two = follower(&mock, &one, "sp-2").await;
    ask(&two, &key).await;
    booked(&one, 1).await;
    two.kill().await;
    owe(&two).await;
    for signal in ["KILL", "KILL", "KILL", "TERM"] {
        let before = requests(&one).await;
        if before > BACKLOG as u64 {
            break;
        }
        two.restart().await;
        until("some of the backlog is taken", async || (requests(&one).await > before).then_some(())).await;
        two.process.signal(signal).await;
        two.process.ended().await;
    }
    agrees(&one, &key).await;
    if requests(&one).await <= BACKLOG as u64 {
        two.restart().await;
    }
    booked(&one, BACKLOG + 1).await;
    agrees(&one, &key).await;
}

/// Puts copies of the one log into a stopped follower's database, each a request of its own.
async fn owe(follower: &Node) {
    let path = follower.data_dir().join("sproxy.db");
    let store = Store::open(&Location::Sqlite { path, synchronous: Synchronous::Normal }).await.unwrap();
    let usage = UsageRepo::on(&store);
    let template = usage.query(&UsageFilter::default(), 1, None).await.unwrap().items.remove(0).record;
    for _ in 0..BACKLOG / 1_000 {
        let mut copies = vec![template.clone(); 1_000];
        for copy in &mut copies {
            copy.request_id = RequestId::new();
        }
        usage.insert_batch(&copies, false).await.unwrap();
    }
    store.close().await;
}

async fn requests(leader: &Node) -> u64 {
    leader.get("/admin/v1/stats").await["request_count"].as_u64().unwrap()
}

/// Waits until what counts against alice's limits on the leader is what its books say that she used.
async fn agrees(leader: &Node, key: &str) {
    until("limits and books agree", async || {
        let quota =
            leader.http.request(Method::GET, leader.url("/me/quota")).bearer_auth(key).send().await.ok()?;
        let quota: Value = quota.json().await.ok()?;
        let stats = leader.get("/admin/v1/stats").await;
        (quota["user"]["used"]["monthly_tokens"] == stats["total_tokens"]).then_some(())
    })
    .await;
}
