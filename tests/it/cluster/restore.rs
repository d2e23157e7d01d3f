//! A leader that comes back with an older backup of its database: what it had acknowledged since is pushed once more,
//! and nothing else is.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use reqwest::Method;
use sea_orm::{ConnectionTrait as _, Database};
use serde_json::json;

use super::{ask, booked, follower, leader, leader_setup, metric, settled};
use crate::harness::postgres::Postgres;
use crate::harness::{Mock, Node, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leader_acknowledged_after_its_backup_was_made_is_pushed_to_it_again() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let backup = Backup::OfDirectory(one.directory().join("backup"));
    forget_twice(&mock, one, backup).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_to_a_leader_on_postgresql() {
    let Some(server) = Postgres::shared() else { return };
    let mock = Mock::start().await;
    let url = server.new_database();
    let name = url.rsplit('/').next().expect("a name").to_owned();
    let one = leader_setup(&mock).section("store", &format!("url = \"{url}\"")).start().await;
    forget_twice(&mock, one, Backup::OfDatabase(server, name)).await;
}

async fn forget_twice(mock: &Mock, mut one: Node, backup: Backup) {
    let key = one.user_with_key("alice").await;
    let (mut two, three) = (follower(mock, &one, "sp-2").await, follower(mock, &one, "sp-3").await);
    let mut asked = HashSet::new();
    for node in [&two, &two, &three] {
        asked.insert(ask(node, &key).await.id);
    }
    booked(&one, 3).await;
    one.kill().await;
    backup.make(&one);
    one.restart().await;
    for node in [&two, &three, &two, &two] {
        asked.insert(ask(node, &key).await.id);
        booked(&one, asked.len()).await;
    }
    acknowledged(&[&two, &three]).await;

    one.kill().await;
    backup.restore(&one);
    one.restart().await;
    holds(&one, &asked).await;
    let pushed_again = metric(&one, "sproxy_cluster_usage_duplicates_total").await;
    assert_eq!(pushed_again, 0, "only what it lacked");

    // The same backup once more, while new records are owed and a follower does not live to see it.
    asked.insert(ask(&two, &key).await.id);
    booked(&one, asked.len()).await;
    acknowledged(&[&two, &three]).await;
    one.kill().await;
    asked.insert(ask(&two, &key).await.id);
    two.kill().await;
    backup.restore(&one);
    one.restart().await;
    two.restart().await;
    holds(&one, &asked).await;
    settled(&one, &[&one, &two, &three]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_only_started_again_is_pushed_nothing_again() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let mut two = follower(&mock, &one, "sp-2").await;
    for asked in 1..=3 {
        ask(&two, &key).await;
        booked(&one, asked).await;
    }
    acknowledged(&[&two]).await;
    one.kill().await;
    one.restart().await;
    ask(&two, &key).await;
    booked(&one, 4).await;
    acknowledged(&[&two]).await;
    assert_eq!(metric(&two, "sproxy_sync_duplicates_total").await, 0);
    two.kill().await;
    two.restart().await;
    ask(&two, &key).await;
    booked(&one, 5).await;
    acknowledged(&[&two]).await;
    assert_eq!(metric(&two, "sproxy_sync_duplicates_total").await, 0);
    assert_eq!(metric(&one, "sproxy_cluster_usage_duplicates_total").await, 0);
}

/// The follower still has rows that the leader's retention has removed. Pushed again they would count again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_backup_had_counted_and_no_longer_lists_is_not_counted_again() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let backup = Backup::OfDirectory(one.directory().join("backup"));
    let key = one.user_with_key("alice").await;
    let two = follower(&mock, &one, "sp-2").await;
    let mut late = HashSet::new();
    for _ in 0..3 {
        ask(&two, &key).await;
    }
    booked(&one, 3).await;
    acknowledged(&[&two]).await;
    one.kill().await;
    let database = format!("sqlite://{}", one.data_dir().join("sproxy.db").display());
    let database = Database::connect(database).await.unwrap();
    let removed = database.execute_unprepared("DELETE FROM usage_logs").await.unwrap();
    assert_eq!(removed.rows_affected(), 3);
    database.close().await.unwrap();
    backup.make(&one);
    one.restart().await;
    for asked in 4..=5 {
        late.insert(ask(&two, &key).await.id);
        booked(&one, asked).await;
    }
    acknowledged(&[&two]).await;
    one.kill().await;
    backup.restore(&one);
    one.restart().await;
    until("what it lacked is back", async || (ids(&one).await == late).then_some(())).await;
    acknowledged(&[&two]).await;
    assert_eq!(metric(&one, "sproxy_cluster_usage_duplicates_total").await, 0);
    assert_eq!(two.usage().await.len(), 5, "the follower could have pushed all of them");
    // Totals of whole hours come from sums, which hold what the logs no longer do.
    let nodes = one.get("/admin/v1/stats/nodes?from=2026-01-01T00:00:00Z&to=2100-01-01T00:00:00Z").await;
    let row = nodes["items"].as_array().unwrap().iter().find(|row| row["node"] == json!("sp-2")).unwrap();
    assert_eq!((&row["request_count"], &row["total_tokens"]), (&json!(5), &json!(500)));
}

/// Waits until the followers know that the leader has everything.
pub(super) async fn acknowledged(followers: &[&Node]) {
    for follower in followers {
        until("everything is acknowledged", async || {
            follower.usage().await.iter().all(|row| row["synced"] == json!(true)).then_some(())
        })
        .await;
    }
}

/// What was changed after the backup is lost with it, but what the leader says from then on holds: a user that it disables
/// is not served by followers that knew later versions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_of_a_leader_with_an_older_backup_believe_its_accounts_again() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let backup = Backup::OfDirectory(one.directory().join("backup"));
    let alice = one.user_with_key("alice").await;
    let two = follower(&mock, &one, "sp-2").await;
    assert_eq!(ask(&two, &alice).await.status, 200);
    one.kill().await;
    backup.make(&one);
    one.restart().await;
    let mut late = String::new();
    for name in ["bob", "carol", "dave"] {
        late = one.user_with_key(name).await;
    }
    until("the follower knows the last of them", async || {
        (ask(&two, &late).await.status == 200).then_some(())
    })
    .await;
    one.kill().await;
    backup.restore(&one);
    one.restart().await;
    until("what the backup does not have is gone", async || {
        (ask(&two, &late).await.status == 401).then_some(())
    })
    .await;
    let disabled = one.call(Method::PATCH, "/admin/v1/users/alice", Some(json!({ "active": false }))).await;
    assert_eq!(disabled.status(), 200);
    until("alice is refused", async || (ask(&two, &alice).await.status != 200).then_some(())).await;
}

