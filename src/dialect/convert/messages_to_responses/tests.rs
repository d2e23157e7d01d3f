//! What Claude Code sends and reads, against golden files, and what breaks conversions.

use std::sync::LazyLock;

use http::StatusCode;
use serde_json::{Value, json};

use crate::dialect::convert::testing::{assembled, events};
use crate::dialect::convert::tool_names::ToolNames;
use crate::dialect::convert::{
    Api, ConvertedAnswer, ConvertedRequest, NotConverted, RequestContext, carrier,
};
use crate::domain::model_traits::{Effort, ModelTraits, Reasoning};

const REQUEST: &str = include_str!("golden/request.json");
const STREAM: &str = include_str!("golden/stream.sse");

fn newest() -> ModelTraits {
    let efforts = vec![Effort::None, Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh];
    ModelTraits {
        sampling: false,
        cache_breakpoints: true,
        reasoning: Reasoning::Effort(efforts),
        ..ModelTraits::default()
    }
}

fn context(traits: &ModelTraits) -> RequestContext<'_> {
    RequestContext {
        model: "gpt-5.6",
        traits,
        conversation: Some("c0ffee"),
        input_tokens_estimate: 77,
        now: 1_790_000_000,
    }
}

fn convert(request: &Value, traits: &ModelTraits) -> Result<ConvertedRequest, NotConverted> {
    super::request(request.to_string().as_bytes(), &context(traits))
}

fn converted(request: &Value, traits: &ModelTraits) -> Value {
    let made = convert(request, traits).map(|made| made.body).unwrap_or_default();
    serde_json::from_slice(&made).unwrap()
}

fn golden_request() -> Value {
    serde_json::from_str(REQUEST).unwrap()
}

