//! A stream of Responses as one of Messages, event by event. One block is open at a time: what belongs to a later item
//! waits until those before it are done.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::document::{End, message_id, search, signature};
use crate::dialect::convert::Api;
use crate::dialect::convert::events::{Event, EventWriter};
use crate::dialect::convert::responses_answer::{
    Item, PARAGRAPH, Part, Reasoning, Response, StreamEvent, Usage,
};
use crate::dialect::convert::tool_names::ToolNames;
use crate::dialect::convert::upstream_error::UpstreamError;

pub(super) struct Stream {
    names: ToolNames,
    input_tokens_estimate: u64,
    has_begun: bool,
    is_over: bool,
    /// Items that are not written to their end, by their place in the answer.
    items: BTreeMap<u64, Pending>,
    /// The places of those that are.
    written: BTreeSet<u64>,
    /// The number of the block that is open, or of the next.
    block: usize,
    end: End,
}

/// An item, as far as it has come.
struct Pending {
    kind: Kind,
    /// Its block has been opened.
    is_open: bool,
    /// Something of it has been said.
    has_text: bool,
    /// Waits until the items before it are done.
    held: String,
    is_done: bool,
}

enum Kind {
    Text,
    /// What its client keeps of it, once it is known.
    Thinking(Reasoning),
    Call {
        id: String,
        name: String,
    },
    Search {
        id: Option<String>,
        action: Value,
    },
    /// One of which nothing is said.
    Silent,
}

impl Kind {
    fn of(item: Item) -> Self {
        match item {
            Item::Message { .. } => Self::Text,
            Item::Reasoning(reasoning) => Self::Thinking(reasoning),
            Item::FunctionCall { call_id, name, .. } => Self::Call { id: call_id, name },
            Item::WebSearchCall { id, action } => Self::Search { id, action },
            Item::Other => Self::Silent,
        }
    }
}

impl Pending {
    fn new(kind: Kind) -> Self {
        Self { kind, is_open: false, has_text: false, held: String::new(), is_done: false }
    }

    fn hold(&mut self, text: &str) {
        self.held.push_str(text);
        self.has_text |= !text.is_empty();
    }
}

impl Stream {
    pub(super) fn new(names: ToolNames, input_tokens_estimate: u64) -> Self {
        Self {
            names,
            input_tokens_estimate,
            has_begun: false,
            is_over: false,
            items: BTreeMap::new(),
            written: BTreeSet::new(),
            block: 0,
            end: End::default(),
        }
    }

