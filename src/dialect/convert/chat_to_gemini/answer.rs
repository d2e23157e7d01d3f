//! An answer of Gemini, whole or in chunks, as one of Chat Completions.
//!
//! The signature of a call stands where Google's own endpoint of this API has it, in the call's `extra_content`; and, as
//! every other, in `reasoning_details`, which some clients keep instead.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::dialect::convert::chat_writer::{ChatWriter, FinishReason};
use crate::dialect::convert::contract::{AnswerConverter, NotReadable};
use crate::dialect::convert::events::{Event, EventWriter};
use crate::dialect::convert::gemini_target::reading::{Ending, Piece, Reading};
use crate::dialect::convert::gemini_target::signature::{Carried, Of};
use crate::dialect::convert::tool_names::ToolNames;
use crate::dialect::convert::upstream_error::UpstreamError;
use crate::dialect::convert::usage::Usage;

/// What the request says of its answer.
#[derive(Debug)]
pub(super) struct Answering {
    /// As it was asked for.
    pub model: String,
    /// For an answer without an id.
    pub invented_id: String,
    pub names: ToolNames,
    /// The names, as they are sent, of tools whose input is text.
    pub custom: HashSet<String>,
    pub now: u64,
    /// Whether a stream's last chunk is to say what was used.
    pub includes_usage: bool,
}

pub(super) struct Converter {
    reading: Reading,
    writer: ChatWriter,
    names: ToolNames,
    custom: HashSet<String>,
    has_begun: bool,
    /// What has been thought since the last signature.
    thought: String,
}

impl Converter {
    pub(super) fn new(answering: Answering) -> Self {
        Self {
            reading: Reading::new(&answering.model, answering.invented_id, "call"),
            writer: ChatWriter::new(answering.now, answering.includes_usage),
            names: answering.names,
            custom: answering.custom,
            has_begun: false,
            thought: String::new(),
        }
    }

    fn begin(&mut self, is_stream: bool) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.writer.begin(self.reading.id(), self.reading.model(), is_stream);
        }
    }

    fn piece(&mut self, piece: Piece) {
        match piece {
            Piece::Thought { text, signature } => {
                self.writer.reasoning(&text);
                self.thought.push_str(&text);
                if signature.is_some() {
                    let text = Some(std::mem::take(&mut self.thought));
                    self.keep(&Carried { text, ..Carried::new(Of::Thought, signature) });
                }
            }
            Piece::Text { text, signature } => {
                self.writer.text(&text);
                if signature.is_some() {
                    // All text is one here: its signature comes back behind it.
                    self.keep(&Carried::new(Of::Empty, signature));
                }
            }
            Piece::Call { id, name, arguments, signature } => {
                let extra = signature
                    .as_ref()
                    .map(|signature| json!({ "google": { "thought_signature": signature } }));
                if signature.is_some() {
                    self.keep(&Carried { call: Some(id.clone()), ..Carried::new(Of::Call, signature) });
                }
                let is_custom = self.custom.contains(&name);
                self.writer.begin_call(&id, self.names.own(&name), is_custom, extra);
                if !arguments.is_empty() {
                    self.writer.call_arguments(&Value::Object(arguments).to_string());
                }
                self.writer.end_call();
            }
            Piece::Signature(signature) => self.keep(&Carried::new(Of::Empty, Some(signature))),
        }
    }

    fn keep(&mut self, carried: &Carried) {
        self.writer.end_reasoning(Some(carried.pack()));
    }

    /// Ends the answer. The document comes back.
    fn close(&mut self) -> Value {
        for (url, title) in self.reading.search().into_iter().flat_map(|search| search.found) {
            self.writer.url_citation(&url, &title, 0);
        }
        let reason = match self.reading.end() {
            Some(Ending::Calls) => FinishReason::ToolCalls,
            Some(Ending::Length) => FinishReason::Length,
            Some(Ending::Filtered(reason)) => {
                self.writer.refusal(reason);
                FinishReason::ContentFilter
            }
            Some(Ending::Whole | Ending::Broken(_)) | None => FinishReason::Stop,
        };
        let tokens = self.reading.tokens();
        let usage = Usage {
            input: tokens.input,
            cached: tokens.cache_read,
            written: 0,
            output: tokens.output,
            reasoning: Some(tokens.reasoning),
        };
        self.writer.finish(reason, &usage)
    }
}

impl AnswerConverter for Converter {
    fn document(&mut self, answer: &[u8]) -> Result<Vec<u8>, NotReadable> {
        let pieces = self.reading.document(answer)?;
        self.begin(false);
        for piece in pieces {
            self.piece(piece);
        }
        Ok(self.close().to_string().into_bytes())
    }

    fn event(&mut self, event: &Event<'_>, made: &mut EventWriter<'_>) {
        let pieces = serde_json::from_str(event.data)
            .map_err(|error| UpstreamError::broken(error.to_string()))
            .and_then(|response| self.reading.take(response));
        let pieces = match pieces {
            Ok(pieces) => pieces,
            Err(error) => return self.fail(&error, made),
        };
        self.begin(true);
        for piece in pieces {
            self.piece(piece);
        }
        if self.reading.is_whole() {
            self.close();
        }
        self.writer.write(made);
    }

    fn end(&mut self, made: &mut EventWriter<'_>) {
        if self.reading.end().is_some() {
            self.close();
            self.writer.write(made);
        } else {
            self.fail(&UpstreamError::broken("the provider's answer broke off"), made);
        }
    }

    fn is_over(&self) -> bool {
        self.writer.is_over()
    }

    fn fail(&mut self, error: &UpstreamError, made: &mut EventWriter<'_>) {
        if !self.writer.is_over() {
            self.begin(true);
            self.writer.fail(error);
            self.writer.write(made);
        }
    }
}
