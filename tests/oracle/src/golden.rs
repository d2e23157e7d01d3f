//! sproxy's golden files, as far as they are what goes into a conversion.

use serde_json::Value;
use sproxy_foundation::dialect::convert::{Api, Conversion};

macro_rules! golden {
    ($file:literal) => {
        include_str!(concat!("../../../src/dialect/convert/", $file))
    };
}

/// What there is of one pair.
#[derive(Clone, Copy, Debug)]
pub struct Golden {
    /// Names and texts; the first is what the answers are answers to.
    pub requests: &'static [(&'static str, &'static str)],
    pub answer: &'static str,
    pub stream: &'static str,
}

/// The golden files of a pair.
#[must_use]
pub fn of(conversion: Conversion) -> Option<Golden> {
    let golden = match (conversion.from, conversion.to) {
        (Api::Messages, Api::Responses) => Golden {
            requests: &[("request.json", golden!("messages_to_responses/golden/request.json"))],
            // The pair's document is made of its stream.
            answer: "",
            stream: golden!("messages_to_responses/golden/stream.sse"),
        },
        (Api::Messages, Api::Chat) => Golden {
            requests: &[
                ("claude_code.json", golden!("messages_to_chat/golden/claude_code.json")),
                ("sdk.json", golden!("messages_to_chat/golden/sdk.json")),
            ],
            answer: golden!("messages_to_chat/golden/document.json"),
            stream: golden!("messages_to_chat/golden/stream.sse"),
        },
        (Api::Messages, Api::Gemini) => Golden {
            requests: &[("request.json", golden!("messages_to_gemini/golden/request.json"))],
            answer: golden!("messages_to_gemini/golden/document.json"),
            stream: golden!("messages_to_gemini/golden/stream.sse"),
        },
        (Api::Responses, Api::Messages) => Golden {
            requests: &[
                ("codex.json", golden!("responses_to_messages/golden/codex.json")),
                ("sdk.json", golden!("responses_to_messages/golden/sdk.json")),
            ],
            answer: golden!("responses_to_messages/golden/message.json"),
            stream: golden!("responses_to_messages/golden/stream.sse"),
        },
        (Api::Responses, Api::Chat) => Golden {
            requests: &[("codex.json", golden!("responses_to_chat/golden/codex.json"))],
            answer: golden!("responses_to_chat/golden/document.json"),
            stream: golden!("responses_to_chat/golden/stream.sse"),
        },
        (Api::Chat, Api::Messages) => Golden {
            requests: &[
                ("request.json", golden!("chat_to_messages/golden/request.json")),
                ("sdk.json", golden!("chat_to_messages/golden/sdk.json")),
            ],
            answer: golden!("chat_to_messages/golden/message.json"),
            stream: golden!("chat_to_messages/golden/stream.sse"),
        },
        (Api::Chat, Api::Gemini) => Golden {
            requests: &[("request.json", golden!("chat_to_gemini/golden/request.json"))],
            answer: golden!("chat_to_gemini/golden/document.json"),
            stream: golden!("chat_to_gemini/golden/stream.sse"),
        },
        _ => return None,
    };
    Some(golden)
}

/// A golden file's JSON. `@LONG@` stands for a name that its test makes.
///
/// # Panics
/// It is none.
#[must_use]
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}
