//! Messages → Gemini: Claude Code, and everything that speaks to Anthropic, on Google's models.

mod answer;
mod content;
mod request;
#[cfg(test)]
mod tests;

use super::contract::{ConvertedRequest, NotConverted, RequestContext};
use super::gemini_target::request::{Wanted, path_and_query};
use super::token_count::TokenCount;
use answer::Converter;
use request::make;

/// A request for an answer.
///
/// # Errors
/// [`NotConverted`].
pub(super) fn request(body: &[u8], context: &RequestContext<'_>) -> Result<ConvertedRequest, NotConverted> {
    let made = make(body, context)?;
    let wanted = if made.is_stream { Wanted::Stream } else { Wanted::Document };
    Ok(ConvertedRequest {
        path_and_query: path_and_query(context.model, wanted)?,
        body: serde_json::to_vec(&made.body)?,
        dropped: made.dropped,
        answer: Box::new(Converter::new(made.answering)),
    })
}

/// A request for the number of tokens.
///
/// # Errors
/// [`NotConverted`].
pub(super) fn count_tokens(
    body: &[u8],
    context: &RequestContext<'_>,
) -> Result<ConvertedRequest, NotConverted> {
    let mut made = make(body, context)?;
    // What is only of answers.
    made.body.shift_remove("generationConfig");
    let model = context.model.strip_prefix("models/").unwrap_or(context.model);
    made.body.shift_insert(0, "model".to_owned(), format!("models/{model}").into());
    let body = serde_json::json!({ "generateContentRequest": made.body });
    Ok(ConvertedRequest {
        path_and_query: path_and_query(context.model, Wanted::Count)?,
        body: serde_json::to_vec(&body)?,
        dropped: made.dropped,
        answer: Box::new(TokenCount { field: "totalTokens" }),
    })
}
