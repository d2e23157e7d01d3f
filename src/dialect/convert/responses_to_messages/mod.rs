//! Clients of Responses, Codex above all, on Anthropic's Messages.

#[cfg(test)]
mod answer_tests;
mod document;
mod ending;
mod request;
mod stream;
#[cfg(test)]
mod tests;

use super::contract::{AnswerConverter, ConvertedRequest, NotConverted, NotReadable, RequestContext};
use super::events::{Event, EventWriter};
use super::responses_writer::{Echo, ResponsesWriter};
use super::upstream_error::UpstreamError;

/// Makes of a request of Responses one of Messages.
///
/// # Errors
/// [`NotConverted`].
pub fn request(body: &[u8], context: &RequestContext<'_>) -> Result<ConvertedRequest, NotConverted> {
    let echo: Echo = serde_json::from_slice(body)?;
    let made = request::convert(serde_json::from_slice(body)?, context)?;
    let answer = ResponsesWriter::new(echo, made.tools, context.now);
    Ok(ConvertedRequest {
        path_and_query: "/v1/messages".to_owned(),
        body: serde_json::to_vec(&made.body)?,
        dropped: made.dropped,
        answer: Box::new(Converter { stream: stream::Stream::new(answer) }),
    })
}

struct Converter {
    stream: stream::Stream,
}

impl AnswerConverter for Converter {
    fn document(&mut self, answer: &[u8]) -> Result<Vec<u8>, NotReadable> {
        let response = document::convert(serde_json::from_slice(answer)?, &mut self.stream.answer);
        Ok(serde_json::to_vec(&response)?)
    }

    fn event(&mut self, event: &Event<'_>, made: &mut EventWriter) {
        self.stream.event(event);
        self.stream.answer.write(made);
    }

    fn end(&mut self, _made: &mut EventWriter) {}

    fn is_over(&self) -> bool {
        self.stream.answer.is_over()
    }

    fn fail(&mut self, error: &UpstreamError, made: &mut EventWriter) {
        self.stream.answer.fail(error, None);
        self.stream.answer.write(made);
    }
}
