//! The order that Messages wants of a conversation: one message after the other's, every call answered in the very next
//! message and before anything else there, ids used once, no empty text.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::super::tool_names::bounded;

/// What is said of a call that has come to nothing: the user has interrupted it.
const NO_OUTPUT: &str = "There is no output: the call was interrupted.";
/// What goes before the output of a call that is no longer there.
const ORPHAN: &str = "Output of an earlier call of a tool:";
/// What is said where the API wants the user to have said something.
const GO_ON: &str = "Go on.";

/// A conversation, in the order in which it is told.
#[derive(Debug, Default)]
pub struct Conversation {
    entries: Vec<Entry>,
    /// How many calls there are of an id.
    calls: HashMap<String, usize>,
}

#[derive(Debug)]
enum Entry {
    User(Value),
    Assistant(Value),
    Call { id: String, name: String, input: Map<String, Value> },
    Output { call_id: String, output: Output },
}

#[derive(Debug, Default)]
struct Output {
    blocks: Vec<Value>,
    is_error: bool,
}

impl Conversation {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a model has spoken in it.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::Assistant(_) | Entry::Call { .. }))
    }

    pub fn user(&mut self, block: Value) {
        if !is_empty_text(&block) {
            self.entries.push(Entry::User(block));
        }
    }

    pub fn assistant(&mut self, block: Value) {
        if !is_empty_text(&block) {
            self.entries.push(Entry::Assistant(block));
        }
    }

    pub fn call(&mut self, id: String, name: String, input: Map<String, Value>) {
        *self.calls.entry(id.clone()).or_default() += 1;
        self.entries.push(Entry::Call { id, name, input });
    }

    pub fn output(&mut self, call_id: String, mut blocks: Vec<Value>, is_error: bool) {
        blocks.retain(|block| !is_empty_text(block));
        self.entries.push(Entry::Output { call_id, output: Output { blocks, is_error } });
    }

    /// The names of tools that have been called, in the order of their first calls.
    #[must_use]
    pub fn called(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for entry in &self.entries {
            if let Entry::Call { name, .. } = entry
                && !names.contains(name)
            {
                names.push(name.clone());
            }
        }
        names
    }

    /// The messages.
    #[must_use]
    pub fn messages(mut self) -> Vec<Value> {
        let mut messages = Messages { outputs: self.take_outputs(), ..Messages::default() };
        for entry in self.entries {
            match entry {
                Entry::User(block) => messages.user(block),
                Entry::Assistant(block) => messages.assistant(block),
                Entry::Call { id, name, input } => {
                    messages.call(id, &name, input);
                }
                // Taken before.
                Entry::Output { call_id, .. } if self.calls.contains_key(&call_id) => messages.answer(),
                Entry::Output { output, .. } => {
                    messages.user(text(ORPHAN));
                    output.blocks.into_iter().for_each(|block| messages.user(block));
                }
            }
        }
        messages.finish()
    }

    /// What each call has come to. Where it is said twice, the last counts; where calls share an id, each has its own.
    fn take_outputs(&mut self) -> HashMap<(String, usize), Output> {
        let mut taken = HashMap::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        for entry in &mut self.entries {
            if let Entry::Output { call_id, output } = entry
                && let Some(calls) = self.calls.get(call_id)
            {
                let nth = seen.entry(call_id.clone()).or_default();
                taken.insert((call_id.clone(), *nth), std::mem::take(output));
                *nth = (*nth + 1).min(calls - 1);
            }
        }
        taken
    }
}

#[derive(Default)]
struct Messages {
    /// By the id of the call, and which one of that id it is.
    outputs: HashMap<(String, usize), Output>,
    calls: HashMap<String, usize>,
    made: Vec<Value>,
    role: &'static str,
    blocks: Vec<Value>,
    /// The calls of the assistant's message that is being made, each with the id that is sent.
    pending: Vec<(String, usize, String)>,
}

impl Messages {
    fn user(&mut self, block: Value) {
        self.answer();
        self.turn("user");
        self.blocks.push(block);
    }

    fn assistant(&mut self, block: Value) {
        self.turn("assistant");
        self.blocks.push(block);
    }

    fn call(&mut self, id: String, name: &str, input: Map<String, Value>) {
        let nth = self.calls.entry(id.clone()).or_default();
        let sent = if *nth == 0 { bounded(&id) } else { bounded(&format!("{id}_{nth}")) };
        let which = (id, *nth, sent.clone());
        *nth += 1;
        self.assistant(
            json!({ "type": "tool_use", "id": sent, "name": name, "input": Value::Object(input) }),
        );
        self.pending.push(which);
    }

    /// Answers the calls of the assistant's message, if it has any.
    fn answer(&mut self) {
        for (id, nth, sent) in std::mem::take(&mut self.pending) {
            self.turn("user");
            let interrupted = || Output { blocks: vec![text(NO_OUTPUT)], is_error: true };
            let output = self.outputs.remove(&(id, nth)).unwrap_or_else(interrupted);
            let mut block = json!({ "type": "tool_result", "tool_use_id": sent });
            if let [only] = &output.blocks[..]
                && only["type"] == "text"
            {
                block["content"] = only["text"].clone();
            } else if !output.blocks.is_empty() {
                block["content"] = output.blocks.into();
            }
            if output.is_error {
                block["is_error"] = true.into();
            }
            self.blocks.push(block);
        }
    }

    fn turn(&mut self, role: &'static str) {
        if self.role == role {
            return;
        }
        self.end_message();
        if self.made.is_empty() && role == "assistant" {
            self.made.push(json!({ "role": "user", "content": [text(GO_ON)] }));
        }
        self.role = role;
    }

    fn end_message(&mut self) {
        if !self.blocks.is_empty() {
            let blocks = std::mem::take(&mut self.blocks);
            self.made.push(json!({ "role": self.role, "content": blocks }));
        }
    }

    fn finish(mut self) -> Vec<Value> {
        self.answer();
        if self.role == "assistant" {
            // An answer that has begun is not gone on with: newer models refuse to.
            self.user(text(GO_ON));
        }
        self.end_message();
        self.made
    }
}

fn is_empty_text(block: &Value) -> bool {
    block["type"] == "text" && block["text"].as_str().is_none_or(|text| text.trim().is_empty())
}

/// A block of text.
#[must_use]
pub fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

/// Whether the model has thought before its last calls. Models that are given a budget refuse to think on where it has
/// not, as where its thoughts were another's.
#[must_use]
pub fn thinks_in_turn(messages: &[Value]) -> bool {
    let blocks = |message: &Value| message["content"].as_array().cloned().unwrap_or_default();
    let is_result = |block: &Value| block["type"] == "tool_result";
    // The turn begins behind the last message of the user's own.
    let own = messages
        .iter()
        .rposition(|message| message["role"] == "user" && !blocks(message).iter().any(is_result));
    let turn = messages.get(own.map_or(0, |own| own + 1)..).unwrap_or_default();
    turn.iter().find(|message| message["role"] == "assistant").is_none_or(|message| {
        blocks(message)
            .first()
            .is_some_and(|block| block["type"] == "thinking" || block["type"] == "redacted_thinking")
    })
}
