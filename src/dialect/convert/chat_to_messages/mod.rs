//! Clients of Chat Completions on Anthropic's Messages.

mod answer;
mod request;
#[cfg(test)]
mod tests;

use super::chat_writer::ChatWriter;
use super::contract::{ConvertedRequest, NotConverted, RequestContext};
use super::to_messages::Converter;

/// Makes of a request of Chat Completions one of Messages.
///
/// # Errors
/// [`NotConverted`].
pub fn request(body: &[u8], context: &RequestContext<'_>) -> Result<ConvertedRequest, NotConverted> {
    let made = request::convert(serde_json::from_slice(body)?, context)?;
    let writer = ChatWriter::new(context.now, made.includes_usage);
    let answer = answer::ChatAnswer::new(writer, made.names);
    Ok(ConvertedRequest {
        path_and_query: "/v1/messages".to_owned(),
        body: serde_json::to_vec(&made.body)?,
        dropped: made.dropped,
        answer: Box::new(Converter::new(answer)),
    })
}
