//! A leader or a follower that says nothing any more, though nobody has closed its connection.

use std::time::Duration;

use serde_json::json;
use sproxy::wire::v1;
use sproxy::wire::v1::cluster_client::ClusterClient;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::grpc::{channel, registration};
use super::{ask, booked, follower_behind, follower_of, leader, peer, ready};
use crate::harness::{Link, Mock, Mode, Node, Speaker, until};

/// Asks it to leave: it does, in order, and waits for nobody who says nothing.
async fn leaves(node: &mut Node) {
    node.process.ask_to_leave().await;
    assert_eq!(node.process.ended().await, Some(0));
    let log = node.log();
    assert!(log.contains("the leader took too long"), "{log}");
    assert!(!log.contains("tasks did not end in time"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_stops_gives_up_a_heartbeat_that_nobody_answers() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let link = Link::to(one.grpc.unwrap()).await;
    let mut two = follower_behind(&link, &mock, "sp-2").await;
    link.set(Mode::Stalled);
    until("its heartbeats do not arrive", async || {
        (peer(&one, "sp-2").await?["is_active"] == json!(false)).then_some(())
    })
    .await;
    leaves(&mut two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_stops_gives_up_a_registration_that_nobody_answers() {
    let mock = Mock::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut two = follower_of(&mock, &url).section("node", "id = \"sp-2\"").start().await;
    let _held = silent.accept().await.unwrap();
    leaves(&mut two).await;
}

/// The leader asks twice a minute whether a connection lives and waits 20 seconds for the answer, so this takes a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_loses_everything_and_closes_nothing_is_noticed_by_both_sides() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let link = Link::to(one.grpc.unwrap()).await;
    let two = follower_behind(&link, &mock, "sp-2").await;
    link.set(Mode::Lost);
    assert_eq!(ask(&two, &key).await.status, 200);
    until("the follower gives its connection up", async || {
        (link.given_up_by(Speaker::Follower) == 1).then_some(())
    })
    .await;
    assert_eq!(peer(&one, "sp-2").await.unwrap()["is_active"], json!(false));
    until("the leader gives it up too", async || (link.given_up_by(Speaker::Leader) == 1).then_some(()))
        .await;
    link.set(Mode::Open);
    booked(&one, 1).await;
    ready(&two).await;
}

/// As in a cluster of many nodes: before a heartbeat's time has passed, that of another node has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_nothing_to_tell_says_so_however_often_it_hears_of_other_nodes() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let mut cluster = ClusterClient::new(channel(&one).await);
    let (two, three) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let ledger = cluster.register(registration("sp-2", two)).await.unwrap().into_inner().ledger_id;
    cluster.register(registration("sp-3", three)).await.unwrap();
    let request = v1::WatchStateRequest {
        node_id: "sp-2".to_owned(),
        instance_id: two.to_string(),
        ..v1::WatchStateRequest::default()
    };
    let beat = v1::HeartbeatRequest {
        node_id: "sp-3".to_owned(),
        instance_id: three.to_string(),
        ledger_id: ledger,
        ..v1::HeartbeatRequest::default()
    };
    let mut news = cluster.watch_state(request).await.unwrap().into_inner();
    let mut told = 0;
    until("five messages more than there is news", async || {
        cluster.heartbeat(beat.clone()).await.unwrap();
        while let Ok(message) = timeout(Duration::from_millis(1), news.message()).await {
            message.unwrap().expect("the stream goes on");
            told += 1;
        }
        (told >= 10).then_some(())
    })
    .await;
}
