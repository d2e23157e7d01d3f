//! `sproxy alert`: who is told, and whether it arrives.

use serde_json::{Value, json};
use tokio::process::Command;

use super::{SECRET, alerts_at, setup, spend};
use crate::harness::{Mock, Node, Receiver, Reply, SPROXY};

async fn run(node: &Node, arguments: &[&str]) -> (Option<i32>, String, String) {
    let server = node.url("");
    let all = [&["alert"], arguments, &["--server", &server]].concat();
    let ran = Command::new(SPROXY).args(all).env("SPROXY_TOKEN", node.admin_token()).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_alert_says_for_each_receiver_whether_it_arrived() {
    let (mock, good, bad) = (Mock::start().await, Receiver::start().await, Receiver::start().await);
    let alerts = alerts_at(&good, &format!("name = \"good\"\nsecret = \"{SECRET}\""))
        + &alerts_at(&bad, "name = \"bad\"\nformat = \"slack\"");
    let node = setup(&mock, &alerts).start().await;
    let (code, out, _) = run(&node, &["test", "--json", "--name", "good"]).await;
    assert_eq!(code, Some(0), "{out}");
    let results: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&results[0]["name"], &results[0]["delivered"]), (&json!("good"), &json!(true)), "{out}");
    assert_eq!((&results[0]["status"], results.as_array().unwrap().len()), (&json!(200), 1));
    let sent = &good.deliveries()[0];
    assert_eq!((sent.event(), &sent.json()["title"]), ("test", &json!("Test alert of sp-1")));
    assert!(sent.header("x-sproxy-signature").starts_with("sha256="));

    bad.reply([Reply::Echo(403, "invalid_token".to_owned())]);
    let (code, out, err) = run(&node, &["test"]).await;
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("403 Forbidden") && out.contains("invalid_token"), "{out}");
    assert!(err.contains("not every receiver has the test alert"), "{err}");
    let (code, _, err) = run(&node, &["test", "--name", "nobody"]).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("no such receiver of alerts on sp-1: nobody"), "{err}");
    let audit = node.get("/admin/v1/audit").await;
    let tests: Vec<&Value> =
        audit["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == "alert.test").collect();
    assert_eq!(tests.len(), 2);
    assert_eq!(
        tests[0]["after"],
        json!([{ "name": "good", "delivered": true }, { "name": "bad", "delivered": false }])
    );
    // A test is no event: it is neither counted nor kept.
    assert_eq!(node.get("/admin/v1/alerts/events").await["items"], json!([]));

    spend(&node, "alice").await;
    good.sent("quota.spent", "alice").await;
    let (code, out, err) = run(&node, &["list"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("good") && out.contains("slack") && out.contains(&bad.address.to_string()), "{out}");
    assert!(!out.contains("/hook"), "{out}");
    let (code, out, err) = run(&node, &["events"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("user alice has used up its daily token limit"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_receivers_says_what_to_write_and_only_admins_may_ask() {
    let mock = Mock::start().await;
    let node = setup(&mock, "").start().await;
    let (code, _, err) = run(&node, &["test"]).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("write [[alerts]] into its sproxy.toml"), "{err}");
    let key = node.user_with_key("alice").await;
    for (method, path) in [("GET", "alerts"), ("GET", "alerts/events"), ("POST", "alerts/test")] {
        let method = method.parse().unwrap();
        let request = node.http.request(method, node.url(&format!("/admin/v1/{path}"))).bearer_auth(&key);
        assert_eq!(request.json(&json!({})).send().await.unwrap().status(), 403, "{path}");
    }
}
