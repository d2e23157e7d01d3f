//! The converter of answers: documents and events.

use super::document::message;
use super::stream::Stream;
use crate::dialect::convert::contract::{AnswerConverter, NotReadable};
use crate::dialect::convert::events::{Event, EventWriter};
use crate::dialect::convert::responses_answer::Response;
use crate::dialect::convert::tool_names::ToolNames;
use crate::dialect::convert::upstream_error::UpstreamError;

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
