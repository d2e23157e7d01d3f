//! A copy of a follower's data directory: a virtual machine that was cloned, a backup that was started beside its original.

use std::path::Path;

use serde_json::json;

use super::{ask, booked, follower, follower_setup, leader, leader_setup, peer, ready};
use crate::harness::{Mock, Node, until};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Starts a node on a copy of `original`'s directory.
async fn copy_of(original: &Node, mock: &Mock, leader: &Node) -> Node {
    let setup = follower_setup(mock, leader);
    copy(&original.data_dir(), &setup.data_dir());
    setup.start().await
}

async fn why_not_ready(node: &Node) -> String {
    until("the node is not ready", async || {
        let answer = node.http.get(node.url("/readyz")).send().await.ok()?;
        let refused = answer.status() == 503;
        let text = answer.text().await.ok()?;
        (refused && text.contains("the leader refuses this node")).then_some(text)
    })
    .await
}

async fn has_place(leader: &Node, node: &Node) {
    until("the leader knows it", async || {
        let peer = peer(leader, "sp-2").await?;
        (peer["addr"] == json!(node.url("")) && peer["is_active"] == json!(true)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_living_follower_is_refused_until_the_original_is_gone() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let mut two = follower(&mock, &one, "sp-2").await;
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 1).await;
    let clone = copy_of(&two, &mock, &one).await;
    let said = why_not_ready(&clone).await;
    assert!(said.contains("copy") && said.contains(&two.url("")), "{said}");
    assert!(clone.log().contains("the leader refuses this node"), "{}", clone.log());
    ready(&two).await;
    has_place(&one, &two).await;
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 2).await;
    two.kill().await;
    ready(&clone).await;
    has_place(&one, &clone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_original_that_lost_its_place_to_a_copy_says_so() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    one.user_with_key("alice").await;
    let two = follower(&mock, &one, "sp-2").await;
    let clone = copy_of(&two, &mock, &one).await;
    why_not_ready(&clone).await;
    two.process.signal("STOP").await;
    ready(&clone).await;
    has_place(&one, &clone).await;
    two.process.signal("CONT").await;
    let said = why_not_ready(&two).await;
    assert!(said.contains(&clone.url("")), "{said}");
    ready(&clone).await;
}

/// No heartbeat is waited for: the line of the run before has broken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_killed_is_back_at_once_however_rarely_it_beats() {
    let mock = Mock::start().await;
    let mut setup = leader_setup(&mock);
    setup = setup.only("cluster", "heartbeat_interval = \"10m\"\nsync_interval = \"200ms\"");
    let one = setup.start().await;
    one.user_with_key("alice").await;
    let mut two = follower(&mock, &one, "sp-2").await;
    has_place(&one, &two).await;
    for _ in 0..2 {
        two.kill().await;
        two.restart().await;
        until("it is registered", async || {
            let metrics = two.http.get(two.url("/metrics")).send().await.ok()?.text().await.ok()?;
            metrics.contains("sproxy_cluster_registered 1").then_some(())
        })
        .await;
        ready(&two).await;
    }
}
