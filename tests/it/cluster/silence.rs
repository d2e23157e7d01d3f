//! A leader or a follower that says nothing any more, though nobody has closed its connection.

use serde_json::json;
use tokio::net::TcpListener;

use super::{follower_behind, follower_of, leader, peer};
use crate::harness::{Link, Mock, Mode, Node, until};

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
