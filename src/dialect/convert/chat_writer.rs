//! Makes an answer of `OpenAI`'s Chat Completions, as a document or as the chunks of a stream: what a model says, thinks
//! and calls is told piece by piece.
//! <https://platform.openai.com/docs/api-reference/chat/streaming>

use serde_json::{Map, Value, json};

use super::api::Api;
use super::events::EventWriter;
use super::upstream_error::UpstreamError;
use super::usage::Usage;

/// Why an answer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

impl FinishReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }
}

const PARAGRAPH: &str = "\n\n";

/// An answer that is being made.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct ChatWriter {
    now: u64,
    /// Whether a stream's last chunk is to say what was used.
    includes_usage: bool,
    id: String,
    model: String,
    content: String,
    /// Something else has come since the last words: what follows is a paragraph of its own.
    is_paused: bool,
    refusal: Option<String>,
    annotations: Vec<Value>,
    reasoning: String,
    reasoning_details: Vec<Value>,
    calls: Vec<Call>,
    /// Whether chunks are wanted.
    is_stream: bool,
    chunks: Vec<Value>,
    is_whole: bool,
    is_over: bool,
}

#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    arguments: String,
    /// Its input is text.
    is_custom: bool,
    extra: Option<Value>,
}

impl ChatWriter {
    #[must_use]
    pub fn new(now: u64, includes_usage: bool) -> Self {
        Self {
            now,
            includes_usage,
            id: String::new(),
            model: String::new(),
            content: String::new(),
            is_paused: false,
            refusal: None,
            annotations: Vec::new(),
            reasoning: String::new(),
            reasoning_details: Vec::new(),
            calls: Vec::new(),
            is_stream: false,
            chunks: Vec::new(),
            is_whole: false,
            is_over: false,
        }
    }

    /// Begins; of a stream the chunks are kept until [`Self::write`] takes them.
    pub fn begin(&mut self, id: &str, model: &str, is_stream: bool) {
        let seed = id.split_once('_').map_or(id, |(_, seed)| seed);
        self.id = format!("chatcmpl-{seed}");
        model.clone_into(&mut self.model);
        self.is_stream = is_stream;
        self.delta(json!({ "role": "assistant", "content": "", "refusal": null }));
    }

