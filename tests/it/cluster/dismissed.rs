//! What a leader will never take of a follower's usage, given up by an admin.

use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{PACE, ask, booked, follower_behind, leader, metric, peer, ready};
use crate::cli::on;
use crate::harness::{Link, Mock, Mode, Node, time, until};

/// More than a leader believes of one call.
const BEYOND_BELIEF: i64 = 2_000_000_000_000_000;
const DISMISS: [&str; 2] = ["usage", "dismiss-rejected"];

/// The follower `two` owes one log that the leader refuses, and one more that it does not. The time of the refused one.
async fn owe_what_is_refused(one: &Node, two: &mut Node, link: &Link, key: &str) -> String {
    link.set(Mode::Cut);
    let refused = two.usage_of(&ask(two, key).await).await;
    two.kill().await;
    let database = Connection::open(two.data_dir().join("sproxy.db")).unwrap();
    let more = "UPDATE usage_logs SET cost_nanousd = cost_nanousd + ?1 WHERE NOT synced";
    assert_eq!(database.execute(more, [BEYOND_BELIEF]).unwrap(), 1);
    for sums in ["usage_rollups", "usage_totals"] {
        let more = format!("UPDATE {sums} SET cost_nanousd = cost_nanousd + ?1");
        assert!(database.execute(&more, [BEYOND_BELIEF]).unwrap() > 0);
    }
    drop(database);
    two.restart().await;
    link.set(Mode::Open);
    ready(two).await;
    assert_eq!(ask(two, key).await.status, 200);
    booked(one, 1).await;
    until("the leader refuses it", async || (metric(two, "sproxy_sync_set_aside").await == 1).then_some(()))
        .await;
    until("the leader waits for it", async || {
        (incomplete(one).await[0]["node"] == json!("sp-2")).then_some(())
    })
    .await;
    refused["created_at"].as_str().unwrap().to_owned()
}

async fn incomplete(leader: &Node) -> Value {
    leader.get("/admin/v1/stats").await["incomplete"].clone()
}

async fn dismissed(node: &Node) -> Vec<Value> {
    node.usage().await.into_iter().filter(|row| row["dismissed"] == json!(true)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_leader_will_never_take_is_given_up_by_an_admin_and_in_no_total_from_then_on() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let link = Link::to(one.grpc.unwrap()).await;
    let mut two = follower_behind(&link, &mock, "sp-2").await;
    let made = owe_what_is_refused(&one, &mut two, &link, &key).await;

    // Nobody but an admin, at the node that owes it, who says so.
    let url = two.url("/admin/v1/usage/dismiss-rejected");
    assert_eq!(two.http.post(&url).bearer_auth(&key).send().await.unwrap().status(), 403);
    let said = on(&one, &[&DISMISS[..], &["--yes"]].concat()).await.refused(1);
    assert!(said.contains("sp-1 is the leader") && said.contains("--server"), "{said}");
    let asked = one.call(Method::POST, "/admin/v1/usage/dismiss-rejected?dry_run=true", None).await;
    assert_eq!(asked.status(), 409);
    let said = on(&two, &DISMISS).await.refused(64);
    assert!(
        said.contains("Dismiss 1 usage logs of sp-2 with 100 tokens") && said.contains("--yes"),
        "{said}"
    );
    let would = on(&two, &[&DISMISS[..], &["--dry-run", "--json"]].concat()).await.json();
    let said = on(&two, &[&DISMISS[..], &["--dry-run"]].concat()).await.done();
    assert!(
        said.contains("1 usage logs of sp-2 with 100 tokens and 2000000.") && said.contains("would be"),
        "{said}"
    );
    assert_eq!(metric(&two, "sproxy_sync_unsynced").await, 1);
    assert!(dismissed(&two).await.is_empty());

    let done = on(&two, &[&DISMISS[..], &["--yes", "--json"]].concat()).await.json();
    let row = dismissed(&two).await.remove(0);
    assert_eq!(row["created_at"], json!(made));
    assert_eq!((&row["synced"], &row["total_tokens"]), (&json!(false), &json!(100)));
    assert!(row["cost_nanousd"].as_i64().unwrap() > BEYOND_BELIEF);
    assert_eq!(
        done,
        json!({
            "node": "sp-2", "dismissed": 1, "input_tokens": 70, "output_tokens": 30, "total_tokens": 100,
            "cost_nanousd": row["cost_nanousd"], "cost_usd": row["cost_usd"], "dry_run": false,
        })
    );
    let mut expected = done.clone();
    expected["dry_run"] = json!(true);
    assert_eq!(would, expected);
    let audit = two.get("/admin/v1/audit").await;
    let entry = &audit["items"][0];
    assert_eq!((&entry["action"], &entry["after"]["dismissed"]), (&json!("usage.dismiss_rejected"), &done));

    // The leader hears that nothing is owed any more, and of nothing else.
    until("nobody is waited for", async || {
        let stats = one.get("/admin/v1/stats").await;
        (stats["incomplete"] == json!([]) && time(&stats["complete_through"]) > time(&json!(made)))
            .then_some(())
    })
    .await;
    assert_eq!(peer(&one, "sp-2").await.unwrap()["unsynced"], json!(0));
    for name in ["sproxy_sync_unsynced", "sproxy_sync_set_aside"] {
        until("its gauges say so", async || (metric(&two, name).await == 0).then_some(())).await;
    }
    assert_eq!(booked(&one, 1).await["total_tokens"], json!(100));
    let said = on(&two, &["usage", "retry-rejected"]).await.done();
    assert!(said.contains("sp-2 has no usage logs that its leader refused"), "{said}");
    for arguments in [&["--yes"][..], &["--dry-run"], &[]] {
        let said = on(&two, &[&DISMISS[..], arguments].concat()).await.done();
        assert!(said.contains("sp-2 has no usage logs that its leader refused"), "{said}");
    }

    // Nor is it pushed to a leader that has lost everything.
    one.kill().await;
    std::fs::remove_dir_all(one.data_dir()).unwrap();
    one.restart().await;
    assert_eq!(booked(&one, 1).await["total_tokens"], json!(100));
    until("nothing is owed", async || (peer(&one, "sp-2").await?["unsynced"] == json!(0)).then_some(()))
        .await;

    // Nor counted where its own node becomes the leader, in whole hours and in parts of them.
    one.kill().await;
    two.kill().await;
    two.set("cluster", PACE);
    two.restart().await;
    ready(&two).await;
    let total = booked(&two, 1).await;
    assert!(total["cost_nanousd"].as_i64().unwrap() < BEYOND_BELIEF, "{total}");
    let since = two.get(&format!("/admin/v1/stats?from={made}")).await;
    assert_eq!((&since["request_count"], &since["cost_nanousd"]), (&json!(1), &total["cost_nanousd"]));
    for by in ["users", "models", "nodes", "days"] {
        let rows = two.get(&format!("/admin/v1/stats/{by}")).await["items"].clone();
        assert_eq!(
            (rows.as_array().unwrap().len(), &rows[0]["request_count"]),
            (1, &json!(1)),
            "{by}: {rows}"
        );
    }
    assert_eq!(dismissed(&two).await.len(), 1);
    let csv = two.call(Method::GET, "/admin/v1/usage?format=csv", None).await.text().await.unwrap();
    let ends: Vec<_> = csv.lines().map(|line| line.rsplit(',').nth(1).unwrap()).collect();
    assert_eq!(ends, ["dismissed", "false", "true"]);
}
