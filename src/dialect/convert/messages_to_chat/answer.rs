//! An answer of Chat Completions, whole or in chunks, as one of Messages.

use serde_json::{Value, json};

use super::call_ids::CallIds;
use crate::dialect::convert::api::Api;
use crate::dialect::convert::chat_events::{Answer, Choice};
use crate::dialect::convert::chat_target::blocks::{Block, Blocks, Kind, Step};
use crate::dialect::convert::chat_target::reasoning;
use crate::dialect::convert::contract::{AnswerConverter, NotReadable};
use crate::dialect::convert::events::{Event, EventWriter};
use crate::dialect::convert::messages_writer::{self, MessageEvents, Stop};
use crate::dialect::convert::tool_names::ToolNames;
use crate::dialect::convert::upstream_error::{ErrorKind, UpstreamError};
use crate::domain::tokens::{BYTES_PER_TOKEN, Tokens};

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
        let state = State { tokens: None, finish: None, is_over: false };
        let events = MessageEvents::default();
        Box::new(Converter { answering: self, blocks: Blocks::default(), state, events, id: String::new() })
    }

    fn signature(&self, block: &Block, field: Option<&str>, details: &[Value]) -> String {
        let text = (!self.is_thinking_shown && !block.text.is_empty()).then_some(block.text.as_str());
        reasoning::pack(&self.model, field, text, details)
    }

    /// A block as a document has it.
    fn block(&mut self, block: &Block, answer: &str, is_cut: bool) -> Result<Option<Value>, NotReadable> {
        Ok(Some(match &block.kind {
            Kind::Text => json!({"type": "text", "text": block.text}),
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

    fn stop(&self, finish: Option<&Finish>, blocks: &Blocks) -> Stop {
        let reason = finish.map_or("stop", |finish| finish.reason.as_str());
        let sequence = finish.and_then(|finish| finish.sequence.clone());
        match (reason, sequence) {
            ("content_filter" | "refusal", _) => Stop::Refusal,
            ("length" | "max_tokens" | "model_length", _) => Stop::MaxTokens,
            _ if blocks.has_calls() => Stop::ToolUse,
            _ if blocks.is_refused() => Stop::Refusal,
            (_, Some(sequence)) if self.stops.contains(&sequence) => Stop::Sequence(sequence),
            _ => Stop::EndTurn,
        }
    }

    /// What was used, for callers of a server that does not say it, too.
    fn tokens(&self, told: Option<Tokens>, blocks: &Blocks) -> Tokens {
        told.unwrap_or_else(|| Tokens {
            input: self.input_estimate.max(1),
            output: blocks.len_bytes().div_ceil(BYTES_PER_TOKEN),
            ..Tokens::default()
        })
    }
}

/// Why the model stopped.
#[derive(Debug)]
struct Finish {
    reason: String,
    sequence: Option<String>,
}

/// How far the answer has come.
#[derive(Debug)]
struct State {
    tokens: Option<Tokens>,
    finish: Option<Finish>,
    is_over: bool,
}

impl State {
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
}

#[derive(Debug)]
struct Converter {
    answering: Answering,
    blocks: Blocks,
    state: State,
    events: MessageEvents,
    /// The answer's, for its caller.
    id: String,
}

impl Converter {
    fn begin(&mut self, answer: &Answer) -> String {
        self.id = format!("msg_{}", answer.id.as_deref().unwrap_or(&self.answering.invented_id));
        answer.model.clone().unwrap_or_else(|| self.answering.model.clone())
    }

    fn chunk(&mut self, data: &str, made: &mut EventWriter<'_>) -> Result<(), UpstreamError> {
        let broken =
            |error| UpstreamError::broken(format!("an event of the provider cannot be read: {error}"));
        let mut answer: Answer = serde_json::from_str(data).map_err(broken)?;
        if let Some(error) = answer.error(data) {
            return Err(error);
        }
        let tokens = answer.tokens();
        self.state.tokens = tokens.or(self.state.tokens);
        if let Some(mut choice) = answer.take_choice() {
            if !self.events.has_begun() {
                let model = self.begin(&answer);
                self.events.begin(made, &self.id, &model, self.answering.input_estimate);
            }
            if let Some(delta) = choice.take_delta() {
                self.blocks.take(delta);
                self.say(false, made);
            }
            self.state.finish(&choice)?;
        }
        // Behind the reason that it stopped for comes nothing but what was used.
        if self.state.finish.is_some() && tokens.is_some() {
            self.close(made);
        }
        Ok(())
    }

    fn say(&mut self, is_last: bool, made: &mut EventWriter<'_>) {
        let Self { answering, blocks, events, id, .. } = self;
        let is_said = answering.is_thinking_said;
        let is_hidden = |block: &Block| matches!(block.kind, Kind::Reasoning { .. }) && !is_said;
        let each = |step: Step<'_>| match step {
            Step::Begin(block) | Step::More(block, _) | Step::End(block) if is_hidden(block) => {}
            Step::Begin(block) => match &block.kind {
                Kind::Text => events.begin_text(made),
                Kind::Reasoning { .. } => events.begin_thinking(made),
                Kind::Call { id: sent, name } => {
                    let own = answering.ids.own(sent.as_deref(), id);
                    events.begin_tool_use(made, &own, answering.names.own(name));
                }
            },
            Step::More(block, text) => match block.kind {
                Kind::Text => events.text(made, text),
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
            blocks.finish(each);
        } else {
            blocks.steps(each);
        }
    }

    /// Ends the answer.
    fn close(&mut self, made: &mut EventWriter<'_>) {
        self.say(true, made);
        let stop = self.answering.stop(self.state.finish.as_ref(), &self.blocks);
        let tokens = self.answering.tokens(self.state.tokens, &self.blocks);
        MessageEvents::finish(made, &stop, &tokens);
        self.state.is_over = true;
    }
}

impl AnswerConverter for Converter {
    fn document(&mut self, answer: &[u8]) -> Result<Vec<u8>, NotReadable> {
        let text = std::str::from_utf8(answer).map_err(|error| NotReadable(error.to_string()))?;
        let mut answer: Answer = serde_json::from_str(text)?;
        if let Some(error) = answer.error(text) {
            return Err(NotReadable(error.message));
        }
        let mut choice = answer.take_choice().ok_or_else(|| NotReadable("it has no choice".to_owned()))?;
        let delta = choice.take_delta().ok_or_else(|| NotReadable("it has no message".to_owned()))?;
        self.state.finish(&choice).map_err(|error| NotReadable(error.message))?;
        let model = self.begin(&answer);
        self.blocks.take(delta);

        let stop = self.answering.stop(self.state.finish.as_ref(), &self.blocks);
        let tokens = self.answering.tokens(answer.tokens(), &self.blocks);
        let mut content = Ok(Vec::new());
        let Self { answering, blocks, id, .. } = self;
        blocks.finish(|step| {
            if let (Step::End(block), Ok(made)) = (step, &mut content) {
                match answering.block(block, id, stop == Stop::MaxTokens) {
                    Ok(block) => made.extend(block),
                    Err(error) => content = Err(error),
                }
            }
        });
        self.state.is_over = true;
        Ok(messages_writer::document(&self.id, &model, &content?, &stop, &tokens))
    }

    fn event(&mut self, event: &Event<'_>, made: &mut EventWriter<'_>) {
        let data = event.data.trim();
        if data == "[DONE]" {
            if self.events.has_begun() {
                self.close(made);
            } else {
                self.fail(&UpstreamError::broken("the provider's answer is empty"), made);
            }
        } else if event.name == "error" {
            self.fail(&UpstreamError::read(None, data.as_bytes()), made);
        } else if data.starts_with('{')
            && let Err(error) = self.chunk(data, made)
        {
            self.fail(&error, made);
        }
    }

    fn end(&mut self, made: &mut EventWriter<'_>) {
        // Some servers say neither what was used nor that they are done.
        if self.state.finish.is_some() {
            self.close(made);
        } else {
            self.fail(&UpstreamError::broken("the provider's answer broke off"), made);
        }
    }

    fn is_over(&self) -> bool {
        self.state.is_over
    }

    fn fail(&mut self, error: &UpstreamError, made: &mut EventWriter<'_>) {
        made.named("error", &error.document(Api::Messages));
        self.state.is_over = true;
    }
}