    /// Writes what has been made since.
    pub fn write(&mut self, made: &mut EventWriter) {
        for chunk in self.chunks.drain(..) {
            made.data(&chunk);
        }
        if std::mem::take(&mut self.is_whole) {
            made.done();
        }
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The model says something.
    pub fn text(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        if std::mem::take(&mut self.is_paused) {
            self.text(PARAGRAPH);
        }
        self.content.push_str(piece);
        self.delta(json!({ "content": piece }));
    }

    /// It does something else before it goes on.
    pub fn pause(&mut self) {
        self.is_paused = !self.content.is_empty();
    }

    /// How many characters it has said before it goes on.
    #[must_use]
    pub fn text_chars(&self) -> usize {
        let pause = if self.is_paused { PARAGRAPH.len() } else { 0 };
        self.content.chars().count() + pause
    }

    /// What has been said since the `start`th character was found there.
    pub fn url_citation(&mut self, url: &str, title: &str, start: usize) {
        let annotation = json!({
            "type": "url_citation",
            "url_citation": { "url": url, "title": title, "start_index": start, "end_index": self.text_chars() },
        });
        self.delta(json!({ "annotations": [annotation] }));
        self.annotations.push(annotation);
    }

    /// The model, or who watches over it, says why it does not answer.
    pub fn refusal(&mut self, refusal: &str) {
        self.refusal.get_or_insert_default().push_str(refusal);
        self.delta(json!({ "refusal": refusal }));
    }

    /// The model thinks.
    pub fn reasoning(&mut self, piece: &str) {
        if !piece.is_empty() {
            self.reasoning.push_str(piece);
            self.delta(json!({ "reasoning_content": piece }));
        }
    }

    /// It has thought; `carrier`: what its provider wants to have back.
    pub fn end_reasoning(&mut self, carrier: Option<String>) {
        if let Some(carrier) = carrier {
            let index = self.reasoning_details.len();
            let detail = json!({ "type": "reasoning.encrypted", "data": carrier, "index": index });
            self.delta(json!({ "reasoning_details": [detail] }));
            self.reasoning_details.push(detail);
        }
    }

    /// The model calls a tool, by the caller's name. `extra`: what comes back with the call, as `extra_content`.
    pub fn begin_call(&mut self, id: &str, name: &str, is_custom: bool, extra: Option<Value>) {
        let index = self.calls.len();
        if !is_custom {
            let function = json!({ "name": name, "arguments": "" });
            let mut call = json!({ "index": index, "id": id, "type": "function", "function": function });
            if let Some(extra) = &extra {
                call["extra_content"] = extra.clone();
            }
            self.delta(json!({ "tool_calls": [call] }));
        }
        let (id, name) = (id.to_owned(), name.to_owned());
        self.calls.push(Call { id, name, arguments: String::new(), is_custom, extra });
    }

    /// More of the arguments' JSON.
    pub fn call_arguments(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        let index = self.calls.len().saturating_sub(1);
        let Some(call) = self.calls.last_mut() else { return };
        call.arguments.push_str(piece);
        if !call.is_custom {
            self.delta(json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece } }] }));
        }
    }

    /// The call is whole.
    pub fn end_call(&mut self) {
        let index = self.calls.len().saturating_sub(1);
        let Some(call) = self.calls.last_mut() else { return };
        if call.is_custom {
            match call.custom() {
                Some(mut whole) => {
                    whole["index"] = index.into();
                    self.delta(json!({ "tool_calls": [whole] }));
                }
                // It was cut short, and nobody could tell.
                None => drop(self.calls.pop()),
            }
        } else if call.arguments.is_empty() {
            self.call_arguments("{}");
        }
    }

    /// The answer is whole, or as much of it as there will be. The document comes back.
    pub fn finish(&mut self, reason: FinishReason, usage: &Usage) -> Value {
        self.is_over = true;
        let reason = reason.as_str();
        if self.is_stream {
            self.is_whole = true;
            let choice = json!({ "index": 0, "delta": {}, "logprobs": null, "finish_reason": reason });
            self.chunk(json!([choice]), None);
            if self.includes_usage {
                self.chunk(json!([]), Some(usage));
            }
            return Value::Null;
        }
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.now,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": self.message(),
                "logprobs": null,
                "finish_reason": reason,
            }],
            "usage": usage.chat(),
            "service_tier": "default",
            "system_fingerprint": null,
        })
    }

    /// The stream ends with an error, and without its end.
    pub fn fail(&mut self, error: &UpstreamError) {
        self.is_over = true;
        if self.is_stream {
            self.chunks.push(error.document(Api::Chat));
        }
    }

    fn message(&self) -> Value {
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        let is_silent = self.content.is_empty() && (!self.calls.is_empty() || self.refusal.is_some());
        message
            .insert("content".to_owned(), if is_silent { Value::Null } else { self.content.clone().into() });
        message.insert("refusal".to_owned(), self.refusal.clone().into());
        if !self.reasoning.is_empty() {
            message.insert("reasoning_content".to_owned(), self.reasoning.clone().into());
        }
        if !self.reasoning_details.is_empty() {
            message.insert("reasoning_details".to_owned(), self.reasoning_details.clone().into());
        }
        if !self.calls.is_empty() {
            let calls: Vec<Value> = self.calls.iter().filter_map(Call::whole).collect();
            message.insert("tool_calls".to_owned(), calls.into());
        }
        message.insert("annotations".to_owned(), self.annotations.clone().into());
        Value::Object(message)
    }

    fn delta(&mut self, delta: Value) {
        if self.is_stream {
            let mut choice = json!({ "index": 0, "delta": null, "logprobs": null, "finish_reason": null });
            choice["delta"] = delta;
            self.chunk(json!([choice]), None);
        }
    }

    fn chunk(&mut self, choices: Value, usage: Option<&Usage>) {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.now,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": null,
        });
        chunk["choices"] = choices;
        if self.includes_usage {
            chunk["usage"] = usage.map_or(Value::Null, Usage::chat);
        }
        self.chunks.push(chunk);
    }
}

impl Call {
    fn whole(&self) -> Option<Value> {
        if self.is_custom {
            return self.custom();
        }
        let function = json!({ "name": self.name, "arguments": self.arguments });
        Some(self.with_extra(json!({ "id": self.id, "type": "function", "function": function })))
    }

    fn with_extra(&self, mut call: Value) -> Value {
        if let Some(extra) = &self.extra {
            call["extra_content"] = extra.clone();
        }
        call
    }

    fn custom(&self) -> Option<Value> {
        let mut arguments: Map<String, Value> = serde_json::from_str(&self.arguments).ok()?;
        let input = match arguments.shift_remove("input")? {
            Value::String(input) => input,
            input => input.to_string(),
        };
        let custom = json!({ "name": self.name, "input": input });
        Some(self.with_extra(json!({ "id": self.id, "type": "custom", "custom": custom })))
    }
}
