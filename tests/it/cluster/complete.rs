//! Up to when totals can be trusted, and who holds that back.

use reqwest::Method;
use serde_json::{Value, json};
use sproxy::domain::clock::Timestamp;

use super::{ask, booked, follower, follower_behind, leader, peer};
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