/// Whether it is the golden file; written anew where that is asked for, to be read before it is committed.
fn assert_golden(name: &str, made: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../dialect/convert/messages_to_responses/golden")
        .join(name);
    if std::env::var_os("SPROXY_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    assert_eq!(made, std::fs::read_to_string(&path).unwrap(), "{name}");
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The answer to the golden request, from these pieces.
fn answered(pieces: &[&[u8]], is_stream: bool) -> Result<String, String> {
    static NAMES: LazyLock<ToolNames> = LazyLock::new(|| {
        let body = golden_request().to_string();
        let traits = newest();
        super::make(body.as_bytes(), &context(&traits)).map(|made| made.names).unwrap_or_default()
    });
    let converter = Box::new(super::Converter::new(NAMES.clone(), 77));
    let mut answer = ConvertedAnswer::new(converter, Api::Messages, StatusCode::OK, is_stream);
    let mut made = Vec::new();
    for piece in pieces {
        made.extend_from_slice(&answer.push(piece).map_err(|error| error.to_string())?);
    }
    made.extend_from_slice(&answer.finish().map_err(|error| error.to_string())?);
    String::from_utf8(made).map_err(|error| error.to_string())
}

#[test]
fn a_request_of_claude_code_is_what_responses_take() {
    let made = convert(&golden_request(), &newest()).map_err(|error| error.to_string()).unwrap();
    assert_eq!(made.path_and_query, "/v1/responses");
    let body: Value = serde_json::from_slice(&made.body).unwrap();
    assert_golden("request.responses.json", &pretty(&body));
    assert_eq!(
        made.dropped.iter().collect::<Vec<_>>(),
        ["context_management", "stop_sequences", "temperature", "tools.type", "top_k"]
    );
}

#[test]
fn a_stream_is_what_messages_have_wherever_it_is_split() {
    let whole = answered(&[STREAM.as_bytes()], true).unwrap();
    assert_golden("stream.messages.sse", &whole);
    for at in 0..STREAM.len() {
        let (first, second) = STREAM.as_bytes().split_at(at);
        assert_eq!(answered(&[first, second], true).unwrap(), whole, "split at {at}");
    }
    let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
    assert_eq!(answered(&bytes, true).unwrap(), whole);
}

#[test]
fn a_stream_that_is_cut_is_never_a_whole_message() {
    let end = STREAM.find("event: response.completed").unwrap();
    let completed = STREAM.trim_end().len();
    for at in 0..completed {
        let cut = answered(&[&STREAM.as_bytes()[..at]], true).unwrap();
        let events = events(&cut);
        let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert!(
            !kinds.contains(&"message_stop") && !kinds.contains(&"message_delta"),
            "cut at {at}: {kinds:?}"
        );
        assert_eq!(kinds.last(), Some(&"error"), "cut at {at}");
        assert!(at >= end || kinds.len() < 30);
    }
}

#[test]
fn a_document_is_the_message_that_its_stream_is() {
    let last = STREAM.rfind("data: ").unwrap();
    let completed: Value = serde_json::from_str(STREAM[last + 6..].trim_end()).unwrap();
    let document = answered(&[completed["response"].to_string().as_bytes()], false).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let streamed = assembled(&answered(&[STREAM.as_bytes()], true).unwrap());
    assert_eq!(document, streamed);
    assert_golden("message.json", &pretty(&document));
    let usage = &document["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap();
    let input =
        count("input_tokens") + count("cache_creation_input_tokens") + count("cache_read_input_tokens");
    let thinking = usage["output_tokens_details"]["thinking_tokens"].as_u64();
    let counts = (input, count("output_tokens"), thinking);
    assert_eq!(counts, (1_200, 90, Some(40)), "the caller's counts are the provider's");
}

#[test]
fn reasoning_comes_back_as_the_item_that_it_was_and_anothers_is_left_out() {
    let message = assembled(&answered(&[STREAM.as_bytes()], true).unwrap());
    let mut request = golden_request();
    let turn = json!({ "role": "assistant", "content": message["content"].clone() });
    request["messages"].as_array_mut().unwrap().push(turn);
    let made = converted(&request, &newest());
    let reasoning: Vec<&Value> =
        made["input"].as_array().unwrap().iter().filter(|item| item["type"] == "reasoning").collect();
    assert_eq!(
        reasoning,
        [&json!({
            "type": "reasoning",
            "id": "rs_1",
            "summary": [
                { "type": "summary_text", "text": "**Looking** at é" },
                { "type": "summary_text", "text": "again" },
            ],
            "encrypted_content": "gAAAA+/=",
        })]
    );
    for foreign in ["", "ErUB", &carrier::pack(Api::Gemini, &"x"), "sp1.openai.!", "sp1.openai.e30x"] {
        let content = json!([{ "type": "thinking", "thinking": "t", "signature": foreign }]);
        let request = json!({
            "max_tokens": 1,
            "messages": [{ "role": "assistant", "content": content }, { "role": "user", "content": "x" }],
        });
        let made = converted(&request, &newest());
        assert_eq!(made["input"].as_array().unwrap().len(), 1, "{foreign}: {made}");
    }
}

#[test]
fn a_turn_is_the_beginning_of_the_next() {
    let all = golden_request();
    let messages = all["messages"].as_array().unwrap();
    // A mark is where the caller ends what is to be cached, which moves on; it is no part of what is said.
    let traits = ModelTraits { cache_breakpoints: false, ..newest() };
    let at = |turns: usize| {
        let mut request = all.clone();
        request["messages"] = messages[..turns].to_vec().into();
        converted(&request, &traits)
    };
    let last = at(messages.len());
    for turns in (1..messages.len()).filter(|turns| messages[turns - 1]["role"] == "user") {
        let made = at(turns);
        for (name, value) in made.as_object().unwrap() {
            if name != "input" {
                assert_eq!(value.to_string(), last[name].to_string(), "{name}");
            }
        }
        let text = made["input"].to_string();
        let prefix = text.strip_suffix(']').unwrap();
        assert!(last["input"].to_string().starts_with(prefix), "{turns} turns: {text}");
    }
}

#[test]
fn effort_and_sampling_are_what_the_model_takes() {
    let made = |more: Value, traits: &ModelTraits| {
        let mut request = json!({ "max_tokens": 1, "messages": [{ "role": "user", "content": "x" }] });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        converted(&request, traits)
    };
    let newest = newest();
    let plain = ModelTraits { reasoning: Reasoning::None, ..ModelTraits::default() };
    for (more, traits, reasoning) in [
        (json!({}), &newest, Value::Null),
        (json!({"thinking": {"type": "disabled"}}), &newest, json!({"effort": "none"})),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 9_000}}),
            &newest,
            json!({"effort": "medium", "summary": "auto"}),
        ),
        (
            json!({"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "max"}}),
            &newest,
            json!({"effort": "xhigh"}),
        ),
        (json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}), &plain, Value::Null),
    ] {
        assert_eq!(made(more.clone(), traits)["reasoning"], reasoning, "{more}");
    }
    let sampled = made(json!({"temperature": 0.5, "top_p": 0.9}), &plain);
    assert_eq!((sampled["temperature"].as_f64(), sampled["top_p"].as_f64()), (Some(0.5), Some(0.9)));
    assert_eq!(made(json!({}), &newest)["max_output_tokens"], 16, "the least that the API takes");
}

