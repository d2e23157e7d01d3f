//! What a request of Chat Completions asks for beside its conversation: what no other API has, and what only tunes; and
//! what its messages say.

use serde_json::Value;

use super::chat::{Content, Part, Request};
use super::contract::{Dropped, NotConverted};

/// Refuses what means something else without it.
///
/// # Errors
/// There is such a thing.
pub fn refuse(request: &Request) -> Result<(), NotConverted> {
    let has_audio =
        request.audio.is_some() || request.modalities.iter().flatten().any(|modality| modality == "audio");
    let has_logprobs = request.logprobs == Some(true) || request.top_logprobs.is_some_and(|count| count > 0);
    for (is_there, field, reason) in [
        (request.n.is_some_and(|n| n > 1), "n", "it gives one answer: ask again for another"),
        (has_logprobs, "logprobs", "its models do not tell probabilities"),
        (has_audio, "audio", "its models do not speak"),
        (request.functions.is_some(), "functions", "send `tools`, which have replaced them"),
        (request.function_call.is_some(), "function_call", "send `tool_choice`, which has replaced it"),
    ] {
        if is_there {
            return Err(NotConverted::unsupported(field, reason));
        }
    }
    Ok(())
}

/// What only tunes, and has no place anywhere else.
#[must_use]
pub fn dropped(request: &Request) -> Dropped {
    let mut dropped = Dropped::default();
    let is_some = |penalty: &Option<serde_json::Number>| {
        penalty.as_ref().and_then(serde_json::Number::as_f64).is_some_and(|penalty| penalty != 0.0)
    };
    let is_tier = |tier: &str| !matches!(tier, "auto" | "default");
    dropped.add_if(is_some(&request.frequency_penalty), "frequency_penalty");
    dropped.add_if(is_some(&request.presence_penalty), "presence_penalty");
    dropped.add_if(request.logit_bias.is_some(), "logit_bias");
    dropped.add_if(request.prediction.is_some(), "prediction");
    dropped.add_if(request.store == Some(true), "store");
    dropped.add_if(request.service_tier.as_deref().is_some_and(is_tier), "service_tier");
    dropped.add_if(request.prompt_cache_retention.is_some(), "prompt_cache_retention");
    dropped.add_if(request.prompt_cache_options.is_some(), "prompt_cache_options");
    dropped.add_if(request.moderation.is_some(), "moderation");
    dropped.add_if(request.verbosity.is_some(), "verbosity");
    dropped
}

/// The parts of a message.
#[must_use]
pub fn parts(content: Option<Content>) -> Vec<Part> {
    content.map(Content::parts).unwrap_or_default()
}

/// What a part says; none of one that says nothing elsewhere.
///
/// # Errors
/// It is no text.
pub fn words(part: Part) -> Result<Option<String>, NotConverted> {
    match part {
        Part::Text { text } => Ok(Some(text)),
        Part::Refusal { refusal } => Ok(Some(refusal)),
        Part::Thinking => Ok(None),
        Part::ImageUrl { .. } => Err(NotConverted::unsupported("image_url", "only the user can show one")),
        Part::File { .. } => Err(NotConverted::unsupported("file", "only the user can send one")),
        Part::InputAudio => Err(NotConverted::unsupported("input_audio", "its models do not hear")),
        Part::Other => {
            Err(NotConverted::unsupported("messages.content", "a part of it is of an unknown type"))
        }
    }
}

/// Whether there is a thought in a field that providers have added.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "it is what an option of it is asked with")]
pub fn is_said(thought: Value) -> bool {
    thought.as_str().is_none_or(|thought| !thought.is_empty()) && !thought.is_null()
}
