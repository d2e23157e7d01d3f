//! Messages → Responses: Claude Code, and everything that speaks to Anthropic, on `OpenAI`'s models.

mod answer;
mod content;
mod document;
mod request;
mod stream;
mod tools;

use serde_json::Value;

use super::contract::{ConvertedRequest, NotConverted, RequestContext};
use super::token_count::TokenCount;
use answer::Converter;
use request::{add_ways_of_answering, make};

/// A request for an answer.
///
/// # Errors
/// [`NotConverted`].
pub(super) fn request(body: &[u8], context: &RequestContext<'_>) -> Result<ConvertedRequest, NotConverted> {
    let mut made = make(body, context)?;
    add_ways_of_answering(&mut made, context);
    let answer = Converter::new(made.names, context.input_tokens_estimate);
    Ok(ConvertedRequest {
        path_and_query: "/v1/responses".to_owned(),
        body: Value::Object(made.body).to_string().into_bytes(),
        dropped: made.dropped,
        answer: Box::new(answer),
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
    for of_answers in ["max_output_tokens", "temperature", "top_p", "service_tier", "prompt_cache_options"] {
        made.body.shift_remove(of_answers);
    }
    Ok(ConvertedRequest {
        path_and_query: "/v1/responses/input_tokens".to_owned(),
        body: Value::Object(made.body).to_string().into_bytes(),
        dropped: made.dropped,
        answer: Box::new(TokenCount { field: "input_tokens" }),
    })
}

#[cfg(test)]
mod tests;
