//! Limits that are nearly used, or used up.

use serde_json::json;

use super::{SECRET, alerts_at, ask, setup, spend, user};
use crate::harness::{Delivery, Mock, Receiver, python_with, until};

/// By another library than the node's, where there is one.
async fn python_signature(delivery: &Delivery) -> Option<String> {
    let python = python_with("hmac").await?;
    let program =
        "import hmac, sys; print(hmac.new(sys.argv[1].encode(), sys.argv[2].encode(), 'sha256').hexdigest())";
    let body = String::from_utf8(delivery.body.to_vec()).unwrap();
    let ran =
        tokio::process::Command::new(python).args(["-c", program, SECRET, &body]).output().await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Some(String::from_utf8(ran.stdout).unwrap().trim().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_is_told_once_when_it_is_nearly_used_and_once_when_it_is_spent_and_the_body_is_signed() {
    let (mock, receiver) = (Mock::start().await, Receiver::start().await);
    let alerts = alerts_at(&receiver, "secret_env = \"ALERT_SECRET\"");
    let mut node = setup(&mock, &alerts).env("ALERT_SECRET", SECRET).start().await;
    let key = user(&node, "alice", json!({ "daily_tokens": 1_000 })).await;
    assert_eq!(ask(&node, &key, 790).await.status, 200);
    assert_eq!(ask(&node, &key, 20).await.status, 200);
    let soft = receiver.sent("quota.soft", "alice").await;
    let told = soft.json();
    assert_eq!(
        (&told["status"], &told["severity"], &told["node"]),
        (&json!("notice"), &json!("info"), &json!("sp-1"))
    );
    assert_eq!(told["title"], "user alice has used 81% of its daily token limit");
    let details = &told["details"];
    assert_eq!(
        (&details["limit"], &details["used"], &details["of"]),
        (&json!("daily_tokens"), &json!(810), &json!(1_000))
    );
    let text = told["text"].as_str().unwrap();
    assert!(
        text.starts_with("Used 810 tokens of 1000 tokens. It resets at ") && text.contains("T00:00:00Z"),
        "{text}"
    );
    let alice = node.get("/admin/v1/users/alice").await;
    assert_eq!(told["subject"], json!({ "kind": "user", "id": alice["id"], "name": "alice" }));
    assert!(receiver.of("quota.spent", "alice").is_empty(), "not yet");

    assert_eq!(ask(&node, &key, 200).await.status, 200);
    let spent = receiver.sent("quota.spent", "alice").await;
    assert_eq!(spent.json()["details"]["used"], json!(1_010));
    assert_eq!(ask(&node, &key, 10).await.status, 429);
    for delivery in [&soft, &spent] {
        let body = delivery.json();
        assert_eq!(delivery.header("x-sproxy-delivery"), body["id"].as_str().unwrap());
        assert_eq!(delivery.header("content-type"), "application/json");
        assert!(!delivery.header("x-sproxy-timestamp").is_empty());
        assert!(body["at"].as_str().unwrap().ends_with('Z') && body["cluster"].is_string(), "{body}");
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, &delivery.body);
        let tag = sproxy::crypto::digest::hex(tag.as_ref());
        assert_eq!(delivery.header("x-sproxy-signature"), format!("sha256={tag}"));
        if let Some(by_python) = python_signature(delivery).await {
            assert_eq!(tag, by_python);
        }
    }

    // A node that begins anew finds the limit spent, and tells nobody again.
    node.kill().await;
    node.restart().await;
    spend(&node, "bob").await;
    receiver.sent("quota.spent", "bob").await;
    for event in ["quota.soft", "quota.spent"] {
        assert_eq!(receiver.of(event, "alice").len(), 1, "{event}");
    }
    // A limit that is raised is another one.
    let raised = json!({ "daily_tokens": 1_200 });
    assert!(
        node.call(reqwest::Method::PATCH, "/admin/v1/users/alice", Some(raised)).await.status().is_success()
    );
    until("the raised limit is told", async || (receiver.of("quota.soft", "alice").len() == 2).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_groups_budget_is_told_as_money_and_a_limit_of_nothing_is_not_told() {
    let (mock, receiver) = (Mock::start().await, Receiver::start().await);
    let node = setup(&mock, &alerts_at(&receiver, "")).start().await;
    node.post("/admin/v1/groups", json!({ "name": "research", "monthly_usd": 0.001 })).await;
    let barred = user(&node, "barred", json!({ "daily_tokens": 0 })).await;
    assert_eq!(ask(&node, &barred, 10).await.status, 429);
    let key = user(&node, "alice", json!({ "group": "research" })).await;
    assert_eq!(ask(&node, &key, 1_000).await.status, 200);
    let spent = receiver.sent("quota.spent", "research").await.json();
    assert_eq!(spent["subject"]["kind"], "group");
    assert_eq!(spent["details"]["limit"], "monthly_usd");
    let text = spent["text"].as_str().unwrap();
    assert!(text.contains(" of $0.001. Calls are refused until it resets at "), "{text}");
    assert!(receiver.of("quota.spent", "barred").is_empty());
}
