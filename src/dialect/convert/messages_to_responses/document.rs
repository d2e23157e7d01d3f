//! A whole answer of Responses as a message, and what answers have in common with streams.

use serde_json::{Map, Value, json};

use crate::dialect::convert::responses_answer::{Item, Part, Reasoning, Response, Usage};
use crate::dialect::convert::tool_names::ToolNames;
use crate::dialect::convert::{Api, carrier};

/// The message that an answer is.
pub(super) fn message(response: &Response, names: &ToolNames) -> Value {
    let mut content = Vec::new();
    let mut end = End::of(response);
    for item in &response.output {
        match item {
            Item::Message { content: parts } => {
                for part in parts {
                    match part {
                        Part::OutputText { text, .. } if text.is_empty() => {}
                        Part::OutputText { text, .. } => {
                            content.push(json!({ "type": "text", "text": text }));
                        }
                        Part::Refusal { refusal } => {
                            end.is_refusal = true;
                            content.push(json!({ "type": "text", "text": refusal }));
                        }
                        Part::Other => {}
                    }
                }
            }
            Item::Reasoning(reasoning) => {
                let text = reasoning.text();
                if !text.is_empty() || reasoning.encrypted_content.is_some() {
                    content.push(json!({
                        "type": "thinking",
                        "thinking": text,
                        "signature": signature(reasoning),
                    }));
                }
            }
            Item::FunctionCall { call_id, name, arguments } => {
                end.has_calls = true;
                content.push(json!({
                    "type": "tool_use",
                    "id": call_id,
                    "name": names.own(name),
                    "input": input(arguments),
                }));
            }
            Item::WebSearchCall { id, action } => {
                end.searches += 1;
                content.extend(search(id.as_deref(), action));
            }
            Item::Other => {}
        }
    }
    json!({
        "id": message_id(&response.id),
        "type": "message",
        "role": "assistant",
        "model": response.model,
        "content": content,
        "stop_reason": end.stop_reason(),
        "stop_sequence": null,
        "usage": end.usage(response.usage.unwrap_or_default()),
    })
}

/// What is known when an answer is over.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    pub(super) has_calls: bool,
    pub(super) is_refusal: bool,
    pub(super) searches: u64,
    /// Why it is not whole; empty if it is.
    incomplete: String,
}

impl End {
    /// The end of a response by its status alone.
    pub(super) fn of(response: &Response) -> Self {
        let mut end = Self::default();
        end.set_status(response);
        end
    }

    pub(super) fn set_status(&mut self, response: &Response) {
        if response.status.as_deref() == Some("incomplete") {
            let reason = response.incomplete_details.as_ref().and_then(|details| details.reason.clone());
            self.incomplete = reason.unwrap_or_else(|| "max_output_tokens".to_owned());
        }
    }

    pub(super) fn stop_reason(&self) -> &'static str {
        match self.incomplete.as_str() {
            "" if self.is_refusal => "refusal",
            "" if self.has_calls => "tool_use",
            "" => "end_turn",
            "content_filter" => "refusal",
            _ => "max_tokens",
        }
    }

    /// The counts as Anthropic has them: what was read from a cache, or written to one, is not in `input_tokens`.
    pub(super) fn usage(&self, usage: Usage) -> Value {
        let details = usage.input_tokens_details.unwrap_or_default();
        let read = details.cached_tokens.unwrap_or_default().min(usage.input_tokens);
        let written = details.cache_write_tokens.unwrap_or_default().min(usage.input_tokens - read);
        let mut counts = Map::new();
        counts.insert("input_tokens".to_owned(), (usage.input_tokens - read - written).into());
        counts.insert("cache_creation_input_tokens".to_owned(), written.into());
        counts.insert("cache_read_input_tokens".to_owned(), read.into());
        counts.insert("output_tokens".to_owned(), usage.output_tokens.into());
        let reasoning = usage.output_tokens_details.unwrap_or_default().reasoning_tokens;
        if let Some(reasoning) = reasoning.filter(|tokens| *tokens > 0) {
            counts.insert("output_tokens_details".to_owned(), json!({ "thinking_tokens": reasoning }));
        }
        if self.searches > 0 {
            counts.insert("server_tool_use".to_owned(), json!({ "web_search_requests": self.searches }));
        }
        Value::Object(counts)
    }
}

/// `msg_…` of `resp_…`.
pub(super) fn message_id(response: &str) -> String {
    format!("msg_{}", response.strip_prefix("resp_").unwrap_or(response))
}

/// What a client keeps of reasoning, and sends back.
pub(super) fn signature(reasoning: &Reasoning) -> String {
    carrier::pack(Api::Responses, reasoning)
}

/// The arguments of a call; an empty object where there are none. What is no object cannot be a tool's input.
pub(super) fn input(arguments: &str) -> Value {
    match serde_json::from_str::<Value>(arguments) {
        Ok(value @ Value::Object(_)) => value,
        _ if arguments.trim().is_empty() => Value::Object(Map::new()),
        _ => json!({ "arguments": arguments }),
    }
}

/// A search of the provider's own, as Anthropic tells of its.
pub(super) fn search(id: Option<&str>, action: &Value) -> [Value; 2] {
    let id = format!("srvtoolu_{}", id.unwrap_or_default());
    let query = action.get("query").and_then(Value::as_str).unwrap_or_default();
    let sources = action.get("sources").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let found = sources.iter().filter_map(|source| {
        let url = source.get("url")?.as_str()?;
        Some(json!({
            "type": "web_search_result",
            "url": url,
            "title": source.get("title").and_then(Value::as_str).unwrap_or(url),
            "encrypted_content": "",
            "page_age": null,
        }))
    });
    [
        json!({ "type": "server_tool_use", "id": id, "name": "web_search", "input": { "query": query } }),
        json!({ "type": "web_search_tool_result", "tool_use_id": id, "content": found.collect::<Vec<_>>() }),
    ]
}
