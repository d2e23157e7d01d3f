//! Makes comparable what is arbitrary: ids that are made, times, and forms that a provider reads as the same.

use serde_json::{Map, Value, json};
use sproxy_foundation::dialect::convert::{Api, Conversion};

/// What a caller or a provider says in JSON of its own: nothing in it is ours to change.
const FOREIGN: [&str; 7] = [
    "input_schema",
    "parameters",
    "parametersJsonSchema",
    "responseJsonSchema",
    "schema",
    "args",
    "arguments",
];

/// A request of the target's.
#[must_use]
pub fn request(api: Api, mut request: Value) -> Value {
    without_nulls(&mut request);
    match api {
        Api::Messages => {
            lists(&mut request["system"], "text");
            // The older name, which is still taken.
            if let Some(format) = take(&mut request, "output_format") {
                request["output_config"]["format"] = format;
            }
            for message in elements(&mut request["messages"]) {
                lists(&mut message["content"], "text");
                for block in elements(&mut message["content"]) {
                    if block["type"] == "tool_result" {
                        lists(&mut block["content"], "text");
                    }
                }
            }
            one_turn_each(&mut request["messages"], &["content"]);
        }
        // `system` and `developer` are two names of who runs the conversation: OpenAI takes either for the other.
        Api::Responses => {
            if let Some(text) = request["input"].as_str() {
                request["input"] = json!([{ "role": "user", "content": text }]);
            }
            for item in elements(&mut request["input"]) {
                if item["type"] == "message" {
                    remove(item, &["type"]);
                }
                remove(item, &["id"]);
                lists(&mut item["content"], "text");
                lists(&mut item["output"], "text");
                for list in ["content", "output"] {
                    for part in elements(&mut item[list]) {
                        if part["type"] == "input_text" || part["type"] == "output_text" {
                            part["type"] = "text".into();
                        }
                    }
                }
                parse(&mut item["arguments"]);
                if item["role"] == "developer" {
                    item["role"] = "system".into();
                }
            }
            one_turn_each(&mut request["input"], &["content"]);
        }
        Api::Chat => {
            for message in elements(&mut request["messages"]) {
                lists(&mut message["content"], "text");
                calls(message);
                if message["role"] == "developer" {
                    message["role"] = "system".into();
                }
            }
            one_turn_each(&mut request["messages"], &["content", "tool_calls"]);
        }
        Api::Gemini => one_turn_each(&mut request["contents"], &["parts"]),
    }
    without_nulls(&mut request);
    request
}

/// An answer of the caller's.
#[must_use]
pub fn answer(conversion: Conversion, mut answer: Value) -> Value {
    remove(&mut answer, &["id"]);
    let mut ids = Ids { renames: conversion.to == Api::Gemini, ids: Vec::new() };
    match conversion.from {
        Api::Messages => {
            for block in elements(&mut answer["content"]) {
                ids.rename(&mut block["id"]);
            }
        }
        Api::Responses => {
            remove(&mut answer, &["created_at", "completed_at"]);
            for item in elements(&mut answer["output"]) {
                remove(item, &["id"]);
                parse(&mut item["arguments"]);
                ids.rename(&mut item["call_id"]);
            }
        }
        Api::Chat => {
            remove(&mut answer, &["created"]);
            for choice in elements(&mut answer["choices"]) {
                calls(&mut choice["message"]);
                for call in elements(&mut choice["message"]["tool_calls"]) {
                    ids.rename(&mut call["id"]);
                }
            }
        }
        Api::Gemini => {}
    }
    without_nulls(&mut answer);
    answer
}

/// Ids of calls where the provider gives none.
struct Ids {
    renames: bool,
    ids: Vec<String>,
}

impl Ids {
    fn rename(&mut self, id: &mut Value) {
        let (true, Some(name)) = (self.renames, id.as_str()) else { return };
        let at = self.ids.iter().position(|known| known == name).unwrap_or_else(|| {
            self.ids.push(name.to_owned());
            self.ids.len() - 1
        });
        *id = format!("call {at}").into();
    }
}

/// The arguments of a message's calls.
fn calls(message: &mut Value) {
    for call in elements(&mut message["tool_calls"]) {
        if call["type"].is_null() {
            call["type"] = "function".into();
        }
        parse(&mut call["function"]["arguments"]);
    }
}

/// Messages of the same speaker are one. `lists`: what a message has that goes on in the next. A tool's are each the
/// result of another call.
fn one_turn_each(messages: &mut Value, lists: &[&str]) {
    let Some(messages) = messages.as_array_mut() else { return };
    let mut merged: Vec<Value> = Vec::new();
    for mut message in std::mem::take(messages) {
        let is_one = |last: &&mut Value| last["role"] == message["role"];
        let goes_on = message["role"].is_string() && message["role"] != "tool";
        match merged.last_mut().filter(is_one).filter(|_| goes_on) {
            None => merged.push(message),
            Some(last) => {
                for list in lists {
                    let Some(more) = take(&mut message, list) else { continue };
                    match (last[*list].as_array_mut(), more) {
                        (Some(begun), Value::Array(more)) => begun.extend(more),
                        (_, more) => last[*list] = more,
                    }
                }
                if let (Some(last), Some(rest)) = (last.as_object_mut(), message.as_object()) {
                    last.extend(rest.clone());
                }
            }
        }
    }
    *messages = merged;
}

fn take(object: &mut Value, name: &str) -> Option<Value> {
    object.as_object_mut()?.shift_remove(name).filter(|value| !value.is_null())
}

fn elements(list: &mut Value) -> impl Iterator<Item = &mut Value> {
    list.as_array_mut().into_iter().flatten()
}

fn remove(object: &mut Value, names: &[&str]) {
    if let Some(members) = object.as_object_mut() {
        members.retain(|name, _| !names.contains(&name.as_str()));
    }
}

/// A text is a list of one.
fn lists(content: &mut Value, kind: &str) {
    if let Some(text) = content.as_str() {
        *content = json!([{ "type": kind, "text": text }]);
    }
}

/// JSON in a text is what it says.
fn parse(arguments: &mut Value) {
    if let Some(read) = arguments.as_str().and_then(|text| serde_json::from_str::<Map<_, _>>(text).ok()) {
        *arguments = read.into();
    }
}

/// A member that is null is none.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            for (name, value) in members {
                if !FOREIGN.contains(&name.as_str()) {
                    without_nulls(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
