//! Reads an answer of Chat Completions as far as it has come: what is in it, why it is over, what was used.

use super::blocks::Blocks;
use crate::dialect::convert::chat_events::{Answer, Choice};
use crate::dialect::convert::contract::NotReadable;
use crate::dialect::convert::events::Event;
use crate::dialect::convert::upstream_error::{ErrorKind, UpstreamError};
use crate::domain::tokens::{BYTES_PER_TOKEN, Tokens};

/// One answer.
#[derive(Debug, Default)]
pub struct Reading {
    pub blocks: Blocks,
    id: Option<String>,
    model: Option<String>,
    has_begun: bool,
    tokens: Option<Tokens>,
    finish: Option<Finish>,
}

/// Why the model stopped.
#[derive(Debug)]
struct Finish {
    reason: String,
    sequence: Option<String>,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Nothing,
    /// It has begun, and there may be more in its blocks.
    More,
    /// It is over.
    Over,
}

/// How an answer is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Whole,
    Calls,
    /// At a sequence that the server names.
    Sequence(String),
    /// At the limit of tokens.
    Length,
    /// Somebody else than the model has ended it.
    Filtered,
    Refused,
}

impl Reading {
    /// Reads an event of a stream.
    ///
    /// # Errors
    /// It is an error, or cannot be read.
    pub fn event(&mut self, event: &Event<'_>) -> Result<Progress, UpstreamError> {
        let data = event.data.trim();
        if data == "[DONE]" {
            return if self.has_begun {
                Ok(Progress::Over)
            } else {
                Err(UpstreamError::broken("the provider's answer is empty"))
            };
        }
        if event.name == "error" {
            return Err(UpstreamError::read(None, data.as_bytes()));
        }
        // Some servers keep a connection alive by words.
        if data.starts_with('{') { self.chunk(data) } else { Ok(Progress::Nothing) }
    }

    fn chunk(&mut self, data: &str) -> Result<Progress, UpstreamError> {
        let broken =
            |error| UpstreamError::broken(format!("an event of the provider cannot be read: {error}"));
        let mut answer: Answer = serde_json::from_str(data).map_err(broken)?;
        if let Some(error) = answer.error(data) {
            return Err(error);
        }
        let tokens = answer.tokens();
        self.tokens = tokens.or(self.tokens);
        let choice = answer.take_choice();
        let is_chosen = choice.is_some();
        if let Some(mut choice) = choice {
            self.begin(&mut answer);
            if let Some(delta) = choice.take_delta() {
                self.blocks.take(delta);
            }
            self.finish(&choice)?;
        }
        Ok(match (&self.finish, tokens) {
            // Behind the reason that it stopped for comes nothing but what was used.
            (Some(_), Some(_)) => Progress::Over,
            _ if is_chosen => Progress::More,
            _ => Progress::Nothing,
        })
    }

    /// The stream has ended; some servers say neither what was used nor that they are done.
    ///
    /// # Errors
    /// The answer has not.
    pub fn end(&self) -> Result<(), UpstreamError> {
        match self.finish {
            Some(_) => Ok(()),
            None => Err(UpstreamError::broken("the provider's answer broke off")),
        }
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// It is none.
    pub fn document(&mut self, answer: &[u8]) -> Result<(), NotReadable> {
        let text = std::str::from_utf8(answer).map_err(|error| NotReadable(error.to_string()))?;
        let mut answer: Answer = serde_json::from_str(text)?;
        if let Some(error) = answer.error(text) {
            return Err(NotReadable(error.message));
        }
        let mut choice = answer.take_choice().ok_or_else(|| NotReadable("it has no choice".to_owned()))?;
        let delta = choice.take_delta().ok_or_else(|| NotReadable("it has no message".to_owned()))?;
        self.finish(&choice).map_err(|error| NotReadable(error.message))?;
        self.begin(&mut answer);
        self.tokens = answer.tokens();
        self.blocks.take(delta);
        Ok(())
    }

    fn begin(&mut self, answer: &mut Answer) {
        if !std::mem::replace(&mut self.has_begun, true) {
            (self.id, self.model) = (answer.id.take(), answer.model.take());
        }
    }

    /// Takes note of why the model stopped.
    fn finish(&mut self, choice: &Choice) -> Result<(), UpstreamError> {
        let Some(reason) = choice.finish_reason() else { return Ok(()) };
        let error =
            |kind, message: &str| Err(UpstreamError { status: None, kind, message: message.to_owned() });
        match reason {
            // DeepSeek's.
            "insufficient_system_resource" => {
                error(ErrorKind::Overloaded, "the provider is short of resources")
            }
            "error" => error(ErrorKind::Server, "the provider has failed within its answer"),
            _ => {
                let sequence = choice.stop_sequence().map(str::to_owned);
                self.finish = Some(Finish { reason: reason.to_owned(), sequence });
                Ok(())
            }
        }
    }

    /// The answer's id, where the server gives it one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The model that answers, where the server says so.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// How it is over: a call is one whatever the server says that it stopped for, and without a call there is none.
    #[must_use]
    pub fn ending(&self) -> Ending {
        let reason = self.finish.as_ref().map_or("stop", |finish| finish.reason.as_str());
        let sequence = self.finish.as_ref().and_then(|finish| finish.sequence.clone());
        match (reason, sequence) {
            ("content_filter" | "refusal", _) => Ending::Filtered,
            ("length" | "max_tokens" | "model_length", _) => Ending::Length,
            _ if self.blocks.has_calls() => Ending::Calls,
            _ if self.blocks.is_refused() => Ending::Refused,
            (_, Some(sequence)) => Ending::Sequence(sequence),
            _ => Ending::Whole,
        }
    }

    /// What was used; an estimate for callers of a server that does not say it.
    #[must_use]
    pub fn tokens(&self, input_estimate: u64) -> Tokens {
        self.tokens.unwrap_or_else(|| Tokens {
            input: input_estimate.max(1),
            output: self.blocks.len_bytes().div_ceil(BYTES_PER_TOKEN),
            ..Tokens::default()
        })
    }
}
