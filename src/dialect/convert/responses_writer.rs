//! Makes an answer of `OpenAI`'s Responses, as a document or as the events of a stream: what a model says, thinks and
//! calls is told piece by piece, and becomes items.
//! <https://platform.openai.com/docs/api-reference/responses-streaming>

use serde::Deserialize;
use serde_json::{Value, json};

use super::api::Api;
use super::events::EventWriter;
use super::responses_tools::{Kind, Tools};
use super::upstream_error::UpstreamError;
use super::usage::Usage;

/// What an answer repeats of its request.
#[derive(Debug, Default, Deserialize)]
pub struct Echo {
    instructions: Option<Value>,
    max_output_tokens: Option<Value>,
    max_tool_calls: Option<Value>,
    metadata: Option<Value>,
    parallel_tool_calls: Option<Value>,
    prompt_cache_key: Option<Value>,
    reasoning: Option<Value>,
    safety_identifier: Option<Value>,
    temperature: Option<Value>,
    text: Option<Value>,
    tool_choice: Option<Value>,
    tools: Option<Value>,
    top_p: Option<Value>,
    truncation: Option<Value>,
    user: Option<Value>,
}

/// How an answer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Completed,
    /// With the reason: `max_output_tokens` or `content_filter`.
    Incomplete(&'static str),
}

/// An answer that is being made. One item is open at a time.
#[derive(Debug)]
pub struct ResponsesWriter {
    echo: Echo,
    tools: Tools,
    now: u64,
    /// What the ids of the answer and its items are made of.
    seed: String,
    model: String,
    items: Vec<Value>,
    open: Open,
    /// Whether events are wanted.
    is_stream: bool,
    events: Vec<(&'static str, Value)>,
    sequence: u64,
    is_over: bool,
}

#[derive(Debug)]
enum Open {
    Nothing,
    Message { id: String, text: String, annotations: Vec<Value> },
    Reasoning { id: String, summary: Option<String> },
    Call { id: String, call_id: String, sent: String, arguments: String },
}

impl ResponsesWriter {
    #[must_use]
    pub fn new(echo: Echo, tools: Tools, now: u64) -> Self {
        Self {
            echo,
            tools,
            now,
            seed: String::new(),
            model: String::new(),
            items: Vec::new(),
            open: Open::Nothing,
            is_stream: false,
            events: Vec::new(),
            sequence: 0,
            is_over: false,
        }
    }

    /// Begins; of a stream the events are kept until [`Self::write`] takes them.
    pub fn begin(&mut self, id: &str, model: &str, is_stream: bool) {
        let seed = id.split_once('_').map_or(id, |(_, seed)| seed);
        seed.clone_into(&mut self.seed);
        model.clone_into(&mut self.model);
        self.is_stream = is_stream;
        if is_stream {
            for name in ["response.created", "response.in_progress"] {
                let response = self.response("in_progress", None, None);
                self.emit(name, json!({ "type": name, "sequence_number": 0, "response": response }));
            }
        }
    }

