//! Metering: reads the token counts out of an answer while it passes, without holding it up or keeping it.
//!
//! ```text
//! chunk → coding (a decoded copy, where the answer is compressed)
//!       → framing (events, lines or one document: told from the bytes themselves)
//!       → json (a resumable scanner that keeps nothing but what the vocabulary names)
//!       → tally (last snapshot of each count, content that passed) → Reading
//! ```
//!
//! Memory per answer is fixed: nothing of an answer is buffered, however large its events are. One vocabulary
//! covers all dialects, so that an answer is read by what it is: an OpenAI-shaped answer on a Gemini path, or
//! an Anthropic-shaped one from an OpenAI-compatible server, is metered all the same.

pub mod ask;
mod coding;
mod endpoint;
mod framing;
mod json;
mod skip;
mod tally;
pub mod usage_chunk;
mod vocabulary;

use crate::domain::usage::{TokenSource, Tokens};

pub use crate::metering::endpoint::Endpoint;
use crate::metering::framing::Plain;

/// Bytes of content that count as one token where a provider's count is missing.
pub const BYTES_PER_TOKEN: u64 = 4;

/// Reads along with one answer.
pub trait Meter: Send {
    /// Takes the next bytes of the body, as they came from the upstream (still compressed, if they are).
    fn feed(&mut self, chunk: &[u8]) -> Progress;

    /// What is known now that the answer has ended, or has to be accounted for.
    fn reading(&mut self, end: End) -> Reading;
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More events may follow.
    More,
    /// The answer's final event lies in what has been fed; nothing that follows changes the reading. Answers
    /// whose dialect has no final event (Gemini streams) end with their body and never get here.
    Final,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The upstream's body came to its proper end.
    Body,
    /// The upstream's body broke off.
    UpstreamCut,
    /// The caller hung up, and nobody reads on.
    ClientGone,
}

/// What a meter makes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Token counts, in the sense of the contract's section 8.
    pub tokens: Tokens,
    /// How good they are. [`TokenSource::None`] with a success status: there was nothing to count, or the meter
    /// could not read the answer (see `readable`).
    pub source: TokenSource,
    /// The model that answered, where the answer says so.
    pub model: Option<String>,
    /// The answer reported a failure of its own although its status is a success: an `error` event, a failed response.
    pub error_event: bool,
    /// The caller could have had the whole answer: its final event passed, or its body ended where none is due.
    pub complete: bool,
    /// False when the meter was meant to read this answer and could not (unknown form, broken compression).
    pub readable: bool,
}

/// What has to be known of an answer before its body comes.
#[derive(Clone, Copy, Debug)]
pub struct AnswerHead<'a> {
    /// What was called.
    pub endpoint: Endpoint,
    /// HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: Option<&'a str>,
    /// `content-encoding`.
    pub content_encoding: Option<&'a str>,
    /// What the request's input is worth if the answer does not tell: [`ask::Asked::input_tokens_estimate`].
    pub request_tokens_estimate: u64,
}

/// The meter for an answer. Error answers, endpoints that spend nothing, and bodies that are no text get one
/// that counts nothing.
#[must_use]
pub fn open(head: &AnswerHead<'_>) -> Box<dyn Meter> {
    let success = (200..300).contains(&head.status);
    if !success || head.endpoint != Endpoint::Inference {
        return Box::new(Nothing { readable: true });
    }
    match head.content_type.map(form_of) {
        Some(Form::Binary) => Box::new(Nothing { readable: true }),
        Some(Form::Lines) => coding::open(head.content_encoding, Plain::lines(head.request_tokens_estimate)),
        Some(Form::Text) | None => {
            coding::open(head.content_encoding, Plain::new(head.request_tokens_estimate))
        }
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

/// The meter of an answer in which there is nothing to count.
struct Nothing {
    readable: bool,
}

impl Meter for Nothing {
    fn feed(&mut self, _chunk: &[u8]) -> Progress {
        Progress::More
    }

    fn reading(&mut self, end: End) -> Reading {
        Reading {
            tokens: Tokens::default(),
            source: TokenSource::None,
            model: None,
            error_event: false,
            complete: end == End::Body,
            readable: self.readable,
        }
    }
}
