//! What a model of Anthropic's has thought, on its way through clients of other APIs: the block itself is carried, as it
//! has to come back unchanged.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::api::Api;
use super::super::carrier;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Carried {
    Thinking { thinking: String, signature: String },
    RedactedThinking { data: String },
}

/// The carrier of thoughts; none of those that nobody has signed, as they would not be taken back.
#[must_use]
pub fn pack_thinking(thinking: &str, signature: &str) -> Option<String> {
    let block = || Carried::Thinking { thinking: thinking.to_owned(), signature: signature.to_owned() };
    (!signature.is_empty()).then(|| carrier::pack(Api::Messages, &block()))
}

/// The carrier of thoughts that only their provider can read.
#[must_use]
pub fn pack_redacted(data: &str) -> String {
    carrier::pack(Api::Messages, &Carried::RedactedThinking { data: data.to_owned() })
}

/// The block that was packed; none of what is foreign.
#[must_use]
pub fn unpack(carrier: &str) -> Option<Value> {
    Some(match carrier::unpack(Api::Messages, carrier)? {
        Carried::Thinking { thinking, signature } => {
            json!({ "type": "thinking", "thinking": thinking, "signature": signature })
        }
        Carried::RedactedThinking { data } => json!({ "type": "redacted_thinking", "data": data }),
    })
}
