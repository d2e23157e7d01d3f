//! An answer of Gemini, whole or in chunks, as one of Messages.
//!
//! A signature travels in a block of thoughts before the part that it belongs to: clients keep those, and their order.
//! One that comes when its text has been said already is left out: a block of thoughts at the end of a message would
//! be taken for what it says, and Gemini does not insist on it.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use crate::dialect::convert::api::Api;
use crate::dialect::convert::contract::{AnswerConverter, NotReadable};
use crate::dialect::convert::events::{Event, EventWriter};
use crate::dialect::convert::gemini_target::reading::{Ending, Piece, Reading, Search};
use crate::dialect::convert::gemini_target::signature::{Carried, Of};
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
    /// Whether the caller reckons with thoughts where no tool is called.
    pub wants_thoughts: bool,
}

/// Of an answer.
pub(super) struct Converter {
    reading: Reading,
    blocks: Blocks,
    events: MessageEvents,
    names: ToolNames,
    input_estimate: u64,
    is_over: bool,
}

impl Converter {
    pub(super) fn new(answering: Answering) -> Self {
        Self {
            reading: Reading::new(&answering.model, answering.invented_id, "toolu"),
            blocks: Blocks { open: None, wants_thoughts: answering.wants_thoughts },
            events: MessageEvents::default(),
            names: answering.names,
            input_estimate: answering.input_estimate,
            is_over: false,
        }
    }

    fn id(&self) -> String {
        format!("msg_{}", self.reading.id())
    }

    fn stop(&self) -> Stop {
        match self.reading.end() {
            Some(Ending::Calls) => Stop::ToolUse,
            Some(Ending::Length) => Stop::MaxTokens,
            Some(Ending::Filtered(reason)) => Stop::Refusal(Some(reason.clone())),
            Some(Ending::Whole | Ending::Broken(_)) | None => Stop::EndTurn,
        }
    }

    fn write(&mut self, steps: VecDeque<Step>, made: &mut EventWriter<'_>) {
        for step in steps {
            match step {
                Step::Thinking => self.events.begin_thinking(made),
                Step::Text => self.events.begin_text(made),
                Step::MoreThinking(text) => self.events.thinking(made, &text),
                Step::Signature(signature) => self.events.signature(made, &signature),
                Step::MoreText(text) => self.events.text(made, &text),
                Step::End => self.events.end_block(made),
                Step::Call { id, name, arguments } => {
                    self.events.begin_tool_use(made, &id, self.names.own(&name));
                    if !arguments.is_empty() {
                        self.events.arguments(made, &Value::Object(arguments).to_string());
                    }
                    self.events.end_block(made);
                }
            }
        }
    }

    fn close(&mut self, made: &mut EventWriter<'_>) {
        let steps = self.blocks.end();
        self.write(steps, made);
        for block in self.reading.search().iter().flat_map(|search| searched(self.reading.id(), search)) {
            self.events.block(made, &block);
        }
        MessageEvents::finish(made, &self.stop(), &self.reading.tokens());
        self.is_over = true;
    }
}

impl AnswerConverter for Converter {
    fn document(&mut self, answer: &[u8]) -> Result<Vec<u8>, NotReadable> {
        let pieces = self.reading.document(answer)?;
        self.is_over = true;
        let mut steps: VecDeque<Step> =
            pieces.into_iter().flat_map(|piece| self.blocks.piece(piece)).collect();
        steps.extend(self.blocks.end());
        let mut content = assembled(steps, &self.names);
        content.extend(self.reading.search().iter().flat_map(|search| searched(self.reading.id(), search)));
        let (id, model) = (self.id(), self.reading.model());
        Ok(messages_writer::document(&id, model, &content, &self.stop(), &self.reading.tokens()))
    }

    fn event(&mut self, event: &Event<'_>, made: &mut EventWriter<'_>) {
        let pieces = serde_json::from_str(event.data)
            .map_err(|error| UpstreamError::broken(error.to_string()))
            .and_then(|response| self.reading.take(response));
        let pieces = match pieces {
            Ok(pieces) => pieces,
            Err(error) => return self.fail(&error, made),
        };
        if !self.events.has_begun() {
            let (id, model) = (self.id(), self.reading.model().to_owned());
            self.events.begin(made, &id, &model, self.input_estimate);
        }
        for piece in pieces {
            let steps = self.blocks.piece(piece);
            self.write(steps, made);
        }
        if self.reading.is_whole() {
            self.close(made);
        }
    }

