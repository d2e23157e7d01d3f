//! Reads an answer of Gemini as far as it has come: what is in it, why it is over, what was used.

use serde_json::{Map, Value};

use super::answer::{Candidate, GroundingMetadata, Part, PromptFeedback, Response, UsageMetadata};
use crate::dialect::convert::contract::NotReadable;
use crate::dialect::convert::tool_names::bounded;
use crate::dialect::convert::upstream_error::UpstreamError;
use crate::domain::tokens::Tokens;

/// One answer.
#[derive(Debug)]
pub struct Reading {
    /// The answer's, or one that is invented for it.
    id: String,
    model: String,
    /// What the ids of its calls begin with.
    call_prefix: &'static str,
    calls: usize,
    has_words: bool,
    ending: Option<Ending>,
    counts: UsageMetadata,
    has_counts: bool,
    grounding: GroundingMetadata,
}

/// What an answer consists of, in its order.
#[derive(Debug, PartialEq)]
pub enum Piece {
    Thought {
        text: String,
        signature: Option<String>,
    },
    Text {
        text: String,
        signature: Option<String>,
    },
    /// A whole call.
    Call {
        id: String,
        /// As it was sent.
        name: String,
        arguments: Map<String, Value>,
        signature: Option<String>,
    },
    /// A signature for nothing that is said.
    Signature(String),
}

/// Why an answer is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Whole,
    Calls,
    /// At the limit of tokens.
    Length,
    /// The provider's filters have ended it; with what they say.
    Filtered(String),
    /// The model has called in a way that nobody can read.
    Broken(String),
}

/// What was found on the web.
#[derive(Debug)]
pub struct Search {
    pub queries: Vec<String>,
    /// Address and title.
    pub found: Vec<(String, String)>,
}

impl Reading {
    /// `model`: what was asked for. `invented_id`: for an answer without one. `call_prefix`: what the
    /// ids of its calls begin with, which Gemini does not have.
    #[must_use]
    pub fn new(model: &str, invented_id: String, call_prefix: &'static str) -> Self {
        Self {
            id: invented_id,
            model: model.to_owned(),
            call_prefix,
            calls: 0,
            has_words: false,
            ending: None,
            counts: UsageMetadata::default(),
            has_counts: false,
            grounding: GroundingMetadata::default(),
        }
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Takes a whole answer, or a chunk of a stream: what is new in it.
    ///
    /// # Errors
    /// It is an error.
    pub fn take(&mut self, response: Response) -> Result<Vec<Piece>, UpstreamError> {
        if let Some(error) = &response.error {
            return Err(UpstreamError::of_value(None, error));
        }
        if let Some(id) = response.id.filter(|id| !id.is_empty()) {
            self.id = id;
        }
        if let Some(model) = response.model_version.filter(|model| !model.is_empty()) {
            self.model = model;
        }
        let counts = response.usage_metadata;
        if let Some(counts) = counts {
            self.count(&counts);
        }
        let mut pieces = Vec::new();
        let candidate = response.candidates.into_iter().flatten().next();
        if let Some(candidate) = candidate {
            self.candidate(candidate, counts.is_some(), &mut pieces);
        } else if let Some(reason) = response.prompt_feedback.as_ref().and_then(blocked) {
            self.ending = Some(Ending::Filtered(reason));
            self.has_counts = counts.is_some();
        } else if self.ending.is_some() {
            self.has_counts = counts.is_some();
        }
        match &self.ending {
            Some(Ending::Broken(reason)) => Err(UpstreamError::broken(reason.clone())),
            _ => Ok(pieces),
        }
    }

    /// Takes a document.
    ///
    /// # Errors
    /// It is no answer.
    pub fn document(&mut self, answer: &[u8]) -> Result<Vec<Piece>, NotReadable> {
        let response: Response = serde_json::from_slice(answer)?;
        let pieces = self.take(response).map_err(|error| NotReadable(error.message))?;
        match self.ending {
            Some(_) => Ok(pieces),
            None => Err(NotReadable("it has no end".to_owned())),
        }
    }

    fn candidate(&mut self, candidate: Candidate, has_counts: bool, pieces: &mut Vec<Piece>) {
        for part in candidate.content.and_then(|content| content.parts).into_iter().flatten() {
            pieces.extend(self.part(part));
        }
        if let Some(grounding) = candidate.grounding_metadata {
            self.grounding.web_search_queries =
                grounding.web_search_queries.or(self.grounding.web_search_queries.take());
            self.grounding.grounding_chunks =
                grounding.grounding_chunks.or(self.grounding.grounding_chunks.take());
        }
        if let Some(reason) = candidate.finish_reason.filter(|reason| reason != "FINISH_REASON_UNSPECIFIED") {
            self.ending = Some(self.ending(&reason, candidate.finish_message.as_deref()));
            // Each chunk has counts; those of the last are the answer's.
            self.has_counts = has_counts;
        } else if self.ending.is_some() {
            self.has_counts |= has_counts;
        }
    }

    fn part(&mut self, part: Part) -> Option<Piece> {
        let signature = part.thought_signature.filter(|signature| !signature.is_empty());
        if let Some(call) = part.function_call {
            let id = bounded(&format!("{}_{}_{}", self.call_prefix, self.id, self.calls));
            self.calls += 1;
            let arguments = call.args.unwrap_or_default();
            return Some(Piece::Call { id, name: call.name, arguments, signature });
        }
        let mut text = part.text.unwrap_or_default();
        if part.thought == Some(true) {
            return (!text.is_empty() || signature.is_some()).then_some(Piece::Thought { text, signature });
        }
        if let Some(data) = part.inline_data {
            // Neither API has a place for it in an answer.
            text = format!("[{}]", data.mime_type);
        }
        if text.is_empty() {
            return signature.map(Piece::Signature);
        }
        self.has_words = true;
        Some(Piece::Text { text, signature })
    }

    /// <https://ai.google.dev/api/generate-content#FinishReason>
    fn ending(&self, reason: &str, message: Option<&str>) -> Ending {
        let message = message.filter(|message| !message.is_empty());
        match reason {
            "MAX_TOKENS" | "CONTINUATION" => Ending::Length,
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "MODEL_ARMOR"
            | "ESCALATION"
            | "PUP_LIMITED_DISABLED" => Ending::Filtered(message.unwrap_or(reason).to_owned()),
            "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MALFORMED_RESPONSE"
            | "MISSING_THOUGHT_SIGNATURE" => Ending::Broken(broken(reason, message)),
            // Whatever it is, without a word it is no answer.
            "STOP" => self.whole(),
            _ if self.calls == 0 && !self.has_words => Ending::Broken(broken(reason, message)),
            _ => self.whole(),
        }
    }

    fn whole(&self) -> Ending {
        if self.calls > 0 { Ending::Calls } else { Ending::Whole }
    }

    fn count(&mut self, counts: &UsageMetadata) {
        let all = &mut self.counts;
        for (known, new) in [
            (&mut all.prompt, counts.prompt),
            (&mut all.cached, counts.cached),
            (&mut all.tool_use, counts.tool_use),
            (&mut all.candidates, counts.candidates),
            (&mut all.thoughts, counts.thoughts),
        ] {
            *known = new.or(*known);
        }
    }

    /// Whether all of it is there: the reason of its end, and the counts with it or behind.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ending.is_some() && self.has_counts
    }

