//! An answer of `OpenAI`'s Responses, whole or in events, as far as conversions act on it.
//! <https://platform.openai.com/docs/api-reference/responses>

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `response`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Response {
    pub id: String,
    pub model: String,
    pub status: Option<String>,
    pub output: Vec<Item>,
    pub usage: Option<Usage>,
    pub incomplete_details: Option<IncompleteDetails>,
    /// As it came.
    pub error: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct IncompleteDetails {
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub input_tokens: u64,
    pub input_tokens_details: Option<InputDetails>,
    pub output_tokens: u64,
    pub output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct InputDetails {
    pub cached_tokens: Option<u64>,
    pub cache_write_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OutputDetails {
    pub reasoning_tokens: Option<u64>,
}

/// One item of `output`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item {
    Message {
        #[serde(default)]
        content: Vec<Part>,
    },
    Reasoning(Reasoning),
    FunctionCall {
        call_id: String,
        name: String,
        #[serde(default)]
        arguments: String,
    },
    WebSearchCall {
        id: Option<String>,
        #[serde(default)]
        action: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reasoning {
    pub id: Option<String>,
    pub summary: Vec<Summary>,
    /// What models say that hide nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<Summary>,
    pub encrypted_content: Option<String>,
}

impl Reasoning {
    /// What there is to read of it.
    #[must_use]
    pub fn text(&self) -> String {
        let said = if self.summary.is_empty() { &self.content } else { &self.summary };
        said.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(PARAGRAPH)
    }
}

/// What stands between two parts of a summary.
pub const PARAGRAPH: &str = "\n\n";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    #[serde(default)]
    pub text: String,
}

/// One part of a message.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    OutputText {
        text: String,
    },
    Refusal {
        refusal: String,
    },
    #[serde(other)]
    Other,
}

/// One event of a stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type")]
pub enum StreamEvent {
    #[serde(rename = "response.created")]
    Created { response: Response },
    #[serde(rename = "response.output_item.added")]
    ItemAdded { output_index: u64, item: Item },
    #[serde(rename = "response.output_item.done")]
    ItemDone { output_index: u64, item: Item },
    #[serde(rename = "response.output_text.delta")]
    TextDelta { output_index: u64, delta: String },
    #[serde(rename = "response.output_text.done")]
    TextDone { output_index: u64, text: String },
    #[serde(rename = "response.refusal.delta")]
    RefusalDelta { output_index: u64, delta: String },
    #[serde(rename = "response.reasoning_summary_part.added")]
    SummaryPartAdded { output_index: u64, summary_index: u64 },
    #[serde(rename = "response.reasoning_summary_text.delta")]
    SummaryDelta { output_index: u64, delta: String },
    #[serde(rename = "response.reasoning_text.delta")]
    ReasoningDelta { output_index: u64, delta: String },
    #[serde(rename = "response.function_call_arguments.delta")]
    ArgumentsDelta { output_index: u64, delta: String },
    #[serde(rename = "response.function_call_arguments.done")]
    ArgumentsDone { output_index: u64, arguments: String },
    #[serde(rename = "response.completed")]
    Completed { response: Response },
    #[serde(rename = "response.incomplete")]
    Incomplete { response: Response },
    #[serde(rename = "response.failed", alias = "error")]
    Failed,
    #[serde(rename = "response.in_progress", alias = "keepalive")]
    InProgress,
    #[serde(other)]
    Other,
}
