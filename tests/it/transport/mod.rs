//! How bytes get to a provider and back, from outside: HTTP/2 against servers that play each frame by hand, in clear
//! and over TLS with ALPN.

mod health;
mod http1;
mod http2;
mod proxied;

use serde_json::{Value, json};

/// A chat completion that the meter can read.
const COMPLETION: &str = r#"{"id":"c","object":"chat.completion","model":"gpt-5","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#;

fn chat() -> Value {
    json!({ "model": "gpt-5", "messages": [{ "role": "user", "content": "Hello" }] })
}