    /// Why it is over; `None` for one that has broken off.
    #[must_use]
    pub fn end(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    #[must_use]
    pub fn tokens(&self) -> Tokens {
        let counts = &self.counts;
        let get = Option::unwrap_or_default;
        let input = get(counts.prompt) + get(counts.tool_use);
        Tokens {
            input,
            output: get(counts.candidates) + get(counts.thoughts),
            cache_read: get(counts.cached).min(input),
            reasoning: get(counts.thoughts),
            ..Tokens::default()
        }
    }

    /// What was looked for on the web, and found; none where nothing was.
    #[must_use]
    pub fn search(&self) -> Option<Search> {
        let queries = self.grounding.web_search_queries.clone().unwrap_or_default();
        let chunks = self.grounding.grounding_chunks.iter().flatten();
        let found = chunks.filter_map(|chunk| {
            let web = chunk.web.as_ref().filter(|web| !web.uri.is_empty())?;
            Some((web.uri.clone(), web.title.clone().unwrap_or_else(|| web.uri.clone())))
        });
        let found: Vec<_> = found.collect();
        (!queries.is_empty() || !found.is_empty()).then_some(Search { queries, found })
    }
}

fn blocked(feedback: &PromptFeedback) -> Option<String> {
    let reason = feedback.block_reason.as_ref().filter(|reason| *reason != "BLOCKED_REASON_UNSPECIFIED")?;
    Some(
        feedback
            .block_reason_message
            .clone()
            .filter(|said| !said.is_empty())
            .unwrap_or_else(|| reason.clone()),
    )
}

fn broken(reason: &str, said: Option<&str>) -> String {
    match said {
        Some(said) => format!("the model's answer ended with {reason}: {said}"),
        None => format!("the model's answer ended with {reason}"),
    }
}
