//! Where prompt caches end: behind the tools, the system prompt and the last two turns of the user, so that each call
//! reads what the one before it has written. Anthropic caches nothing that it is not told to.

use serde_json::{Value, json};

/// Marks what is to be cached; four marks are the most there may be.
pub fn mark(tools: &mut [Value], system: &mut [Value], messages: &mut [Value]) {
    let last_blocks = messages.iter_mut().rev().filter(|message| message["role"] == "user").take(2);
    let last_blocks = last_blocks.filter_map(|message| message["content"].as_array_mut()?.last_mut());
    for marked in tools.last_mut().into_iter().chain(system.last_mut()).chain(last_blocks) {
        marked["cache_control"] = json!({ "type": "ephemeral" });
    }
}