    pub(super) fn names(&self) -> &ToolNames {
        &self.names
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn event(&mut self, event: &Event<'_>, made: &mut EventWriter<'_>) {
        let Ok(read) = serde_json::from_str::<StreamEvent>(event.data) else { return };
        match read {
            StreamEvent::Created { response } => self.begin(&response, made),
            StreamEvent::ItemAdded { output_index, item } => self.add(output_index, item),
            StreamEvent::TextDelta { output_index, delta } => self.say(output_index, &delta, || Kind::Text),
            StreamEvent::TextDone { output_index, text } => {
                self.say_if_nothing_was(output_index, &text, || Kind::Text);
            }
            StreamEvent::RefusalDelta { output_index, delta } => {
                self.end.is_refusal = true;
                self.say(output_index, &delta, || Kind::Text);
            }
            StreamEvent::SummaryPartAdded { output_index, summary_index } => {
                if summary_index > 0 {
                    self.say(output_index, PARAGRAPH, || Kind::Thinking(Reasoning::default()));
                }
            }
            StreamEvent::SummaryDelta { output_index, delta }
            | StreamEvent::ReasoningDelta { output_index, delta } => {
                self.say(output_index, &delta, || Kind::Thinking(Reasoning::default()));
            }
            StreamEvent::ArgumentsDelta { output_index, delta } => {
                if let Some(call) = self.items.get_mut(&output_index) {
                    call.hold(&delta);
                }
            }
            StreamEvent::ArgumentsDone { output_index, arguments } => {
                if let Some(call) = self.items.get_mut(&output_index).filter(|call| !call.has_text) {
                    call.hold(&arguments);
                }
            }
            StreamEvent::ItemDone { output_index, item } => self.done(output_index, item),
            StreamEvent::Completed { response } | StreamEvent::Incomplete { response } => {
                self.complete(&response, made);
                return;
            }
            StreamEvent::Failed => {
                self.fail(&UpstreamError::read(None, event.data.as_bytes()), made);
                return;
            }
            StreamEvent::InProgress if self.has_begun => {
                made.named("ping", &json!({ "type": "ping" }));
                return;
            }
            StreamEvent::InProgress | StreamEvent::Other => return,
        }
        self.write(made, false);
    }

    /// Ends the stream with an error, after which nothing comes that would make the message a whole one.
    pub(super) fn fail(&mut self, error: &UpstreamError, made: &mut EventWriter<'_>) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        made.named("error", &error.document(Api::Messages));
    }

    fn begin(&mut self, response: &Response, made: &mut EventWriter<'_>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        // What is known of the input by then. Clients take zeros for an answer without a count.
        let expected =
            Usage { input_tokens: self.input_tokens_estimate, output_tokens: 1, ..Usage::default() };
        let message = json!({
            "id": message_id(&response.id),
            "type": "message",
            "role": "assistant",
            "model": response.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": End::default().usage(response.usage.unwrap_or(expected)),
        });
        made.named("message_start", &json!({ "type": "message_start", "message": message }));
    }

    fn add(&mut self, at: u64, item: Item) {
        self.items.entry(at).or_insert_with(|| Pending::new(Kind::of(item)));
    }

    fn say(&mut self, at: u64, text: &str, kind: impl FnOnce() -> Kind) {
        self.items.entry(at).or_insert_with(|| Pending::new(kind())).hold(text);
    }

    fn say_if_nothing_was(&mut self, at: u64, text: &str, kind: impl FnOnce() -> Kind) {
        let item = self.items.entry(at).or_insert_with(|| Pending::new(kind()));
        if !item.has_text && !item.is_done {
            item.hold(text);
        }
    }

    /// An item is whole. What of it has not been said in parts is said now.
    fn done(&mut self, at: u64, item: Item) {
        let pending = self.items.entry(at).or_insert_with(|| Pending::new(Kind::of(item.clone())));
        pending.is_done = true;
        let said = match &item {
            Item::Message { content } => content.iter().fold(String::new(), |said, part| match part {
                Part::OutputText { text } => said + text,
                Part::Refusal { refusal } => {
                    self.end.is_refusal = true;
                    said + refusal
                }
                Part::Other => said,
            }),
            Item::Reasoning(reasoning) => reasoning.text(),
            Item::FunctionCall { arguments, .. } => arguments.clone(),
            Item::WebSearchCall { .. } | Item::Other => String::new(),
        };
        if !pending.has_text {
            pending.hold(&said);
        }
        if !matches!(pending.kind, Kind::Call { .. } | Kind::Text) {
            pending.kind = Kind::of(item);
        }
    }

    /// Writes what is there of the first items, to the first that is not done; `all`: no more will come.
    fn write(&mut self, made: &mut EventWriter<'_>, all: bool) {
        if !self.has_begun {
            self.begin(&Response::default(), made);
        }
        while let Some(mut entry) = self.items.first_entry() {
            let item = entry.get_mut();
            let is_done = item.is_done || all;
            write_item(item, self.block, &self.names, is_done, made);
            if !is_done {
                return;
            }
            match &item.kind {
                Kind::Call { .. } => self.end.has_calls = true,
                Kind::Search { id, action } => {
                    self.end.searches += 1;
                    for block in search(id.as_deref(), action) {
                        write_whole(&block, self.block, made);
                        self.block += 1;
                    }
                }
                Kind::Text | Kind::Thinking(_) | Kind::Silent => {}
            }
            if item.is_open {
                made.named(
                    "content_block_stop",
                    &json!({ "type": "content_block_stop", "index": self.block }),
                );
                self.block += 1;
            }
            self.written.insert(*entry.key());
            entry.remove();
        }
    }

    fn complete(&mut self, response: &Response, made: &mut EventWriter<'_>) {
        // What a server has in the end alone.
        for (at, item) in (0_u64..).zip(response.output.iter().cloned()) {
            if !self.written.contains(&at) {
                self.done(at, item);
            }
        }
        self.write(made, true);
        self.end.set_status(response);
        let usage = self.end.usage(response.usage.unwrap_or_default());
        made.named(
            "message_delta",
            &json!({
                "type": "message_delta",
                "delta": { "stop_reason": self.end.stop_reason(), "stop_sequence": null },
                "usage": usage,
            }),
        );
        made.named("message_stop", &json!({ "type": "message_stop" }));
        self.is_over = true;
    }
}

/// Writes what is held of an item, and opens its block if it has something to say.
fn write_item(
    item: &mut Pending,
    block: usize,
    names: &ToolNames,
    is_done: bool,
    made: &mut EventWriter<'_>,
) {
    let start = match &item.kind {
        Kind::Silent | Kind::Search { .. } => return,
        Kind::Text if item.held.is_empty() => return,
        Kind::Text => json!({ "type": "text", "text": "" }),
        Kind::Thinking(reasoning) => {
            let is_sealed = is_done && reasoning.encrypted_content.is_some();
            if item.held.is_empty() && !is_sealed && !item.is_open {
                return;
            }
            json!({ "type": "thinking", "thinking": "", "signature": "" })
        }
        Kind::Call { id, name } => {
            json!({ "type": "tool_use", "id": id, "name": names.own(name), "input": {} })
        }
    };
    if !std::mem::replace(&mut item.is_open, true) {
        let start = json!({ "type": "content_block_start", "index": block, "content_block": start });
        made.named("content_block_start", &start);
    }
    let text = std::mem::take(&mut item.held);
    let mut delta = |delta: Value| {
        let event = json!({ "type": "content_block_delta", "index": block, "delta": delta });
        made.named("content_block_delta", &event);
    };
    match &item.kind {
        Kind::Text if !text.is_empty() => delta(json!({ "type": "text_delta", "text": text })),
        Kind::Thinking(reasoning) => {
            if !text.is_empty() {
                delta(json!({ "type": "thinking_delta", "thinking": text }));
            }
            if is_done {
                delta(json!({ "type": "signature_delta", "signature": signature(reasoning) }));
            }
        }
        // Arguments that are nothing at all stand for the empty object that the block began with.
        Kind::Call { .. } if !text.is_empty() => {
            delta(json!({ "type": "input_json_delta", "partial_json": text }));
        }
        Kind::Text | Kind::Call { .. } | Kind::Search { .. } | Kind::Silent => {}
    }
}

fn write_whole(content: &Value, block: usize, made: &mut EventWriter<'_>) {
    let start = json!({ "type": "content_block_start", "index": block, "content_block": content });
    made.named("content_block_start", &start);
    made.named("content_block_stop", &json!({ "type": "content_block_stop", "index": block }));
}
