//! An answer of Chat Completions, whole or in chunks, as one of Messages.

use serde_json::{Value, json};

use crate::dialect::convert::api::Api;
use crate::dialect::convert::chat_target::blocks::{Block, Kind, Step};
use crate::dialect::convert::chat_target::call_ids::CallIds;
use crate::dialect::convert::chat_target::reading::{Ending, Progress, Reading};
use crate::dialect::convert::chat_target::reasoning;
use crate::dialect::convert::contract::{AnswerConverter, NotReadable};
use crate::dialect::convert::events::{Event, EventWriter};
use crate::dialect::convert::messages_writer::{self, MessageEvents, Stop};
use crate::dialect::convert::tool_names::ToolNames;
use crate::dialect::convert::upstream_error::UpstreamError;

/// What the request says of its answer.
#[derive(Debug)]
pub(super) struct Answering {
    /// As it was asked for.
    pub model: String,
    pub input_estimate: u64,
    /// For an answer without an id.
    pub invented_id: String,
    pub names: ToolNames,
    pub ids: CallIds,
    pub stops: Vec<String>,
    /// Whether what was thought is said at all.
    pub is_thinking_said: bool,
    /// Whether it is shown, too.
    pub is_thinking_shown: bool,
}

impl Answering {
    pub(super) fn converter(self) -> Box<dyn AnswerConverter> {
        let (reading, events) = (Reading::default(), MessageEvents::default());
        Box::new(Converter { answering: self, reading, events, is_over: false })
    }

    fn id(&self, reading: &Reading) -> String {
        format!("msg_{}", reading.id().unwrap_or(&self.invented_id))
    }

    fn signature(&self, block: &Block, field: Option<&str>, details: &[Value]) -> String {
        let text = (!self.is_thinking_shown && !block.text.is_empty()).then_some(block.text.as_str());
        reasoning::pack(&self.model, field, text, details)
    }

    /// A block as a document has it.
    fn block(&mut self, block: &Block, answer: &str, is_cut: bool) -> Result<Option<Value>, NotReadable> {
        Ok(Some(match &block.kind {
            Kind::Text | Kind::Refusal => json!({"type": "text", "text": block.text}),
            Kind::Reasoning { .. } if !self.is_thinking_said => return Ok(None),
            Kind::Reasoning { field, details } => {
                let signature = self.signature(block, *field, details);
                let shown = if self.is_thinking_shown { block.text.as_str() } else { "" };
                json!({"type": "thinking", "thinking": shown, "signature": signature})
            }
            Kind::Call { id, name } => {
                let input = match block.text.trim() {
                    "" | "null" => json!({}),
                    text => match serde_json::from_str(text) {
                        Ok(Value::Object(input)) => Value::Object(input),
                        // The limit was reached within the arguments.
                        _ if is_cut => return Ok(None),
                        _ => return Err(NotReadable(format!("the arguments for `{name}` are no object"))),
                    },
                };
                let id = self.ids.own(id.as_deref(), answer);
                json!({"type": "tool_use", "id": id, "name": self.names.own(name), "input": input})
            }
        }))
    }

    fn stop(&self, ending: Ending) -> Stop {
        match ending {
            Ending::Calls => Stop::ToolUse,
            Ending::Length => Stop::MaxTokens,
            Ending::Filtered | Ending::Refused => Stop::Refusal(None),
            Ending::Sequence(sequence) if self.stops.contains(&sequence) => Stop::Sequence(sequence),
            Ending::Sequence(_) | Ending::Whole => Stop::EndTurn,
        }
    }
}

#[derive(Debug)]
struct Converter {
    answering: Answering,
    reading: Reading,
    events: MessageEvents,
    is_over: bool,
}

impl Converter {
    fn say(&mut self, is_last: bool, made: &mut EventWriter<'_>) {
        let Self { answering, reading, events, .. } = self;
        let answer = answering.id(reading);
        if !events.has_begun() {
            let model = reading.model().unwrap_or(&answering.model);
            events.begin(made, &answer, model, answering.input_estimate);
        }
        let is_said = answering.is_thinking_said;
        let is_hidden = |block: &Block| matches!(block.kind, Kind::Reasoning { .. }) && !is_said;
        let each = |step: Step<'_>| match step {
            Step::Begin(block) | Step::More(block, _) | Step::End(block) if is_hidden(block) => {}
            Step::Begin(block) => match &block.kind {
                Kind::Text | Kind::Refusal => events.begin_text(made),
                Kind::Reasoning { .. } => events.begin_thinking(made),
                Kind::Call { id: sent, name } => {
                    let own = answering.ids.own(sent.as_deref(), &answer);
                    events.begin_tool_use(made, &own, answering.names.own(name));
                }
            },
            Step::More(block, text) => match block.kind {
                Kind::Text | Kind::Refusal => events.text(made, text),
                Kind::Reasoning { .. } if answering.is_thinking_shown => events.thinking(made, text),
                Kind::Reasoning { .. } => {}
                Kind::Call { .. } => events.arguments(made, text),
            },
            Step::End(block) => {
                if let Kind::Reasoning { field, details } = &block.kind {
                    events.signature(made, &answering.signature(block, *field, details));
                }
                events.end_block(made);
            }
        };
        if is_last {
            reading.blocks.finish(each);
        } else {
            reading.blocks.steps(each);
        }
    }

    /// Ends the answer.
    fn close(&mut self, made: &mut EventWriter<'_>) {
        self.say(true, made);
        let stop = self.answering.stop(self.reading.ending());
        MessageEvents::finish(made, &stop, &self.reading.tokens(self.answering.input_estimate));
        self.is_over = true;
    }
}

impl AnswerConverter for Converter {
    fn document(&mut self, answer: &[u8]) -> Result<Vec<u8>, NotReadable> {
        self.reading.document(answer)?;
        self.is_over = true;
        let stop = self.answering.stop(self.reading.ending());
        let Self { answering, reading, .. } = self;
        let id = answering.id(reading);
        let mut content = Ok(Vec::new());
        reading.blocks.finish(|step| {
            if let (Step::End(block), Ok(made)) = (step, &mut content) {
                match answering.block(block, &id, stop == Stop::MaxTokens) {
                    Ok(block) => made.extend(block),
                    Err(error) => content = Err(error),
                }
            }
        });
        let model = reading.model().unwrap_or(&answering.model);
        let tokens = reading.tokens(answering.input_estimate);
        Ok(messages_writer::document(&id, model, &content?, &stop, &tokens))
    }

    fn event(&mut self, event: &Event<'_>, made: &mut EventWriter<'_>) {
        match self.reading.event(event) {
            Ok(Progress::Nothing) => {}
            Ok(Progress::More) => self.say(false, made),
            Ok(Progress::Over) => self.close(made),
            Err(error) => self.fail(&error, made),
        }
    }

    fn end(&mut self, made: &mut EventWriter<'_>) {
        match self.reading.end() {
            Ok(()) => self.close(made),
            Err(error) => self.fail(&error, made),
        }
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn fail(&mut self, error: &UpstreamError, made: &mut EventWriter<'_>) {
        made.named("error", &error.document(Api::Messages));
        self.is_over = true;
    }
}
