//! Requests and answers that a seeded generator makes: each has some of what its API has.

mod answers;
mod chat;
mod messages;
mod responses;

use serde_json::{Value, json};
use sproxy_foundation::dialect::convert::{Api, Conversion};

use crate::golden;
use crate::ours::data;
use crate::random::Random;
use crate::theirs;

/// How many requests and how many answers are made of each API.
const GENERATED: u64 = 150;

/// Something to convert.
#[derive(Clone, Debug)]
pub struct Case<I> {
    /// Such as `request.json` or `generated 17`.
    pub name: String,
    /// The caller's.
    pub request: Value,
    pub input: I,
}

/// Requests of a pair's caller.
#[must_use]
pub fn requests(conversion: Conversion) -> Vec<Case<()>> {
    let golden = golden::of(conversion).map(|golden| golden.requests).unwrap_or_default();
    let golden =
        golden.iter().map(|(name, text)| ((*name).to_owned(), golden_request(conversion.from, text)));
    let generated = (0..GENERATED).map(|seed| {
        let mut random = Random::new(seed);
        let made = match conversion.from {
            Api::Messages => messages::request(&mut random),
            Api::Responses => responses::request(&mut random),
            Api::Chat => chat::request(&mut random),
            Api::Gemini => Value::Null,
        };
        (format!("generated {seed}"), made)
    });
    golden.chain(generated).map(|(name, request)| Case { name, request, input: () }).collect()
}

/// A golden request, as far as it can be compared. Theirs wants to be told what ours knows: how long an answer may be,
/// and that a call without arguments has none.
fn golden_request(api: Api, text: &str) -> Value {
    let mut request = theirs::readable(api, &golden::json(text));
    if api == Api::Responses && request["max_output_tokens"].is_null() {
        request["max_output_tokens"] = 4_096.into();
    }
    for message in request["messages"].as_array_mut().into_iter().flatten() {
        for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
            if call["function"]["arguments"] == "" {
                call["function"]["arguments"] = "{}".into();
            }
        }
    }
    request
}

/// What golden answers are answers to.
fn first_request(conversion: Conversion, golden: &golden::Golden) -> Value {
    golden.requests.first().map_or(Value::Null, |(_, text)| golden_request(conversion.from, text))
}

/// Answers of a pair's target.
#[must_use]
pub fn answers(conversion: Conversion) -> Vec<Case<Value>> {
    let mut cases = Vec::new();
    if let Some(golden) = golden::of(conversion).filter(|golden| !golden.answer.is_empty()) {
        let request = first_request(conversion, &golden);
        cases.push(Case { name: "golden".to_owned(), request, input: golden::json(golden.answer) });
    }
    for seed in 0..GENERATED {
        let input = answers::answer(conversion.to, &mut Random::new(seed));
        cases.push(Case { name: format!("generated {seed}"), request: asked(conversion.from), input });
    }
    cases
}

/// Streams of a pair's target, as the data of their events.
///
/// # Panics
/// A generated answer is none of its API.
#[must_use]
pub fn streams(conversion: Conversion) -> Vec<Case<Vec<String>>> {
    let mut cases = Vec::new();
    if let Some(golden) = golden::of(conversion) {
        let request = first_request(conversion, &golden);
        cases.push(Case { name: "golden".to_owned(), request, input: data(golden.stream) });
    }
    for case in answers(conversion).into_iter().filter(|case| case.name != "golden") {
        let input = match conversion.to {
            Api::Gemini => chunks(&case.input),
            api => theirs::streamed(api, &case.input)
                .unwrap_or_else(|error| panic!("{}: {error} in {}", case.name, case.input)),
        };
        let mut request = case.request;
        request["stream"] = true.into();
        if conversion.from == Api::Chat {
            request["stream_options"] = json!({ "include_usage": true });
        }
        cases.push(Case { name: case.name, request, input });
    }
    cases
}

/// A stream of Gemini's: a chunk for each part, and one that ends it.
fn chunks(answer: &Value) -> Vec<String> {
    let head = |candidate: Value| {
        json!({
            "candidates": [candidate],
            "modelVersion": answer["modelVersion"],
            "responseId": answer["responseId"],
        })
    };
    let candidate = &answer["candidates"][0];
    let parts = candidate["content"]["parts"].as_array().into_iter().flatten();
    let mut made: Vec<Value> = parts
        .map(|part| head(json!({ "index": 0, "content": { "role": "model", "parts": [part] } })))
        .collect();
    let mut last = head(json!({ "index": 0, "finishReason": candidate["finishReason"] }));
    last["usageMetadata"] = answer["usageMetadata"].clone();
    made.push(last);
    made.iter().map(Value::to_string).collect()
}

/// A request that generated answers may be answers to.
fn asked(api: Api) -> Value {
    let parameters = schema();
    match api {
        Api::Messages => json!({
            "model": "m", "max_tokens": 1024, "messages": [{ "role": "user", "content": "hi" }],
            "tools": [
                { "name": "read_file", "input_schema": parameters }, { "name": "now", "input_schema": parameters },
            ],
        }),
        Api::Responses => json!({
            "model": "m", "input": "hi",
            "tools": [
                { "type": "function", "name": "read_file", "parameters": parameters, "strict": false },
                { "type": "function", "name": "now", "parameters": parameters, "strict": false },
            ],
        }),
        Api::Chat => json!({
            "model": "m", "messages": [{ "role": "user", "content": "hi" }],
            "tools": [
                { "type": "function", "function": { "name": "read_file", "parameters": parameters } },
                { "type": "function", "function": { "name": "now", "parameters": parameters } },
            ],
        }),
        Api::Gemini => Value::Null,
    }
}

/// What a function takes.
fn schema() -> Value {
    json!({
        "type": "object",
        "properties": { "path": { "type": "string", "description": "Which ä." }, "limit": { "type": "integer" } },
        "required": ["path"],
    })
}

/// What an answer by a schema is.
fn answer_schema() -> Value {
    json!({
        "type": "object", "properties": { "city": { "type": "string" } },
        "required": ["city"], "additionalProperties": false,
    })
}

/// What a function is called with.
fn arguments(random: &mut Random) -> Value {
    random.of(&[
        json!({ "path": "a.rs" }),
        json!({ "path": "ä/\"b\"", "limit": 3 }),
        json!({}),
        json!({ "path": "c", "deep": { "list": [1, null, true], "text": "\n" } }),
    ])
}

fn name(random: &mut Random) -> &'static str {
    random.of(&["read_file", "now"])
}

fn said(random: &mut Random) -> &'static str {
    random.of(&["hi", "It is ☕.", "one\ntwo", "A longer sentence, with \"quotes\" and a \\."])
}
