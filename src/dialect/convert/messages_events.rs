//! An answer of Anthropic's Messages as conversions read it: a document, or the events of a stream.
//! <https://docs.anthropic.com/en/api/messages-streaming>

use serde::Deserialize;
use serde_json::Value;

use super::usage::Usage;

#[derive(Debug, Deserialize)]
pub struct Message {
    pub id: String,
    pub model: String,
    pub content: Vec<Block>,
    #[serde(flatten)]
    pub stop: Stop,
    #[serde(default)]
    pub usage: Counts,
}

/// Why the answer is over.
#[derive(Debug, Default, Deserialize)]
pub struct Stop {
    pub stop_reason: Option<String>,
    pub stop_details: Option<StopDetails>,
}

#[derive(Debug, Deserialize)]
pub struct StopDetails {
    /// In words, why it was refused.
    pub explanation: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    Text {
        #[serde(default)]
        text: String,
        citations: Option<Vec<Citation>>,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Value,
    },
    ServerToolUse {
        name: String,
        #[serde(default)]
        input: Value,
    },
    /// One that other APIs have nothing for.
    #[serde(other)]
    Other,
}

/// Where something that is said was found.
#[derive(Debug, Deserialize)]
pub struct Citation {
    pub url: Option<String>,
    pub title: Option<String>,
}

/// One event.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamEvent {
    MessageStart {
        message: Head,
    },
    ContentBlockStart {
        content_block: Block,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    ContentBlockStop {},
    MessageDelta {
        delta: Stop,
        #[serde(default)]
        usage: Counts,
    },
    MessageStop,
    Error,
    #[serde(other)]
    Other,
}

/// What a stream begins with.
#[derive(Debug, Deserialize)]
pub struct Head {
    pub id: String,
    pub model: String,
    #[serde(default)]
    pub usage: Counts,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(rename = "citations_delta")]
    Citations { citation: Citation },
    #[serde(other)]
    Other,
}

/// What was used, as far as it is known yet: later events say it again, and more of it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Counts {
    input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl Counts {
    /// Takes what `later` says, and keeps what it does not say.
    pub fn update(&mut self, later: &Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens =
            later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
    }

    #[must_use]
    pub fn usage(&self) -> Usage {
        let cached = self.cache_read_input_tokens.unwrap_or(0);
        let written = self.cache_creation_input_tokens.unwrap_or(0);
        Usage {
            input: self.input_tokens.unwrap_or(0).saturating_add(cached).saturating_add(written),
            cached,
            written,
            output: self.output_tokens.unwrap_or(0),
            reasoning: self.output_tokens_details.and_then(|details| details.thinking_tokens),
        }
    }
}

/// The arguments of a call, which come as a value or piece by piece.
#[must_use]
pub fn arguments(input: &Value) -> String {
    match input {
        Value::Object(fields) if fields.is_empty() => String::new(),
        Value::Null => String::new(),
        input => input.to_string(),
    }
}
