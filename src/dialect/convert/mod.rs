//! Calls in one API, made in another: requests, answers, streams event by event, and errors.
//!
//! Each pair has a directory of its own, named by the caller's API and the target's, which knows both and nothing else:
//! `request.rs` makes the target's request, `document.rs` and `stream.rs` make the caller's answer of the target's. Beside
//! them lie its golden files. What pairs share is above them: the names of tools, what carries reasoning, errors, events.
//!
//! # Rules
//!
//! - Typed where something is acted on (serde), verbatim where the other side has the same.
//! - The converted form of a turn is a prefix of that of the next: nothing depends on what comes later, on the time or
//!   on chance.
//! - What only tunes is left out and named ([`Dropped`]); what changes the meaning is refused ([`NotConverted`]).
//! - The meter reads the target's own answer; what the caller reads here agrees with it in sum.

mod answer;
mod api;
pub mod carrier;
pub mod chat;
mod chat_events;
mod chat_settings;
mod chat_target;
mod chat_to_gemini;
mod chat_to_messages;
mod chat_writer;
mod contract;
mod events;
mod gemini_target;
pub mod messages;
mod messages_events;
mod messages_to_chat;
mod messages_to_gemini;
mod messages_to_responses;
mod messages_writer;
pub mod responses;
mod responses_answer;
mod responses_settings;
mod responses_to_chat;
mod responses_to_messages;
mod responses_tools;
mod responses_writer;
#[cfg(test)]
mod testing;
mod to_messages;
mod token_count;
pub mod tool_names;
mod upstream_error;
mod usage;

pub use answer::ConvertedAnswer;
pub use api::{Api, CONVERSIONS, Conversion, Purpose};
pub use contract::{AnswerConverter, ConvertedRequest, Dropped, NotConverted, NotReadable, RequestContext};
pub use events::{Event, EventReader, EventWriter, TooLarge};
pub use upstream_error::{ErrorKind, UpstreamError, status_in};

/// Makes of a request one in the API of its target.
///
/// # Errors
/// [`NotConverted`].
pub fn request(
    conversion: Conversion,
    purpose: Purpose,
    body: &[u8],
    context: &RequestContext<'_>,
) -> Result<ConvertedRequest, NotConverted> {
    use Api::{Chat, Gemini, Messages, Responses};
    use Purpose::{CountTokens, Generate};
    match (conversion.from, conversion.to, purpose) {
        (Messages, Responses, Generate) => messages_to_responses::request(body, context),
        (Messages, Responses, CountTokens) => messages_to_responses::count_tokens(body, context),
        (Messages, Gemini, Generate) => messages_to_gemini::request(body, context),
        (Messages, Gemini, CountTokens) => messages_to_gemini::count_tokens(body, context),
        (Messages, Chat, Generate) => messages_to_chat::request(body, context),
        (Responses, Chat, Generate) => responses_to_chat::request(body, context),
        (Chat, Gemini, Generate) => chat_to_gemini::request(body, context),
        (Chat, Messages, Generate) => chat_to_messages::request(body, context),
        (Responses, Messages, Generate) => responses_to_messages::request(body, context),
        _ => Err(NotConverted::NoSuchCall),
    }
}
