//! The converters of answers: which of a document, events and counts is read where.

use serde_json::{Value, json};

use super::document::message;
use super::stream::Stream;
use crate::dialect::convert::Api;
use crate::dialect::convert::contract::{AnswerConverter, NotReadable};
use crate::dialect::convert::events::{Event, EventWriter};
use crate::dialect::convert::responses_answer::Response;
use crate::dialect::convert::tool_names::ToolNames;
use crate::dialect::convert::upstream_error::UpstreamError;

/// Of an answer.
pub(super) struct Converter {
    stream: Stream,
}

impl Converter {
    pub(super) fn new(names: ToolNames, input_tokens_estimate: u64) -> Self {
        Self { stream: Stream::new(names, input_tokens_estimate) }
    }
}

impl AnswerConverter for Converter {
    fn document(&mut self, answer: &[u8]) -> Result<Vec<u8>, NotReadable> {
        let response: Response = serde_json::from_slice(answer)?;
        if response.status.as_deref() == Some("failed") {
            let error = UpstreamError::read(None, answer);
            return Err(NotReadable(error.message));
        }
        Ok(message(&response, self.stream.names()).to_string().into_bytes())
    }

    fn event(&mut self, event: &Event<'_>, made: &mut EventWriter<'_>) {
        self.stream.event(event, made);
    }

    fn end(&mut self, made: &mut EventWriter<'_>) {
        let error = UpstreamError::broken("the provider's answer broke off");
        self.stream.fail(&error, made);
    }

    fn is_over(&self) -> bool {
        self.stream.is_over()
    }

    fn fail(&mut self, error: &UpstreamError, made: &mut EventWriter<'_>) {
        self.stream.fail(error, made);
    }
}

/// Of a number of tokens.
pub(super) struct CountConverter;

impl AnswerConverter for CountConverter {
    fn document(&mut self, answer: &[u8]) -> Result<Vec<u8>, NotReadable> {
        let answer: Value = serde_json::from_slice(answer)?;
        let count = answer.get("input_tokens").and_then(Value::as_u64);
        let count = count.ok_or_else(|| NotReadable("it has no `input_tokens`".to_owned()))?;
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
