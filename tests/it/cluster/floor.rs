//! What a leader's retention has removed is counted, though no row tells of it any more: pushed once more it counts
//! nothing.

use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};
use serde_json::json;

use super::restore::{Backup, acknowledged};
use super::{PACE, ask, booked, follower, leader_setup, metric, peer};
use crate::harness::postgres::Postgres;
use crate::harness::{Mock, Node, until};

/// So many requests; each has 100 tokens.
const REQUESTS: usize = 10;
const RETENTION: &str = "retention = \"1h\"";
/// Makes every log two hours older than it is.
const AGE: &str = "UPDATE usage_logs SET created_at = created_at - 7200000000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_comes_back_from_another_leader_is_not_counted_again() {
    let mock = Mock::start().await;
    let one = leader_setup(&mock).section("usage", RETENTION).start().await;
    let books = format!("sqlite://{}", one.data_dir().join("sproxy.db").display());
    go_to_another_leader_and_back(&mock, one, &books).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_by_a_leader_on_postgresql() {
    let Some(server) = Postgres::shared() else { return };
    let mock = Mock::start().await;
    let url = server.new_database();
    let one = leader_setup(&mock).section("usage", RETENTION);
    let one = one.section("store", &format!("url = \"{url}\"")).start().await;
    go_to_another_leader_and_back(&mock, one, &url).await;
}

async fn go_to_another_leader_and_back(mock: &Mock, mut one: Node, books: &str) {
    let other = leader_setup(mock).start().await;
    let key = one.user_with_key("alice").await;
    let mut two = follower(mock, &one, "sp-2").await;
    outlive_retention(&mut one, &mut two, &key, books).await;

    point_to(&mut two, &other).await;
    counts(&other, REQUESTS).await;
    acknowledged(&[&two]).await;
    two.kill().await;
    point_to(&mut two, &one).await;
    counts_one_more(&one, &two, &key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_backup_is_put_back_after_it_ran_empty_counts_nothing_again() {
    let mock = Mock::start().await;
    let one = leader_setup(&mock).section("usage", RETENTION).start().await;
    let books = format!("sqlite://{}", one.data_dir().join("sproxy.db").display());
    let backup = Backup::OfDirectory(one.directory().join("backup"));
    run_empty_for_a_while(&mock, one, &books, backup).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_one_on_postgresql() {
    let Some(server) = Postgres::shared() else { return };
    let mock = Mock::start().await;
    let url = server.new_database();
    let name = url.rsplit('/').next().expect("a name").to_owned();
    let one = leader_setup(&mock).section("usage", RETENTION);
    let one = one.section("store", &format!("url = \"{url}\"")).start().await;
    run_empty_for_a_while(&mock, one, &url, Backup::OfDatabase(server, name)).await;
}

async fn run_empty_for_a_while(mock: &Mock, mut one: Node, books: &str, backup: Backup) {
    let key = one.user_with_key("alice").await;
    let mut two = follower(mock, &one, "sp-2").await;
    outlive_retention(&mut one, &mut two, &key, books).await;
    one.kill().await;
    backup.make(&one);
    backup.lose(&one);
    // What is made anew keeps its logs for as long as the follower does.
    one.set("usage", "");
    one.restart().await;
    two.restart().await;
    counts(&one, REQUESTS).await;
    acknowledged(&[&two]).await;

    one.kill().await;
    backup.restore(&one);
    one.set("usage", RETENTION);
    one.restart().await;
    counts_one_more(&one, &two, &key).await;
}

/// The leader takes the follower's requests, and its retention removes their logs; the follower, which is down after
/// that, keeps them longer.
async fn outlive_retention(one: &mut Node, two: &mut Node, key: &str, books: &str) {
    for _ in 0..REQUESTS {
        assert_eq!(ask(two, key).await.status, 200);
    }
    booked(one, REQUESTS).await;
    acknowledged(&[two]).await;
    let database = Database::connect(books).await.unwrap();
    let last = "SELECT count(*) FROM peers WHERE id = 'sp-2' AND synced_through >= \
                (SELECT max(created_at) FROM usage_logs)";
    until("the leader has written down that nothing is owed", async || {
        (number(&database, last).await == 1).then_some(())
    })
    .await;
    two.kill().await;
    one.kill().await;
    let follower = format!("sqlite://{}", two.data_dir().join("sproxy.db").display());
    let follower = Database::connect(follower).await.unwrap();
    for database in [database, follower] {
        database.execute_unprepared(AGE).await.unwrap();
        database.close().await.unwrap();
    }
    one.restart().await;
    until("retention has removed them", async || one.usage().await.is_empty().then_some(())).await;
    counts(one, REQUESTS).await;
}

async fn number(database: &DatabaseConnection, sql: &str) -> i64 {
    let statement = Statement::from_string(database.get_database_backend(), sql);
    database.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

async fn point_to(follower: &mut Node, leader: &Node) {
    let leader = leader.grpc.expect("a leader serves gRPC");
    follower.set("cluster", &format!("{PACE}\nleader = \"http://{leader}\""));
    follower.restart().await;
}

/// One more request arrives at the leader behind everything that is pushed again, and is all that counts.
async fn counts_one_more(leader: &Node, follower: &Node, key: &str) {
    let asked = ask(follower, key).await;
    assert_eq!(asked.status, 200);
    until("it is booked", async || {
        leader.usage().await.iter().any(|row| row["request_id"] == json!(asked.id)).then_some(())
    })
    .await;
    acknowledged(&[follower]).await;
    counts(leader, REQUESTS + 1).await;
    until("the leader knows that nothing is owed", async || {
        (peer(leader, "sp-2").await?["unsynced"] == json!(0)).then_some(())
    })
    .await;
    assert_eq!(metric(follower, "sproxy_sync_set_aside").await, 0, "it knows that they were acknowledged");
    assert_eq!(metric(leader, "sproxy_cluster_usage_below_floor_total").await, REQUESTS as u64);
}

/// Totals of whole hours come from sums, which hold what the logs no longer do.
async fn counts(leader: &Node, requests: usize) {
    let path = "/admin/v1/stats/nodes?from=2026-01-01T00:00:00Z&to=2100-01-01T00:00:00Z";
    let row = until("the follower's records are counted", async || {
        let nodes = leader.get(path).await;
        let row = nodes["items"].as_array()?.iter().find(|row| row["node"] == json!("sp-2"))?.clone();
        (row["request_count"].as_u64()? >= requests as u64).then_some(row)
    })
    .await;
    assert_eq!((&row["request_count"], &row["total_tokens"]), (&json!(requests), &json!(100 * requests)));
}