    /// Writes what has been made since.
    pub fn write(&mut self, made: &mut EventWriter) {
        for (name, event) in self.events.drain(..) {
            made.named(name, &event);
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
        if !matches!(self.open, Open::Message { .. }) {
            self.close();
            let id = self.item_id("msg");
            self.added(&json!({
                "id": id, "type": "message", "status": "in_progress", "role": "assistant", "content": [],
            }));
            self.part("response.content_part.added", &id, 0, &output_text("", &[]));
            self.open = Open::Message { id, text: String::new(), annotations: Vec::new() };
        }
        let Open::Message { id, text, .. } = &mut self.open else { return };
        text.push_str(piece);
        let event = json!({
            "type": "response.output_text.delta", "sequence_number": 0, "item_id": id,
            "output_index": self.items.len(), "content_index": 0, "delta": piece, "logprobs": [],
        });
        self.emit("response.output_text.delta", event);
    }

    /// What has been said since the `start`th character was found there.
    pub fn url_citation(&mut self, url: &str, title: &str, start: usize) {
        let Open::Message { id, text, annotations } = &mut self.open else { return };
        let annotation = json!({
            "type": "url_citation", "url": url, "title": title, "start_index": start,
            "end_index": text.chars().count(),
        });
        let event = json!({
            "type": "response.output_text.annotation.added", "sequence_number": 0, "item_id": id,
            "output_index": self.items.len(), "content_index": 0, "annotation_index": annotations.len(),
            "annotation": annotation,
        });
        annotations.push(annotation);
        self.emit("response.output_text.annotation.added", event);
    }

    /// How many characters the message has that is being said.
    #[must_use]
    pub fn text_chars(&self) -> usize {
        if let Open::Message { text, .. } = &self.open { text.chars().count() } else { 0 }
    }

    /// The model, or who watches over it, says why it does not answer.
    pub fn refusal(&mut self, refusal: &str) {
        self.close();
        let id = self.item_id("msg");
        self.added(&json!({
            "id": id, "type": "message", "status": "in_progress", "role": "assistant", "content": [],
        }));
        self.part("response.content_part.added", &id, 0, &json!({ "type": "refusal", "refusal": "" }));
        for (name, field) in [("response.refusal.delta", "delta"), ("response.refusal.done", "refusal")] {
            let event = json!({
                "type": name, "sequence_number": 0, "item_id": id, "output_index": self.items.len(),
                "content_index": 0, field: refusal,
            });
            self.emit(name, event);
        }
        let part = json!({ "type": "refusal", "refusal": refusal });
        self.part("response.content_part.done", &id, 0, &part);
        self.done(json!({
            "id": id, "type": "message", "status": "completed", "role": "assistant", "content": [part],
        }));
    }

    /// The model begins to think.
    pub fn begin_reasoning(&mut self) {
        self.close();
        let id = self.item_id("rs");
        self.added(&json!({ "id": id, "type": "reasoning", "summary": [] }));
        self.open = Open::Reasoning { id, summary: None };
    }

    /// It thinks.
    pub fn reasoning(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        if !matches!(self.open, Open::Reasoning { .. }) {
            self.begin_reasoning();
        }
        let index = self.items.len();
        let Open::Reasoning { id, summary } = &mut self.open else { return };
        let id = id.clone();
        let is_first = summary.is_none();
        summary.get_or_insert_default().push_str(piece);
        if is_first {
            let name = "response.reasoning_summary_part.added";
            let event = json!({
                "type": name, "sequence_number": 0, "item_id": id, "output_index": index, "summary_index": 0,
                "part": { "type": "summary_text", "text": "" },
            });
            self.emit(name, event);
        }
        let name = "response.reasoning_summary_text.delta";
        let event = json!({
            "type": name, "sequence_number": 0, "item_id": id, "output_index": index, "summary_index": 0,
            "delta": piece,
        });
        self.emit(name, event);
    }

    /// It has thought; `carrier`: what its provider wants to have back.
    pub fn end_reasoning(&mut self, carrier: Option<String>) {
        let Open::Reasoning { id, summary } = std::mem::replace(&mut self.open, Open::Nothing) else {
            return;
        };
        let index = self.items.len();
        if let Some(text) = &summary {
            let name = "response.reasoning_summary_text.done";
            let event = json!({
                "type": name, "sequence_number": 0, "item_id": id, "output_index": index, "summary_index": 0,
                "text": text,
            });
            self.emit(name, event);
            let name = "response.reasoning_summary_part.done";
            let event = json!({
                "type": name, "sequence_number": 0, "item_id": id, "output_index": index, "summary_index": 0,
                "part": { "type": "summary_text", "text": text },
            });
            self.emit(name, event);
        }
        let summary: Vec<Value> =
            summary.iter().map(|text| json!({ "type": "summary_text", "text": text })).collect();
        let mut item = json!({ "id": id, "type": "reasoning", "summary": summary });
        if let Some(carrier) = carrier {
            item["encrypted_content"] = carrier.into();
        }
        self.done(item);
    }

    /// The model calls a tool, by the name that was sent.
    pub fn begin_call(&mut self, call_id: &str, sent: &str) {
        self.close();
        let own = self.tools.own(sent);
        let id = self.item_id(match own.kind {
            Kind::Function => "fc",
            Kind::Custom => "ctc",
            Kind::LocalShell => "lsh",
            Kind::Shell => "sh",
            Kind::ApplyPatch => "apc",
            Kind::ToolSearch => "tsc",
        });
        // Of any other the input is of another form, which is known when it is whole.
        if own.kind == Kind::Function {
            self.added_function(&id, call_id, sent);
        }
        self.open =
            Open::Call { id, call_id: call_id.to_owned(), sent: sent.to_owned(), arguments: String::new() };
    }

    fn added_function(&mut self, id: &str, call_id: &str, sent: &str) {
        if let Some(mut item) = self.tools.item(sent, id, call_id, "{}", "in_progress") {
            item["arguments"] = "".into();
            self.added(&item);
        }
    }

    /// More of the arguments' JSON.
    pub fn call_arguments(&mut self, piece: &str) {
        let Open::Call { id, sent, arguments, .. } = &mut self.open else { return };
        if piece.is_empty() {
            return;
        }
        arguments.push_str(piece);
        if self.tools.own(sent).kind == Kind::Function {
            let name = "response.function_call_arguments.delta";
            let event = json!({
                "type": name, "sequence_number": 0, "item_id": id, "output_index": self.items.len(),
                "delta": piece,
            });
            self.emit(name, event);
        }
    }

    /// Ends whatever is open.
    pub fn close(&mut self) {
        self.close_as("completed");
    }

    /// `status`: of a message, in which the answer may have been cut short.
    pub fn close_as(&mut self, status: &str) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Message { id, text, annotations } => self.close_message(&id, &text, &annotations, status),
            open @ Open::Reasoning { .. } => {
                self.open = open;
                self.end_reasoning(None);
            }
            Open::Call { id, call_id, sent, mut arguments } => {
                if arguments.is_empty() {
                    arguments.push_str("{}");
                }
                self.close_call(&id, &call_id, &sent, &arguments);
            }
        }
    }