/// Waits until the leader's totals count what was asked, and looks for each of it once.
async fn holds(leader: &Node, asked: &HashSet<String>) {
    let stats = booked(leader, asked.len()).await;
    assert_eq!(stats["total_tokens"], json!(100 * asked.len()));
    assert_eq!(ids(leader).await, *asked);
    assert_eq!(leader.usage().await.len(), asked.len(), "each once");
}

async fn ids(node: &Node) -> HashSet<String> {
    node.usage().await.iter().map(|row| row["request_id"].as_str().unwrap().to_owned()).collect()
}

/// A backup of a leader that is down.
pub(super) enum Backup {
    OfDirectory(PathBuf),
    OfDatabase(Arc<Postgres>, String),
}

impl Backup {
    /// The disk is gone, and nothing on it.
    pub(super) fn lose(&self, leader: &Node) {
        match self {
            Self::OfDirectory(_) => std::fs::remove_dir_all(leader.data_dir()).unwrap(),
            Self::OfDatabase(server, name) => {
                server.execute("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
                server.execute("postgres", &format!("CREATE DATABASE {name}"));
            }
        }
    }

    pub(super) fn make(&self, leader: &Node) {
        match self {
            Self::OfDirectory(copy) => copy_directory(&leader.data_dir(), copy),
            Self::OfDatabase(server, name) => {
                server.execute("postgres", &format!("CREATE DATABASE {name}_backup TEMPLATE {name}"));
            }
        }
    }

    pub(super) fn restore(&self, leader: &Node) {
        match self {
            Self::OfDirectory(copy) => {
                std::fs::remove_dir_all(leader.data_dir()).unwrap();
                copy_directory(copy, &leader.data_dir());
            }
            Self::OfDatabase(server, name) => {
                server.execute("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
                server.execute("postgres", &format!("CREATE DATABASE {name} TEMPLATE {name}_backup"));
            }
        }
    }
}

fn copy_directory(from: &PathBuf, to: &PathBuf) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}
