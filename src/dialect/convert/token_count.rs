//! The answer to a caller of Messages who has asked how many tokens a request would have.

use serde_json::{Value, json};

use super::api::Api;
use super::contract::{AnswerConverter, NotReadable};
use super::events::{Event, EventWriter};
use super::upstream_error::UpstreamError;

/// Reads the number from a document.
pub struct TokenCount {
    /// Where it stands.
    pub field: &'static str,
}

impl AnswerConverter for TokenCount {
    fn document(&mut self, answer: &[u8]) -> Result<Vec<u8>, NotReadable> {
        let answer: Value = serde_json::from_slice(answer)?;
        let count = answer.get(self.field).and_then(Value::as_u64);
        let count = count.ok_or_else(|| NotReadable(format!("it has no `{}`", self.field)))?;
        Ok(json!({ "input_tokens": count }).to_string().into_bytes())
    }

    fn event(&mut self, _event: &Event<'_>, _made: &mut EventWriter<'_>) {}

    fn end(&mut self, _made: &mut EventWriter<'_>) {}

    fn is_over(&self) -> bool {
        false
    }

    fn fail(&mut self, error: &UpstreamError, made: &mut EventWriter<'_>) {
        made.named("error", &error.document(Api::Messages));
    }
}
