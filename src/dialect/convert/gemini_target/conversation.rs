//! The `contents` of a request: turns of the user and the model in alternation, every call answered right after it, and
//! signatures with the parts that they came with.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::signature::{BYPASS, Carried, Of};

/// What stands for the result of a call that was interrupted.
const INTERRUPTED: &str = "(no result: the call was interrupted)";
/// What the user says before a conversation that the model begins: it cannot be the first.
const BEGINNING: &str = "(the conversation begins)";

/// The result of a call.
#[derive(Debug)]
pub struct Output {
    pub text: String,
    pub is_error: bool,
    /// Pictures and files, which have no place in it and follow.
    pub media: Vec<Value>,
}

#[derive(Debug)]
struct Call {
    id: String,
    name: String,
}

/// A conversation in the making.
#[derive(Debug)]
pub struct Conversation {
    wants_signatures: bool,
    contents: Vec<(&'static str, Vec<Value>)>,
    /// Of the model's last turn, those that are to be answered.
    calls: Vec<Call>,
    outputs: BTreeMap<String, Output>,
    /// What the user says behind the results.
    held: Vec<Value>,
    /// Belongs to a part that is to come.
    pending: Option<(Of, String)>,
}

impl Conversation {
    #[must_use]
    pub fn new(wants_signatures: bool) -> Self {
        Self {
            wants_signatures,
            contents: Vec::new(),
            calls: Vec::new(),
            outputs: BTreeMap::new(),
            held: Vec::new(),
            pending: None,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    /// The user says, or shows, something.
    pub fn user(&mut self, part: Value) {
        self.pending = None;
        if self.calls.is_empty() {
            self.push("user", part);
        } else {
            self.held.push(part);
        }
    }

    /// What a call had for a result. Of several for one call the first counts.
    pub fn output(&mut self, id: &str, output: Output) {
        if self.calls.iter().any(|call| call.id == id) {
            self.outputs.entry(id.to_owned()).or_insert(output);
            return;
        }
        // An answer without a question would be refused.
        self.user(json!({ "text": format!("The result of an earlier call ({id}):\n{}", output.text) }));
        for part in output.media {
            self.user(part);
        }
    }

    /// What a caller has kept of the model's thoughts. `text`: the thought.
    pub fn thought(&mut self, carried: Carried, text: &str) {
        let Some(signature) = carried.signature else { return };
        self.answer();
        match carried.of {
            Of::Thought => {
                self.push("model", json!({ "text": text, "thought": true, "thoughtSignature": signature }));
            }
            Of::Empty => self.push("model", json!({ "text": "", "thoughtSignature": signature })),
            of @ (Of::Text | Of::Call) => self.pending = Some((of, signature)),
        }
    }

    /// The model has said something.
    pub fn said(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.answer();
        let mut part = json!({ "text": text });
        if let Some(signature) = self.take_pending(Of::Text) {
            part["thoughtSignature"] = signature.into();
        }
        self.push("model", part);
    }

    /// The model has called a tool. `name` is the target's; `signature`: where it stands beside the call.
    pub fn called(
        &mut self,
        id: String,
        name: String,
        arguments: &Map<String, Value>,
        signature: Option<String>,
    ) {
        if !self.outputs.is_empty() || !self.held.is_empty() {
            self.answer();
        }
        let signature = signature.or_else(|| self.take_pending(Of::Call));
        // Of calls that were made at once the first has a signature, the others none.
        let is_first = self.calls.is_empty();
        let bypass = (is_first && self.wants_signatures).then(|| BYPASS.to_owned());
        let mut part = json!({ "functionCall": { "name": name, "args": arguments } });
        if let Some(signature) = signature.or(bypass) {
            part["thoughtSignature"] = signature.into();
        }
        self.push("model", part);
        self.calls.push(Call { id, name });
    }

    /// The `contents`.
    #[must_use]
    pub fn contents(mut self) -> Value {
        self.answer_all();
        let mut contents = self.contents;
        if contents.first().is_some_and(|(role, _)| *role == "model") {
            contents.insert(0, ("user", vec![json!({ "text": BEGINNING })]));
        }
        contents.into_iter().map(|(role, parts)| json!({ "role": role, "parts": parts })).collect()
    }

    fn take_pending(&mut self, of: Of) -> Option<String> {
        self.pending.take_if(|(pending, _)| *pending == of).map(|(_, signature)| signature)
    }

    fn push(&mut self, role: &'static str, part: Value) {
        match self.contents.last_mut() {
            Some((last, parts)) if *last == role => parts.push(part),
            _ => self.contents.push((role, vec![part])),
        }
    }

    /// The model goes on: what the user has said since its calls comes before. Within one turn of the model nothing is
    /// answered yet.
    fn answer(&mut self) {
        if !self.outputs.is_empty() || !self.held.is_empty() {
            self.answer_all();
        }
    }

    /// Answers every call, in their order, and says what has waited for that.
    fn answer_all(&mut self) {
        let mut media = Vec::new();
        for call in std::mem::take(&mut self.calls) {
            let response = match self.outputs.remove(&call.id) {
                Some(output) => {
                    if !output.media.is_empty() {
                        media.push(json!({ "text": format!("Of the result of {}:", call.name) }));
                        media.extend(output.media);
                    }
                    json!({ (if output.is_error { "error" } else { "output" }): output.text })
                }
                None => json!({ "error": INTERRUPTED }),
            };
            self.push("user", json!({ "functionResponse": { "name": call.name, "response": response } }));
        }
        self.outputs.clear();
        for part in media.into_iter().chain(std::mem::take(&mut self.held)) {
            self.push("user", part);
        }
    }
}
