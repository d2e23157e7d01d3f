//! Alerts, seen from outside: what a receiver is sent when something happens to real nodes, and what it is not.

mod conditions;
mod configuration;
mod delivery;
mod formats;
mod leaders;
mod limits;
mod seen;
mod terminal;

use serde_json::{Value, json};

use crate::harness::{Answer, Mock, Node, Receiver, Setup};

/// What every node here is set up with: nothing is waited for that a test does not mean.
const AT_ONCE: &str = "target_after = \"0s\"\nledger_after = \"0s\"";
/// What deliveries are signed with.
const SECRET: &str = "canary-signing-secret-51d0";

/// `[[alerts]]` at `receiver`.
fn alerts_at(receiver: &Receiver, more: &str) -> String {
    format!("[[alerts]]\nurl = \"{}\"\n{more}\n", receiver.url())
}

/// A node alone that tells `alerts`.
fn setup(mock: &Mock, alerts: &str) -> Setup {
    Setup::with_targets_at(&mock.url()).section("alerting", AT_ONCE).and_file(alerts)
}

async fn user(node: &Node, name: &str, limits: Value) -> String {
    let mut new = limits;
    new["name"] = json!(name);
    node.post("/admin/v1/users", new).await;
    node.key_of(name).await
}

/// A call that uses so many tokens.
async fn ask(node: &Node, key: &str, tokens: u64) -> Answer {
    let input = (tokens - 1).to_string();
    let headers = [("mock-input", input.as_str()), ("mock-output", "1")];
    let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{ "role": "user", "content": "canary-prompt-7c1e" }] });
    node.ask(key, "/v1/messages", &headers, &body).await
}

/// Uses up the daily tokens of a new user, so that there is something to be told.
async fn spend(node: &Node, name: &str) {
    let key = user(node, name, json!({ "daily_tokens": 100 })).await;
    assert_eq!(ask(node, &key, 100).await.status, 200);
}
