//! An answer of Chat Completions, whole or in chunks, as one of Responses.

use serde_json::Value;

use crate::dialect::convert::chat_target::blocks::{Kind, Step};
use crate::dialect::convert::chat_target::call_ids::CallIds;
use crate::dialect::convert::chat_target::reading::{Ending, Progress, Reading};
use crate::dialect::convert::chat_target::reasoning;
use crate::dialect::convert::contract::{AnswerConverter, NotReadable};
use crate::dialect::convert::events::{Event, EventWriter};
use crate::dialect::convert::responses_writer::{Ending as Over, ResponsesWriter};
use crate::dialect::convert::upstream_error::UpstreamError;
use crate::dialect::convert::usage::Usage;

/// What the request says of its answer.
pub(super) struct Answering {
    /// As it was asked for.
    pub model: String,
    pub input_estimate: u64,
    /// For an answer without an id.
    pub invented_id: String,
    pub ids: CallIds,
    pub writer: ResponsesWriter,
}

impl Answering {
    pub(super) fn converter(self) -> Box<dyn AnswerConverter> {
        Box::new(Converter { answering: self, reading: Reading::default(), has_begun: false })
    }
}

struct Converter {
    answering: Answering,
    reading: Reading,
    has_begun: bool,
}

impl Converter {
    fn begin(&mut self, is_stream: bool) {
        if !std::mem::replace(&mut self.has_begun, true) {
            let Answering { model, invented_id, writer, .. } = &mut self.answering;
            let id = self.reading.id().unwrap_or(invented_id);
            writer.begin(id, self.reading.model().unwrap_or(model), is_stream);
        }
    }

    /// Says what has come.
    fn say(&mut self, is_last: bool) {
        let Answering { model, invented_id, ids, writer, .. } = &mut self.answering;
        let answer = self.reading.id().unwrap_or(invented_id).to_owned();
        let each = |step: Step<'_>| match step {
            Step::Begin(block) => match &block.kind {
                Kind::Text | Kind::Refusal => {}
                Kind::Reasoning { .. } => writer.begin_reasoning(),
                Kind::Call { id, name } => writer.begin_call(&ids.own(id.as_deref(), &answer), name),
            },
            Step::More(block, text) => match &block.kind {
                Kind::Text => writer.text(text),
                // It is said in one piece.
                Kind::Refusal => {}
                Kind::Reasoning { .. } => writer.reasoning(text),
                Kind::Call { .. } => writer.call_arguments(text),
            },
            Step::End(block) => match &block.kind {
                // Whether it is whole is known when something follows, or at the end.
                Kind::Text => {}
                Kind::Call { .. } => writer.close(),
                Kind::Refusal => writer.refusal(&block.text),
                Kind::Reasoning { field, details } => {
                    writer.end_reasoning(Some(reasoning::pack(model, *field, Some(&block.text), details)));
                }
            },
        };
        if is_last {
            self.reading.blocks.finish(each);
        } else {
            self.reading.blocks.steps(each);
        }
    }

    /// Ends the answer. The response comes back.
    fn close(&mut self, is_stream: bool) -> Value {
        self.begin(is_stream);
        self.say(true);
        let over = match self.reading.ending() {
            Ending::Length => Over::Incomplete("max_output_tokens"),
            Ending::Filtered => Over::Incomplete("content_filter"),
            Ending::Whole | Ending::Calls | Ending::Sequence(_) | Ending::Refused => Over::Completed,
        };
        let tokens = self.reading.tokens(self.answering.input_estimate);
        let usage = Usage {
            input: tokens.input,
            cached: tokens.cache_read,
            written: tokens.cache_write,
            output: tokens.output,
            reasoning: Some(tokens.reasoning),
        };
        self.answering.writer.finish(over, &usage)
    }
}

impl AnswerConverter for Converter {
    fn document(&mut self, answer: &[u8]) -> Result<Vec<u8>, NotReadable> {
        self.reading.document(answer)?;
        Ok(serde_json::to_vec(&self.close(false))?)
    }

    fn event(&mut self, event: &Event<'_>, made: &mut EventWriter<'_>) {
        match self.reading.event(event) {
            Ok(Progress::Nothing) => {}
            Ok(Progress::More) => {
                self.begin(true);
                self.say(false);
            }
            Ok(Progress::Over) => {
                self.close(true);
            }
            Err(error) => return self.fail(&error, made),
        }
        self.answering.writer.write(made);
    }

    fn end(&mut self, made: &mut EventWriter<'_>) {
        // Without its last event clients take an answer for broken off, and ask again.
        if self.reading.end().is_ok() {
            self.close(true);
            self.answering.writer.write(made);
        }
    }

    fn is_over(&self) -> bool {
        self.answering.writer.is_over()
    }

    fn fail(&mut self, error: &UpstreamError, made: &mut EventWriter<'_>) {
        self.begin(true);
        self.answering.writer.fail(error, None);
        self.answering.writer.write(made);
    }
}
