//! What a node tells of its calls: traces, lines of the log, metrics.

mod canary;
mod collector;
mod log;
mod metrics;
mod traces;

use serde_json::{Value, json};

use crate::harness::{Answer, Mock, Node};

/// Two targets, the first of which is asked first.
fn two_targets(first: &Mock, second: &Mock) -> String {
    let target = |name: &str, mock: &Mock, tier: u32| {
        format!(
            "[[targets]]\nname = \"{name}\"\nprovider = \"anthropic\"\nurl = \"{}\"\napi_key = \"k\"\ntier = {tier}\n",
            mock.url()
        )
    };
    format!("{}{}", target("first", first, 0), target("second", second, 1))
}

fn message(model: &str, stream: bool) -> Value {
    json!({ "model": model, "max_tokens": 50, "stream": stream,
        "messages": [{ "role": "user", "content": "What is the weather like?" }] })
}

async fn ask(node: &Node, key: &str, headers: &[(&str, &str)]) -> Answer {
    node.ask(key, "/v1/messages", headers, &message("claude-sonnet-4-5", false)).await
}