    fn close_message(&mut self, id: &str, text: &str, annotations: &[Value], status: &str) {
        let name = "response.output_text.done";
        let event = json!({
            "type": name, "sequence_number": 0, "item_id": id, "output_index": self.items.len(),
            "content_index": 0, "text": text, "logprobs": [],
        });
        self.emit(name, event);
        let part = output_text(text, annotations);
        self.part("response.content_part.done", id, 0, &part);
        self.done(json!({
            "id": id, "type": "message", "status": status, "role": "assistant", "content": [part],
        }));
    }

    fn close_call(&mut self, id: &str, call_id: &str, sent: &str, arguments: &str) {
        let Some(item) = self.tools.item(sent, id, call_id, arguments, "completed") else { return };
        let index = self.items.len();
        match self.tools.own(sent).kind {
            Kind::Function => {
                let name = "response.function_call_arguments.done";
                let event = json!({
                    "type": name, "sequence_number": 0, "item_id": id, "output_index": index,
                    "name": item["name"], "arguments": arguments,
                });
                self.emit(name, event);
            }
            Kind::Custom => {
                let input = item["input"].clone();
                let mut begun = item.clone();
                begun["input"] = "".into();
                begun["status"] = "in_progress".into();
                self.added(&begun);
                let deltas = [
                    ("response.custom_tool_call_input.delta", "delta"),
                    ("response.custom_tool_call_input.done", "input"),
                ];
                for (name, field) in deltas {
                    let event = json!({
                        "type": name, "sequence_number": 0, "item_id": id, "output_index": index, field: input,
                    });
                    self.emit(name, event);
                }
            }
            Kind::LocalShell | Kind::Shell | Kind::ApplyPatch | Kind::ToolSearch => {
                let mut begun = item.clone();
                begun["status"] = "in_progress".into();
                self.added(&begun);
            }
        }
        self.done(item);
    }

    /// The target's provider has searched the web.
    pub fn web_search(&mut self, query: &str) {
        self.close();
        let id = self.item_id("ws");
        let item = |status| {
            json!({
                "id": id, "type": "web_search_call", "status": status,
                "action": { "type": "search", "query": query },
            })
        };
        self.added(&item("in_progress"));
        for name in [
            "response.web_search_call.in_progress",
            "response.web_search_call.searching",
            "response.web_search_call.completed",
        ] {
            let event = json!({
                "type": name, "sequence_number": 0, "item_id": id, "output_index": self.items.len(),
            });
            self.emit(name, event);
        }
        let item = item("completed");
        self.done(item);
    }