    fn end(&mut self, made: &mut EventWriter<'_>) {
        if self.reading.end().is_some() {
            self.close(made);
        } else {
            self.fail(&UpstreamError::broken("the provider's answer broke off"), made);
        }
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn fail(&mut self, error: &UpstreamError, made: &mut EventWriter<'_>) {
        if !std::mem::replace(&mut self.is_over, true) {
            made.named("error", &error.document(Api::Messages));
        }
    }
}

/// What a message is made of.
#[derive(Debug)]
enum Step {
    Thinking,
    MoreThinking(String),
    Signature(String),
    Text,
    MoreText(String),
    /// Of the block that is open.
    End,
    Call {
        id: String,
        name: String,
        arguments: Map<String, Value>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Thinking,
    Text,
}

/// Which block is open.
#[derive(Debug)]
struct Blocks {
    open: Option<Open>,
    wants_thoughts: bool,
}

impl Blocks {
    fn piece(&mut self, piece: Piece) -> VecDeque<Step> {
        let mut steps = VecDeque::new();
        match piece {
            Piece::Thought { text, signature } => {
                self.open(Open::Thinking, &mut steps);
                if !text.is_empty() {
                    steps.push_back(Step::MoreThinking(text));
                }
                if signature.is_some() {
                    self.seal(Of::Thought, signature, &mut steps);
                }
            }
            Piece::Text { text, signature } => {
                // Who asks for no thoughts looks for text in the first block.
                let can_carry =
                    self.open == Some(Open::Thinking) || (self.open.is_none() && self.wants_thoughts);
                if signature.is_some() && can_carry {
                    self.open(Open::Thinking, &mut steps);
                    self.seal(Of::Text, signature, &mut steps);
                }
                self.open(Open::Text, &mut steps);
                steps.push_back(Step::MoreText(text));
            }
            Piece::Call { id, name, arguments, signature } => {
                if signature.is_some() {
                    self.open(Open::Thinking, &mut steps);
                    self.seal(Of::Call, signature, &mut steps);
                }
                self.close(&mut steps);
                steps.push_back(Step::Call { id, name, arguments });
            }
            Piece::Signature(signature) => {
                if self.open == Some(Open::Thinking) {
                    self.seal(Of::Empty, Some(signature), &mut steps);
                }
            }
        }
        steps
    }

    fn end(&mut self) -> VecDeque<Step> {
        let mut steps = VecDeque::new();
        self.close(&mut steps);
        steps
    }

    fn open(&mut self, kind: Open, steps: &mut VecDeque<Step>) {
        if self.open == Some(kind) {
            return;
        }
        self.close(steps);
        steps.push_back(match kind {
            Open::Thinking => Step::Thinking,
            Open::Text => Step::Text,
        });
        self.open = Some(kind);
    }

    /// Ends the thoughts that are open, with what they carry.
    fn seal(&mut self, of: Of, signature: Option<String>, steps: &mut VecDeque<Step>) {
        steps.push_back(Step::Signature(Carried::new(of, signature).pack()));
        steps.push_back(Step::End);
        self.open = None;
    }

    fn close(&mut self, steps: &mut VecDeque<Step>) {
        match self.open {
            Some(Open::Thinking) => self.seal(Of::Thought, None, steps),
            Some(Open::Text) => steps.push_back(Step::End),
            None => {}
        }
        self.open = None;
    }
}

/// The blocks of a whole message.
fn assembled(steps: VecDeque<Step>, names: &ToolNames) -> Vec<Value> {
    let mut content = Vec::new();
    let (mut text, mut signature) = (String::new(), None);
    for step in steps {
        match step {
            Step::Thinking | Step::Text => {}
            Step::MoreThinking(more) | Step::MoreText(more) => text.push_str(&more),
            Step::Signature(sealed) => signature = Some(sealed),
            Step::End => {
                let text = std::mem::take(&mut text);
                content.push(match signature.take() {
                    Some(signature) => {
                        json!({ "type": "thinking", "thinking": text, "signature": signature })
                    }
                    None => json!({ "type": "text", "text": text }),
                });
            }
            Step::Call { id, name, arguments } => {
                let name = names.own(&name);
                content.push(json!({ "type": "tool_use", "id": id, "name": name, "input": arguments }));
            }
        }
    }
    content
}

/// A search of the provider's own, as Anthropic tells of its.
fn searched(answer: &str, search: &Search) -> [Value; 2] {
    let id = format!("srvtoolu_{answer}");
    let found = search.found.iter().map(|(url, title)| {
        json!({
            "type": "web_search_result",
            "url": url,
            "title": title,
            "encrypted_content": "",
            "page_age": null,
        })
    });
    let query = search.queries.join("; ");
    [
        json!({ "type": "server_tool_use", "id": id, "name": "web_search", "input": { "query": query } }),
        json!({ "type": "web_search_tool_result", "tool_use_id": id, "content": found.collect::<Vec<_>>() }),
    ]
}
