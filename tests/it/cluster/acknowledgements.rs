//! Acknowledgements that get lost between real processes: what is pushed again is booked once.

use serde_json::json;

use super::{PACE, ask, booked, follower_behind, leader, leader_behind_links, metric, ready, settled};
use crate::harness::postgres::Postgres;
use crate::harness::{Link, Mock, Mode, Node, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_leader_committed_and_could_not_say_is_pushed_again_and_counted_once() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    lose_an_acknowledgement(&mock, one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_on_postgresql_counts_it_once_too() {
    let Some(server) = Postgres::shared() else { return };
    let mock = Mock::start().await;
    let one = leader_behind_links(&mock, &server.new_database()).start().await;
    lose_an_acknowledgement(&mock, one).await;
}

async fn lose_an_acknowledgement(mock: &Mock, mut one: Node) {
    let key = one.user_with_key("alice").await;
    let link = Link::to(one.grpc.unwrap()).await;
    // It is known by the link alone: a follower that learned of another way would try that while the link is silent.
    one.kill().await;
    one.set("cluster", &format!("{PACE}\nadvertise_grpc = \"{}\"", link.url()));
    one.restart().await;
    ready(&one).await;
    let mut two = follower_behind(&link, mock, "sp-2").await;
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 1).await;
    until("and acknowledged", async || (unsynced(&two).await == 0).then_some(())).await;

    link.set(Mode::Cut);
    for _ in 0..5 {
        assert_eq!(ask(&two, &key).await.status, 200, "nobody waits for the leader");
    }
    link.set(Mode::Swallowing);
    let all = tokio::time::timeout(crate::harness::DEADLINE / 2, booked(&one, 6)).await;
    assert!(all.is_ok(), "they are not pushed: {}", two.log());
    link.set(Mode::Cut);
    assert_eq!(unsynced(&two).await, 5, "the leader has them, and the follower cannot know");
    link.set(Mode::Open);
    until("they are pushed again", async || (unsynced(&two).await == 0).then_some(())).await;
    assert_eq!(metric(&one, "sproxy_cluster_usage_duplicates_total").await, 5);
    let counted = async || (metric(&two, "sproxy_sync_duplicates_total").await == 5).then_some(());
    until("the follower counts them too", counted).await;
    assert_eq!(booked(&one, 6).await["total_tokens"], json!(600));

    // The same, and both die before anybody knows.
    link.set(Mode::Swallowing);
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 7).await;
    one.kill().await;
    two.kill().await;
    link.set(Mode::Open);
    one.restart().await;
    two.restart().await;
    until("it is pushed again", async || (unsynced(&two).await == 0).then_some(())).await;
    assert_eq!(metric(&one, "sproxy_cluster_usage_duplicates_total").await, 1);
    assert_eq!(booked(&one, 7).await["total_tokens"], json!(700));
    settled(&one, &[&one, &two]).await;
}

/// How many of its logs a follower takes for unacknowledged.
async fn unsynced(follower: &Node) -> usize {
    follower.usage().await.iter().filter(|row| row["synced"] == json!(false)).count()
}