    /// The answer is whole, or as much of it as there will be. The response comes back.
    pub fn finish(&mut self, ending: Ending, usage: &Usage) -> Value {
        let (name, status, details) = match ending {
            Ending::Completed => ("response.completed", "completed", None),
            Ending::Incomplete(reason) => {
                ("response.incomplete", "incomplete", Some(json!({ "reason": reason })))
            }
        };
        self.close_as(status);
        self.is_over = true;
        let mut response = self.response(status, None, Some(usage));
        if let Some(details) = details {
            response["incomplete_details"] = details;
        }
        self.emit(name, json!({ "type": name, "sequence_number": 0, "response": response }));
        response
    }

    /// The answer ends with an error. What is open is not said to be done. The response comes back.
    pub fn fail(&mut self, error: &UpstreamError, usage: Option<&Usage>) -> Value {
        self.open = Open::Nothing;
        self.is_over = true;
        let response = self.response("failed", Some(error), usage);
        let name = "response.failed";
        self.emit(name, json!({ "type": name, "sequence_number": 0, "response": response }));
        response
    }

    fn response(&self, status: &str, error: Option<&UpstreamError>, usage: Option<&Usage>) -> Value {
        let or = |value: &Option<Value>, default: Value| value.clone().unwrap_or(default);
        let error = error.map(|error| {
            // What no code is for is the request's fault, or nobody's to mend by asking again.
            let code = error.openai_code().unwrap_or("invalid_prompt");
            json!({ "code": code, "message": error.message_in(Api::Responses) })
        });
        let text = or(&self.echo.text, json!({ "format": { "type": "text" } }));
        json!({
            "id": format!("resp_{}", self.seed),
            "object": "response",
            "created_at": self.now,
            "status": status,
            "background": false,
            "error": error,
            "incomplete_details": null,
            "instructions": self.echo.instructions,
            "max_output_tokens": self.echo.max_output_tokens,
            "max_tool_calls": self.echo.max_tool_calls,
            "model": self.model,
            "output": self.items,
            "parallel_tool_calls": or(&self.echo.parallel_tool_calls, true.into()),
            "previous_response_id": null,
            "prompt_cache_key": self.echo.prompt_cache_key,
            "reasoning": or(&self.echo.reasoning, json!({ "effort": null, "summary": null })),
            "safety_identifier": self.echo.safety_identifier,
            "service_tier": "default",
            "store": false,
            "temperature": self.echo.temperature,
            "text": text,
            "tool_choice": or(&self.echo.tool_choice, "auto".into()),
            "tools": or(&self.echo.tools, json!([])),
            "top_p": self.echo.top_p,
            "truncation": or(&self.echo.truncation, "disabled".into()),
            "usage": usage.map(Usage::responses),
            "user": self.echo.user,
            "metadata": or(&self.echo.metadata, json!({})),
        })
    }

    fn item_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}_{}", self.seed, self.items.len())
    }

    fn added(&mut self, item: &Value) {
        let name = "response.output_item.added";
        let index = self.items.len();
        self.emit(name, json!({ "type": name, "sequence_number": 0, "output_index": index, "item": item }));
    }

    fn done(&mut self, item: Value) {
        let name = "response.output_item.done";
        let index = self.items.len();
        self.emit(name, json!({ "type": name, "sequence_number": 0, "output_index": index, "item": item }));
        self.items.push(item);
    }

    fn part(&mut self, name: &'static str, id: &str, content_index: usize, part: &Value) {
        let event = json!({
            "type": name, "sequence_number": 0, "item_id": id, "output_index": self.items.len(),
            "content_index": content_index, "part": part,
        });
        self.emit(name, event);
    }

    fn emit(&mut self, name: &'static str, mut event: Value) {
        if self.is_stream {
            event["sequence_number"] = self.sequence.into();
            self.sequence += 1;
            self.events.push((name, event));
        }
    }
}

fn output_text(text: &str, annotations: &[Value]) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": annotations, "logprobs": [] })
}
