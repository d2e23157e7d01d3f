//! What a meter is, and what it tells.

use crate::domain::terms::Terms;
use crate::domain::usage::{TokenSource, Tokens};
use crate::metering::steps::Step;

/// Reads along with one answer.
pub trait Meter: Send {
    /// Takes the next bytes of the body, as they came from the upstream (still compressed, if they are).
    fn feed(&mut self, chunk: &[u8]) -> Progress;

    /// How far the answer has come.
    fn stage(&mut self) -> Stage;

    /// The result, once the answer has ended or has to be accounted for.
    fn result(&mut self, end: End) -> MeterResult;
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing of what was asked for has come.
    Opening,
    /// Something of it has come; also of an answer that cannot be read.
    Content,
    /// It has reported an error before anything of what was asked for.
    Failed,
}

/// Progress of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More events may follow.
    More,
    /// The answer's final event lies in what has been fed; nothing that follows changes the result. Answers
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

/// What a meter has read from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterResult {
    /// Token counts: every token that the provider charges for, `reasoning` and the cache classes being parts.
    pub tokens: Tokens,
    /// What of that each step used, where the provider bills more than one.
    pub steps: Vec<Step>,
    /// Where `tokens` come from. [`TokenSource::None`] with a success status: there was nothing to count, or the meter
    /// could not read the answer (see `readable`).
    pub source: TokenSource,
    /// The model that answered, where the answer says so.
    pub model: Option<String>,
    /// On which terms the provider served the call, as far as the answer says.
    pub terms: Terms,
    /// The answer reported a failure of its own although its status is a success: an `error` event, a failed response.
    pub error_event: bool,
    /// The caller could have had the whole answer: its final event passed, or its body ended where none is due.
    pub complete: bool,
    /// False when the meter was meant to read this answer and could not (unknown form, broken compression).
    pub readable: bool,
}

impl MeterResult {
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            tokens: Tokens::default(),
            steps: Vec::new(),
            terms: Terms::default(),
            source: TokenSource::None,
            model: None,
            error_event: false,
            complete: false,
            readable: true,
        }
    }
}

/// The meter of an answer in which there is nothing to count.
pub struct NoopMeter {
    /// Whether there is nothing to count, rather than something that cannot be read.
    pub readable: bool,
}

impl Meter for NoopMeter {
    fn feed(&mut self, _chunk: &[u8]) -> Progress {
        Progress::More
    }

    fn stage(&mut self) -> Stage {
        Stage::Content
    }

    fn result(&mut self, end: End) -> MeterResult {
        MeterResult { complete: end == End::Body, readable: self.readable, ..MeterResult::nothing() }
    }
}