#[test]
fn what_would_mean_something_else_is_refused_by_name() {
    let of =
        |content: Value| json!({ "max_tokens": 1, "messages": [{ "role": "user", "content": content }] });
    let file = json!({ "type": "file", "file_id": "file_1" });
    for (request, named) in [
        (of(json!([{ "type": "image", "source": file }])), "file_id"),
        (of(json!([{ "type": "document", "source": file }])), "file_id"),
        (
            json!({
                "max_tokens": 1, "messages": [],
                "tools": [{ "type": "code_execution_20250825", "name": "code_execution" }],
                "tool_choice": { "type": "tool", "name": "code_execution" },
            }),
            "tool_choice",
        ),
        (json!({ "max_tokens": 1 }), "messages"),
        (json!({ "messages": [{ "role": "robot", "content": "x" }] }), "robot"),
    ] {
        let refused = convert(&request, &newest()).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(named), "{refused}");
    }
}

#[test]
fn ends_and_errors_are_told_as_anthropic_tells_them() {
    let response = |status: &str, more: Value| {
        let mut response = json!({ "id": "resp_1", "model": "m", "status": status, "output": [] });
        response.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        response
    };
    let refusal = json!([{ "type": "message", "content": [{ "type": "refusal", "refusal": "no" }] }]);
    for (response, reason) in [
        (response("completed", json!({})), "end_turn"),
        (response("completed", json!({ "output": refusal })), "refusal"),
        (
            response("incomplete", json!({ "incomplete_details": { "reason": "max_output_tokens" } })),
            "max_tokens",
        ),
        (response("incomplete", json!({ "incomplete_details": { "reason": "content_filter" } })), "refusal"),
    ] {
        let document = answered(&[response.to_string().as_bytes()], false).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&document).unwrap()["stop_reason"], reason, "{response}");
        let kind = format!("response.{}", response["status"].as_str().unwrap());
        let event = json!({ "type": kind, "response": response });
        let streamed = answered(&[format!("data: {event}\n\n").as_bytes()], true).unwrap();
        assert_eq!(assembled(&streamed)["stop_reason"], reason, "{event}");
    }
    let failed = json!({
        "type": "response.failed",
        "response": { "error": { "code": "context_length_exceeded", "message": "Your input exceeds the context window" } },
    });
    let streamed = answered(&[format!("data: {failed}\n\ndata: {failed}\n\n").as_bytes()], true).unwrap();
    assert_eq!(
        events(&streamed),
        [json!({
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "prompt is too long: Your input exceeds the context window",
            },
        })]
    );
    assert!(answered(&[b"<html>"], false).is_err());
}

#[test]
fn tokens_are_counted_by_the_provider() {
    let traits = newest();
    let made = super::count_tokens(REQUEST.as_bytes(), &context(&traits))
        .map_err(|error| error.to_string())
        .unwrap();
    assert_eq!(made.path_and_query, "/v1/responses/input_tokens");
    let body: Value = serde_json::from_slice(&made.body).unwrap();
    let names: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(names, ["model", "input", "tools", "tool_choice", "parallel_tool_calls", "reasoning"]);
    let mut answer = ConvertedAnswer::new(made.answer, Api::Messages, StatusCode::OK, false);
    answer.push(br#"{"object":"response.input_tokens","input_tokens":1234}"#).unwrap();
    assert_eq!(answer.finish().unwrap(), r#"{"input_tokens":1234}"#);
}
