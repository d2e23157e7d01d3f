//! Metering: reads the token counts out of an answer while it passes, without holding it up or keeping it.
//!
//! ```text
//! chunk → decompress (a decoded copy, where the answer is compressed)
//!       → json_meter (events, lines or one document: told from the bytes themselves)
//!       → scanner (resumable JSON that keeps nothing but the fields that a dialect names)
//!       → accumulator (what was reported, content that passed, endings) → counts (the rule) → MeterResult
//! ```
//!
//! There is one rule of counting for all dialects and for all who imitate them; `counts.rs` states it.
//!
//! Memory per answer is fixed: nothing of an answer is buffered, however large its events are. The names
//! of all dialects are looked for at once (`fields.rs`), so that an answer is read by what it is: an OpenAI-shaped
//! answer on a Gemini path, or an Anthropic-shaped one from an OpenAI-compatible server, is metered all the same.

mod accumulator;
mod counts;
mod decompress;
mod fields;
mod json_meter;
mod meter;
mod position;
mod prefix_cache;
mod scanner;
mod steps;

use crate::dialect::Billing;
use crate::domain::tokens::Estimate;
use crate::metering::json_meter::JsonMeter;
use crate::metering::meter::NoopMeter;
pub use crate::metering::meter::{End, Meter, MeterResult, Progress, Stage};
pub use crate::metering::steps::Step;

/// What the meter needs to know of an answer before its body comes.
#[derive(Clone, Copy, Debug)]
pub struct AnswerHead<'a> {
    pub billing: Billing,
    pub status: u16,
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
    /// Used if the answer reports no counts.
    pub estimate: Estimate,
}

/// The meter for an answer. Error answers, endpoints that spend nothing, and bodies that are no text get one
/// that counts nothing.
#[must_use]
pub fn open(head: &AnswerHead<'_>) -> Box<dyn Meter> {
    let success = (200..300).contains(&head.status);
    if !success || head.billing != Billing::Inference {
        return Box::new(NoopMeter { readable: true });
    }
    match head.content_type.map(form_of) {
        Some(Form::Binary) => Box::new(NoopMeter { readable: true }),
        Some(Form::Lines) => decompress::open(head.content_encoding, JsonMeter::lines(head.estimate)),
        Some(Form::Text) | None => decompress::open(head.content_encoding, JsonMeter::new(head.estimate)),
    }
}

/// The forms of body that a content type announces, as far as the bytes do not tell them apart.
enum Form {
    Text,
    Lines,
    Binary,
}

fn form_of(content_type: &str) -> Form {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let text = essence.starts_with("text/")
        || essence.contains("json")
        || essence.contains("event-stream")
        || matches!(essence.as_str(), "" | "application/octet-stream");
    if essence.contains("ndjson") || essence.contains("jsonl") {
        Form::Lines
    } else if text {
        Form::Text
    } else {
        Form::Binary
    }
}
