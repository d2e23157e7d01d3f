//! What an answer is to contain, whatever its dialect.

use std::sync::Arc;

use crate::mock::tools::ToolCall;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnswerSpec {
    pub model: Arc<str>,
    pub input: u64,
    pub output: u64,
    /// A part of the input: what is read from the cache.
    pub cache_read: u64,
    /// A part of the input: what is written to the cache for 5 minutes.
    pub cache_write: u64,
    /// A part of the input: what is written to the cache for 1 hour.
    pub cache_write_1h: u64,
    /// A part of the output.
    pub reasoning: u64,
    /// Pieces of text.
    pub events: usize,
    /// An OpenAI stream is asked for usage.
    pub wants_usage: bool,
    /// A tool is called, instead of text.
    pub tool: Option<ToolCall>,
}

impl AnswerSpec {
    /// The model as a JSON string.
    pub fn model_json(&self) -> String {
        serde_json::Value::from(&*self.model).to_string()
    }

    /// Input that no cache class covers.
    pub fn plain_input(&self) -> u64 {
        self.input - self.cache_read - self.cache_write - self.cache_write_1h
    }
}
