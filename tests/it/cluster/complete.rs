//! Up to when totals can be trusted, and who holds that back.

use reqwest::Method;
use serde_json::{Value, json};
use sproxy::domain::clock::Timestamp;

use super::{ask, booked, follower, follower_behind, leader, peer, ready};
use crate::harness::{Link, Mock, Mode, Node, time, until};

async fn through(leader: &Node) -> (Option<Timestamp>, Value) {
    let stats = leader.get("/admin/v1/stats").await;
    (time(&stats["complete_through"]), stats["incomplete"].clone())
}

async fn inactive(leader: &Node, id: &str) {
    until("it is inactive", async || (peer(leader, id).await?["is_active"] == json!(false)).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_died_owing_holds_totals_back_until_it_is_forgotten() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let link = Link::to(one.grpc.unwrap()).await;
    let mut two = follower_behind(&link, &mock, "sp-2").await;
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 1).await;
    until("nobody is waited for", async || (through(&one).await.1 == json!([])).then_some(())).await;
    link.set(Mode::Cut);
    let owed = ask(&two, &key).await;
    assert_eq!(owed.status, 200);
    let owed = time(&two.usage_of(&owed).await["created_at"]);
    two.kill().await;
    inactive(&one, "sp-2").await;
    let (complete, incomplete) = through(&one).await;
    assert!(complete.is_some() && complete < owed, "{complete:?} with a call at {owed:?} missing");
    assert_eq!(incomplete[0]["node"], json!("sp-2"));
    assert_eq!(time(&incomplete[0]["since"]), complete);
    assert!(incomplete[0]["unsynced"].is_u64());

    let forgotten = one.call(Method::DELETE, "/admin/v1/peers/sp-2", None).await;
    assert_eq!(forgotten.status(), 204);
    until("an admin has decided", async || {
        let (complete, incomplete) = through(&one).await;
        (complete > owed && incomplete == json!([])).then_some(())
    })
    .await;
    let audit = one.get("/admin/v1/audit").await;
    assert!(audit["items"].as_array().unwrap().iter().any(|entry| entry["action"] == json!("peer.forget")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_left_with_nothing_owed_is_not_waited_for() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let mut two = follower(&mock, &one, "sp-2").await;
    assert_eq!(ask(&two, &key).await.status, 200);
    two.process.ask_to_leave().await;
    two.process.ended().await;
    inactive(&one, "sp-2").await;
    booked(&one, 1).await;
    let left = through(&one).await.0;
    until("totals go on", async || {
        let (complete, incomplete) = through(&one).await;
        (complete > left && incomplete == json!([])).then_some(())
    })
    .await;
}

/// Puts what `sproxy backup` made in the place of the database of a leader that is down.
fn put_back(leader: &Node, copy: &[u8]) {
    for file in ["sproxy.db", "sproxy.db-wal", "sproxy.db-shm"] {
        let _there_may_be_none = std::fs::remove_file(leader.data_dir().join(file));
    }
    std::fs::write(leader.data_dir().join("sproxy.db"), copy).unwrap();
}

/// By its backup it has left. It has come back since, and what the leader had taken of it then is not in the backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_backup_waits_for_a_follower_that_had_left_when_it_was_made() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let mut two = follower(&mock, &one, "sp-2").await;
    assert_eq!(ask(&two, &key).await.status, 200);
    two.process.ask_to_leave().await;
    two.process.ended().await;
    booked(&one, 1).await;
    until("totals do not wait for it", async || (through(&one).await.1 == json!([])).then_some(())).await;
    let backup = one.call(Method::GET, "/admin/v1/backup", None).await.bytes().await.unwrap();

    two.restart().await;
    ready(&two).await;
    let answer = ask(&two, &key).await;
    let missing = time(&two.usage_of(&answer).await["created_at"]).unwrap();
    booked(&one, 2).await;
    two.kill().await;
    one.kill().await;
    put_back(&one, &backup);
    one.restart().await;
    for _start in 0..2 {
        assert_eq!(one.get("/admin/v1/stats").await["request_count"], json!(1), "as the backup has it");
        let (complete, incomplete) = through(&one).await;
        assert!(complete.is_none_or(|at| at < missing), "{complete:?} with a call at {missing} missing");
        assert_eq!(incomplete[0]["node"], json!("sp-2"));
        one.kill().await;
        one.restart().await;
    }

    two.restart().await;
    booked(&one, 2).await;
    two.process.ask_to_leave().await;
    two.process.ended().await;
    one.kill().await;
    one.restart().await;
    until("this time its farewell is believed", async || {
        let (complete, incomplete) = through(&one).await;
        (complete? > missing && incomplete == json!([])).then_some(())
    })
    .await;
}
