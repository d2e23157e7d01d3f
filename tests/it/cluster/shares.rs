//! What followers keep of limits, and what they let go.

use reqwest::Method;
use serde_json::json;

use super::{ask, follower, leader, metric};
use crate::harness::{Mock, Node, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_that_are_started_without_their_leader_are_held_to_their_shares_of_a_rate() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    one.post("/admin/v1/users", json!({ "name": "alice", "rpm": 6 })).await;
    let key = one.key_of("alice").await;
    let mut followers = Vec::new();
    for id in ["sp-2", "sp-3"] {
        followers.push(follower(&mock, &one, id).await);
    }
    for node in &followers {
        until("the node knows alice", async || quota(node, &key).await).await;
    }
    until("every node knows of the others", async || {
        let limits = [share_is_kept(&followers[0]).await, share_is_kept(&followers[1]).await];
        (limits == [true, true]).then_some(())
    })
    .await;
    one.kill().await;
    for node in &mut followers {
        node.kill().await;
        node.restart().await;
    }
    let mut admitted = 0;
    for node in &followers {
        for _ in 0..6 {
            admitted += usize::from(ask(node, &key).await.status == 200);
        }
    }
    assert_eq!(admitted, 4, "two of the three shares of six");
}

async fn quota(node: &Node, key: &str) -> Option<()> {
    let answer = node.http.get(node.url("/me/quota")).bearer_auth(key).send().await.ok()?;
    answer.status().is_success().then_some(())
}

/// Looks into the follower's own notes.
async fn share_is_kept(node: &Node) -> bool {
    use sproxy::store::{Location, MetaKey, MetaRepo, Store, Synchronous};
    let path = node.data_dir().join("sproxy.db");
    let store = Store::open(&Location::Sqlite { path, synchronous: Synchronous::Normal }).await.unwrap();
    let kept = MetaRepo::on(&store).get(MetaKey::LimitShare).await.unwrap();
    store.close().await;
    kept.as_deref() == Some("50/150")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_forget_who_was_removed() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let two = follower(&mock, &one, "sp-2").await;
    one.post("/admin/v1/groups", json!({ "name": "devs" })).await;
    one.post("/admin/v1/users", json!({ "name": "alice", "group": "devs" })).await;
    let key = one.key_of("alice").await;
    until("alice is known", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    for node in [&one, &two] {
        until("alice and her group are counted", async || counted(node, 2).await).await;
    }
    for path in ["/admin/v1/users/alice", "/admin/v1/groups/devs"] {
        let removed = one.call(Method::DELETE, path, None).await;
        assert!(removed.status().is_success(), "{}", removed.text().await.unwrap());
    }
    for node in [&one, &two] {
        until("nobody is counted any more", async || counted(node, 0).await).await;
    }
}

async fn counted(node: &Node, subjects: u64) -> Option<()> {
    (metric(node, "sproxy_limit_subjects").await == subjects).then_some(())
}
