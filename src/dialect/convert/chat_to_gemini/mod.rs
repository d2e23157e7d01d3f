//! Chat Completions → Gemini: SDKs and editors that speak to `OpenAI`, on Google's models.

mod answer;
mod request;
#[cfg(test)]
mod tests;

use super::contract::{ConvertedRequest, NotConverted, RequestContext};
use super::gemini_target::request::{Wanted, path_and_query};
use answer::Converter;

/// A request for an answer.
///
/// # Errors
/// [`NotConverted`].
pub(super) fn request(body: &[u8], context: &RequestContext<'_>) -> Result<ConvertedRequest, NotConverted> {
    let made = request::make(body, context)?;
    let wanted = if made.is_stream { Wanted::Stream } else { Wanted::Document };
    Ok(ConvertedRequest {
        path_and_query: path_and_query(context.model, wanted)?,
        body: serde_json::to_vec(&made.body)?,
        dropped: made.dropped,
        answer: Box::new(Converter::new(made.answering)),
    })
}
