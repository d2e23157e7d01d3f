//! Clients of Responses, Codex above all, on Anthropic's Messages.

mod answer;
#[cfg(test)]
mod answer_tests;
mod request;
#[cfg(test)]
mod tests;

use super::contract::{ConvertedRequest, NotConverted, RequestContext};
use super::responses_writer::{Echo, ResponsesWriter};
use super::to_messages::Converter;

/// Makes of a request of Responses one of Messages.
///
/// # Errors
/// [`NotConverted`].
pub fn request(body: &[u8], context: &RequestContext<'_>) -> Result<ConvertedRequest, NotConverted> {
    let echo: Echo = serde_json::from_slice(body)?;
    let made = request::convert(serde_json::from_slice(body)?, context)?;
    let writer = ResponsesWriter::new(echo, made.tools, context.now);
    Ok(ConvertedRequest {
        path_and_query: "/v1/messages".to_owned(),
        body: serde_json::to_vec(&made.body)?,
        dropped: made.dropped,
        answer: Box::new(Converter::new(writer)),
    })
}
