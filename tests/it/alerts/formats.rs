//! What chats are sent, with names that mean harm.

use serde_json::{Value, json};

use super::{alerts_at, setup, spend};
use crate::harness::proxy::ForwardProxy;
use crate::harness::{Mock, Receiver};

/// A name that mentions everybody, sets a link and closes what is open, where it is not escaped.
const HOSTILE: &str = "<!channel> & [x](http:evil) *b* \"}]\\ @everyone";

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slack_and_teams_get_their_own_forms_in_which_names_are_only_text() {
    let (mock, slack, teams, programs) =
        (Mock::start().await, Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let only = "events = [\"quota.spent\"]";
    let alerts = [
        alerts_at(&slack, &format!("format = \"slack\"\n{only}")),
        alerts_at(&teams, &format!("format = \"teams\"\n{only}")),
        alerts_at(&programs, only),
    ];
    let node = setup(&mock, &alerts.concat()).start().await;
    spend(&node, HOSTILE).await;
    let whole = programs.sent("quota.spent", HOSTILE).await.json();
    assert!(whole["title"].as_str().unwrap().contains(HOSTILE), "JSON quotes by itself: {whole}");

    let message = slack.sent_that("a message", |delivery| delivery.event() == "quota.spent").await.json();
    assert_eq!(message["blocks"][0]["type"], "section");
    assert_eq!(message["blocks"][0]["text"]["type"], "mrkdwn");
    let mut found = Vec::new();
    texts(&message, &mut found);
    assert!(found.iter().any(|text| text.contains("&lt;!channel&gt; &amp; [x]")), "{found:?}");
    assert!(found.iter().all(|text| !text.contains(['<', '>'])), "{found:?}");
    assert!(message["text"].is_string() && message["blocks"][0]["text"]["verbatim"] == json!(true));

    let message = teams.sent_that("a message", |delivery| delivery.event() == "quota.spent").await.json();
    assert_eq!(message["type"], "message");
    let attachment = &message["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(attachment["content"]["type"], "AdaptiveCard");
    let blocks = attachment["content"]["body"].as_array().unwrap();
    assert!(blocks.iter().all(|block| block["type"] == "RichTextBlock"), "no Markdown: {blocks:?}");
    assert!(blocks[0]["inlines"][0]["text"].as_str().unwrap().contains(HOSTILE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_goes_out_through_the_proxy_that_is_configured() {
    let (mock, receiver) = (Mock::start().await, Receiver::start().await);
    let proxy = ForwardProxy::start(receiver.address, "Basic dXNlcjpjYW5hcnktcHJveHktMWQ=").await;
    let alerts = format!(
        "[[alerts]]\nurl = \"http://hooks.example.invalid/x\"\nproxy = \"http://user:canary-proxy-1d@{}\"\nevents = [\"quota.spent\"]",
        proxy.address
    );
    let node = setup(&mock, &alerts).start().await;
    spend(&node, "alice").await;
    receiver.sent("quota.spent", "alice").await;
    let heads = proxy.heads();
    assert!(heads[0].starts_with("POST http://hooks.example.invalid/x HTTP/1.1\r\n"), "{heads:?}");
    assert!(!node.log().contains("canary-proxy-1d"));
}
