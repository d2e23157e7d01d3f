//! How an event gets to its receiver whatever happens: at least once, in its own lane, and not for ever.

use serde_json::{Value, json};

use super::{SECRET, alerts_at, ask, setup, spend, user};
use crate::harness::{Mock, Node, Receiver, Reply, until};

async fn receiver_of(node: &Node, name: &str) -> Value {
    let receivers = node.get("/admin/v1/alerts").await;
    let receivers = receivers["items"].as_array().unwrap();
    receivers.iter().find(|receiver| receiver["name"] == *name).cloned().expect("the receiver")
}

async fn events(node: &Node) -> Vec<Value> {
    node.get("/admin/v1/alerts/events?limit=100").await["items"].as_array().unwrap().clone()
}

async fn metrics(node: &Node) -> String {
    node.http.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_while_it_sends_sends_the_same_again() {
    let (mock, receiver) = (Mock::start().await, Receiver::start().await);
    let alerts =
        alerts_at(&receiver, &format!("secret = \"{SECRET}\"\nevents = [\"quota.spent\"]\ntimeout = \"1m\""));
    let mut node = setup(&mock, &alerts).start().await;
    receiver.set_hanging(true);
    spend(&node, "alice").await;
    let first = receiver.sent("quota.spent", "alice").await;
    node.kill().await;
    receiver.set_hanging(false);
    node.restart().await;
    let again = until("it is sent again", async || receiver.of("quota.spent", "alice").get(1).cloned()).await;
    assert_eq!(again.body, first.body);
    for header in ["x-sproxy-delivery", "x-sproxy-signature", "x-sproxy-event"] {
        assert_eq!(again.header(header), first.header(header), "{header}");
    }
    until("it is written down", async || (events(&node).await[0]["state"] == "delivered").then_some(()))
        .await;
    spend(&node, "bob").await;
    receiver.sent("quota.spent", "bob").await;
    assert_eq!(receiver.of("quota.spent", "alice").len(), 2, "and then no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_misses_while_it_is_away_waits_for_it_also_over_a_restart() {
    let mock = Mock::start().await;
    let receiver = Receiver::start().await;
    let (address, alerts) =
        (receiver.address, alerts_at(&receiver, "name = \"pager\"\nevents = [\"quota.spent\"]"));
    drop(receiver);
    let mut node = setup(&mock, &alerts).start().await;
    spend(&node, "alice").await;
    let told = until("it has failed", async || {
        let told = receiver_of(&node, "pager").await;
        (told["failures"].as_u64() > Some(0) && told["waiting"] == json!(1)).then_some(told)
    })
    .await;
    assert!(told["last_error"].is_string() && told["next_try_at"].is_string(), "{told}");
    until("it is counted", async || {
        metrics(&node).await.contains("\nsproxy_alerts_waiting 1\n").then_some(())
    })
    .await;
    node.process.ask_to_leave().await;
    node.process.ended().await;
    let receiver = Receiver::on(address).await;
    node.restart().await;
    receiver.sent("quota.spent", "alice").await;
    let told = until("nothing waits", async || {
        let told = receiver_of(&node, "pager").await;
        (told["waiting"] == json!(0)).then_some(told)
    })
    .await;
    assert!(told["last_delivery_at"].is_string() && told["last_error"].is_null(), "{told}");
    let metrics = metrics(&node).await;
    assert!(metrics.contains("\nsproxy_alert_deliveries_total{outcome=\"delivered\"} 1\n"), "{metrics}");
    assert!(metrics.contains("\nsproxy_alerts_waiting 0\n"), "{metrics}");
    assert_eq!(receiver.of("quota.spent", "alice").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_holds_up_neither_calls_nor_other_receivers() {
    let (mock, hanging, prompt) = (Mock::start().await, Receiver::start().await, Receiver::start().await);
    hanging.set_hanging(true);
    let alerts = alerts_at(&hanging, "name = \"hanging\"\ntimeout = \"1m\"")
        + &alerts_at(&prompt, "name = \"prompt\"");
    let node = setup(&mock, &alerts).start().await;
    for name in ["alice", "bob", "carol"] {
        spend(&node, name).await;
    }
    for name in ["alice", "bob", "carol"] {
        prompt.sent("quota.spent", name).await;
    }
    assert_eq!(hanging.deliveries().len(), 1, "one at a time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_tried_again_what_is_refused_is_given_up_and_nothing_of_the_url_is_repeated() {
    let (mock, receiver, elsewhere) = (Mock::start().await, Receiver::start().await, Receiver::start().await);
    let url = format!("http://{}/services/canary-url-path-9b2f?sig=canary-url-query-03aa", receiver.address);
    let alerts = format!(
        "[[alerts]]\nname = \"pager\"\nurl_env = \"HOOK\"\nsecret = \"{SECRET}\"\nevents = [\"quota.spent\"]"
    );
    let node = setup(&mock, &alerts).env("HOOK", &url).start().await;
    let refusal = || Reply::Echo(404, format!("no_service {SECRET}"));
    receiver.reply([
        Reply::Status(500),
        Reply::With(429, "retry-after", "1".to_owned()),
        // Those of the next: a redirect counts as a refusal, and is not followed.
        Reply::Status(200),
        Reply::With(307, "location", elsewhere.url()),
        refusal(),
        refusal(),
    ]);
    spend(&node, "alice").await;
    until("the third try succeeds", async || (receiver.of("quota.spent", "alice").len() == 3).then_some(()))
        .await;
    let ids: Vec<String> = receiver
        .deliveries()
        .iter()
        .map(|delivery| delivery.header("x-sproxy-delivery").to_owned())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert!(receiver.deliveries()[0].path.ends_with("?sig=canary-url-query-03aa"));
    spend(&node, "bob").await;
    let given_up = until("it is given up", async || {
        events(&node).await.into_iter().find(|event| event["state"] == "given_up")
    })
    .await;
    assert_eq!((&given_up["attempts"], &given_up["status"]), (&json!(3), &json!(404)), "{given_up}");
    assert_eq!(given_up["error"], "answered 404 Not Found: *** no_service ***");
    spend(&node, "carol").await;
    receiver.sent("quota.spent", "carol").await;
    assert_eq!(receiver.of("quota.spent", "bob").len(), 3);
    assert!(elsewhere.deliveries().is_empty(), "no redirect is followed");
    assert!(metrics(&node).await.contains("\nsproxy_alert_deliveries_total{outcome=\"given_up\"} 1\n"));

    let told = receiver_of(&node, "pager").await;
    assert_eq!(told["host"], receiver.address.to_string());
    let said =
        [node.log(), told.to_string(), json!(events(&node).await).to_string(), metrics(&node).await].concat();
    let bodies: String = receiver
        .deliveries()
        .iter()
        .map(|delivery| String::from_utf8_lossy(&delivery.body).into_owned())
        .collect();
    for secret in
        ["canary-url-path-9b2f", "canary-url-query-03aa", SECRET, "upstream-secret", "canary-prompt-7c1e"]
    {
        assert!(!said.contains(secret), "the node tells {secret}");
        assert!(!bodies.contains(secret), "an alert tells {secret}");
    }
    assert!(!bodies.contains(&node.admin_token()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_that_waits_for_a_receiver_is_dropped_and_counted() {
    let mock = Mock::start().await;
    let receiver = Receiver::start().await;
    let alerts = alerts_at(&receiver, "name = \"pager\"\nevents = [\"quota.spent\"]");
    receiver.set_hanging(true);
    let mut node = setup(&mock, &alerts).start().await;
    spend(&node, "alice").await;
    receiver.sent("quota.spent", "alice").await;
    node.kill().await;
    // As if a thousand had waited.
    let database = rusqlite::Connection::open(node.data_dir().join("sproxy.db")).unwrap();
    for number in 0..1_000 {
        database
            .execute(
                "INSERT INTO alert_outbox SELECT randomblob(16), event, receiver, kind, subject, dedupe_key || ?1, node, body, \
                 created_at, attempts, next_try, claimed_by, done_at, outcome, status, error FROM alert_outbox LIMIT 1",
                [number],
            )
            .unwrap();
    }
    drop(database);
    node.restart().await;
    let key = user(&node, "bob", json!({ "daily_tokens": 100 })).await;
    assert_eq!(ask(&node, &key, 100).await.status, 200);
    until("it is dropped", async || {
        metrics(&node)
            .await
            .contains("\nsproxy_alert_deliveries_total{outcome=\"dropped\"} 1\n")
            .then_some(())
    })
    .await;
    assert_eq!(receiver_of(&node, "pager").await["waiting"], json!(1_001));
    assert!(node.log().contains("an alert is dropped"));
}
