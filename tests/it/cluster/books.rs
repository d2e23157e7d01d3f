//! The books: whatever is killed and whenever, the leader's ledger equals what the clients received.

use serde_json::json;
use sproxy::wire::v1::cluster_client::ClusterClient;
use tonic::Code;

use super::grpc::{channel, registration};
use super::{
    Traffic, ask, booked, compare_books, follower, follower_behind, follower_setup, leader,
    leader_behind_links, peer, ready, settled,
};
use crate::harness::postgres::Postgres;
use crate::harness::{Link, Mock, Mode, Node, time, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_killed_again_and_again_under_load_lose_nothing_and_book_nothing_twice() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    kill_under_load(&mock, one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_for_a_leader_on_postgresql() {
    let Some(server) = Postgres::shared() else { return };
    let mock = Mock::start().await;
    let one = leader_behind_links(&mock, &server.new_database()).start().await;
    kill_under_load(&mock, one).await;
}

async fn kill_under_load(mock: &Mock, mut one: Node) {
    let key = one.user_with_key("alice").await;
    let (mut two, mut three) = (follower(mock, &one, "sp-2").await, follower(mock, &one, "sp-3").await);
    let mut traffic = Traffic::on(&[&one, &two, &three], &key, 12);
    for round in 0..6 {
        traffic.more(150).await;
        let victim = match round % 3 {
            0 => &mut two,
            1 => &mut one,
            _ => &mut three,
        };
        victim.kill().await;
        traffic.more(60).await;
        victim.restart().await;
    }
    traffic.more(150).await;
    let received = traffic.end().await;
    compare_books(&one, &received).await;
    settled(&one, &[&one, &two, &three]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_loses_its_disk_gets_its_books_and_its_users_back() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let (two, three) = (follower(&mock, &one, "sp-2").await, follower(&mock, &one, "sp-3").await);
    for node in [&two, &three, &two] {
        assert_eq!(ask(node, &key).await.status, 200);
    }
    booked(&one, 3).await;
    one.kill().await;
    assert_eq!(ask(&three, &key).await.status, 200, "nobody waits for the leader");
    std::fs::remove_dir_all(one.data_dir()).unwrap();
    one.restart().await;
    let stats = booked(&one, 4).await;
    assert_eq!(stats["total_tokens"], json!(400));
    until("the users are back", async || {
        let users = one.get("/admin/v1/users").await;
        users["items"].as_array().unwrap().iter().any(|user| user["name"] == json!("alice")).then_some(())
    })
    .await;
    for node in [&one, &two, &three] {
        assert_eq!(ask(node, &key).await.status, 200, "the old key holds everywhere");
    }
    let bob = one.user_with_key("bob").await;
    until("and changes go on", async || (ask(&two, &bob).await.status == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_works_on_without_its_leader_also_after_a_restart_and_catches_up() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let mut two = follower(&mock, &one, "sp-2").await;
    one.kill().await;
    assert_eq!(ask(&two, &key).await.status, 200);
    two.kill().await;
    two.restart().await;
    ready(&two).await;
    assert_eq!(ask(&two, &key).await.status, 200);
    one.restart().await;
    booked(&one, 2).await;
    let last = time(&one.usage().await.last().unwrap()["created_at"]).unwrap();
    until("the totals are complete up to now", async || {
        let stats = one.get("/admin/v1/stats").await;
        (time(&stats["complete_through"])? >= last).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_an_id_is_given_the_next_one_and_keeps_it() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let mut two = follower_setup(&mock, &one).start().await;
    ready(&two).await;
    assert_eq!(ask(&two, &key).await.header("x-sproxy-node"), "sp-2");
    one.kill().await;
    two.kill().await;
    two.restart().await;
    ready(&two).await;
    assert_eq!(ask(&two, &key).await.header("x-sproxy-node"), "sp-2", "without the leader too");
    one.restart().await;
    booked(&one, 2).await;
    let three = follower_setup(&mock, &one).start().await;
    ready(&three).await;
    assert!(peer(&one, "sp-3").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_lost_its_disk_gives_nobody_the_id_of_a_node_that_lives() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let link = Link::to(one.grpc.unwrap()).await;
    let two = follower_behind(&link, &mock, "sp-2").await;
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 1).await;
    link.set(Mode::Cut);
    one.kill().await;
    std::fs::remove_dir_all(one.data_dir()).unwrap();
    one.restart().await;
    let mut cluster = ClusterClient::new(channel(&one).await);
    let early = cluster.register(registration("", uuid::Uuid::now_v7())).await.unwrap_err();
    assert_eq!(early.code(), Code::Unavailable, "{early}");
    link.set(Mode::Open);
    let newcomer = follower_setup(&mock, &one).start().await;
    ready(&newcomer).await;
    booked(&one, 1).await;
    assert_eq!(ask(&newcomer, &key).await.header("x-sproxy-node"), "sp-3");
    assert_eq!(ask(&two, &key).await.header("x-sproxy-node"), "sp-2");
    booked(&one, 3).await;
}
