//! Leaders that have lost their disks, and what followers know of users: what one of them alone knows is not lost, and what
//! was removed does not come back.

use std::sync::Arc;

use reqwest::Method;

use super::restore::Backup;
use super::{ask, follower, leader, leader_setup};
use crate::harness::postgres::Postgres;
use crate::harness::{Mock, Node, until};

/// Waits until every node answers this key so.
async fn answered(nodes: &[&Node], key: &str, status: u16, what: &str) {
    for node in nodes {
        until(what, async || (ask(node, key).await.status == status).then_some(())).await;
    }
}

async fn remove(leader: &Node, user: &str) {
    let removed = leader.call(Method::DELETE, &format!("/admin/v1/users/{user}"), None).await;
    assert!(removed.status().is_success());
}

async fn empty(leader: &mut Node, backup: &Backup) {
    leader.kill().await;
    backup.lose(leader);
    leader.restart().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_began_with_what_one_follower_knew_is_given_what_another_knows() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let backup = Backup::OfDirectory(one.directory().join("backup"));
    lose_two_disks(&mock, one, backup).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_so_is_one_on_postgresql() {
    let Some(server) = Postgres::shared() else { return };
    let mock = Mock::start().await;
    let url = server.new_database();
    let name = url.rsplit('/').next().expect("a name").to_owned();
    let one = leader_setup(&mock).section("store", &format!("url = \"{url}\"")).start().await;
    lose_two_disks(&mock, one, Backup::OfDatabase(Arc::clone(&server), name)).await;
}

async fn lose_two_disks(mock: &Mock, mut one: Node, backup: Backup) {
    let alice = one.user_with_key("alice").await;
    let mut two = follower(mock, &one, "sp-2").await;
    answered(&[&two], &alice, 200, "sp-2 knows alice").await;
    two.kill().await;

    // An admin is faster than sp-2, and sp-3 hears of the leader before it has its users back.
    empty(&mut one, &backup).await;
    let bob = one.user_with_key("bob").await;
    let carol = one.user_with_key("carol").await;
    let mut three = follower(mock, &one, "sp-3").await;
    answered(&[&three], &carol, 200, "sp-3 knows carol").await;
    answered(&[&three], &alice, 401, "and not alice").await;
    three.kill().await;
    two.restart().await;
    for key in [&alice, &bob, &carol] {
        answered(&[&one, &two], key, 200, "the leader has its users back").await;
    }
    remove(&one, "carol").await;
    answered(&[&one, &two], &carol, 401, "carol is gone").await;
    two.kill().await;

    // Its successor begins with what sp-3 knows, and an admin works on it.
    empty(&mut one, &backup).await;
    let dora = one.user_with_key("dora").await;
    three.restart().await;
    answered(&[&one, &three], &bob, 200, "bob is back").await;
    answered(&[&one, &three], &carol, 200, "nobody here knows that carol is gone").await;
    remove(&one, "bob").await;
    answered(&[&one, &three], &bob, 401, "bob is gone").await;
    two.restart().await;
    let nodes = [&one, &two, &three];
    answered(&nodes, &alice, 200, "what sp-2 alone knew is known to all").await;
    answered(&nodes, &dora, 200, "and what the leader alone knew").await;
    answered(&nodes, &bob, 401, "whom an admin removed meanwhile stays away").await;
    answered(&nodes, &carol, 401, "and so does who was removed before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_has_its_disk_back_is_given_what_was_changed_without_it() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let backup = Backup::OfDirectory(one.directory().join("backup"));
    let (alice, bob) = (one.user_with_key("alice").await, one.user_with_key("bob").await);
    let two = follower(&mock, &one, "sp-2").await;
    answered(&[&two], &bob, 200, "sp-2 knows bob").await;
    one.kill().await;
    backup.make(&one);
    backup.lose(&one);
    one.restart().await;
    answered(&[&one], &alice, 200, "the leader has its users from sp-2").await;
    let carol = one.user_with_key("carol").await;
    remove(&one, "bob").await;
    super::disable(&one, "alice").await;
    answered(&[&one, &two], &alice, 403, "alice is disabled").await;
    answered(&[&two], &carol, 200, "sp-2 knows carol").await;

    one.kill().await;
    backup.restore(&one);
    one.restart().await;
    let nodes = [&one, &two];
    answered(&nodes, &carol, 200, "who was added meanwhile is known").await;
    answered(&nodes, &bob, 401, "who was removed stays away").await;
    answered(&nodes, &alice, 403, "who was disabled stays disabled").await;
    let dora = one.user_with_key("dora").await;
    answered(&nodes, &dora, 200, "and what is changed from now on reaches all").await;
}
