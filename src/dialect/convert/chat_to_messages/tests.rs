//! Requests of SDKs and of editors, and what they get.

use serde_json::{Value, json};

use super::super::api::Api;
use super::super::contract::{ConvertedRequest, NotConverted, RequestContext};
use super::super::testing::{document, splits_and_cuts, stream};
use super::super::tool_names::bounded;
use super::request;
use crate::domain::model_traits::{Effort, ModelTraits, Reasoning};

const REQUEST: &str = include_str!("golden/request.json");
const SDK: &str = include_str!("golden/sdk.json");
const UPSTREAM: &str = include_str!("golden/stream.sse");
const UPSTREAM_DOCUMENT: &str = include_str!("golden/message.json");

fn try_convert(body: &str) -> Result<ConvertedRequest, NotConverted> {
    let traits = ModelTraits::default();
    let context = RequestContext {
        model: "claude-opus-4-7",
        traits: &traits,
        conversation: None,
        input_tokens_estimate: 0,
        now: 1_796_000_000,
    };
    request(body.as_bytes(), &context)
}

fn convert(body: &str) -> ConvertedRequest {
    try_convert(body).unwrap_or_else(|error| panic!("{error}"))
}

fn sent(body: &Value) -> Value {
    let made = convert(&body.to_string());
    assert_eq!(made.path_and_query, "/v1/messages");
    serde_json::from_slice(&made.body).unwrap()
}

fn golden(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What the caller gets of an answer with these blocks.
fn answer(request: &Value, blocks: &Value, stop_reason: &str) -> Value {
    let upstream = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": blocks,
        "stop_reason": stop_reason, "stop_details": { "type": "refusal", "explanation": "Not that." },
        "usage": { "input_tokens": 1, "output_tokens": 2 },
    });
    document(convert(&request.to_string()), Api::Chat, &upstream.to_string())
}

fn chunks(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[test]
fn a_request_of_an_editor_is_one_of_messages() {
    let made = convert(REQUEST);
    let sent: Value = serde_json::from_slice(&made.body).unwrap();
    assert_eq!(sent, golden(include_str!("golden/request.messages.json")), "{sent:#}");
    assert_eq!(
        made.dropped.iter().collect::<Vec<_>>(),
        [
            "messages.image_url.detail",
            "messages.reasoning",
            "presence_penalty",
            "seed",
            "stop",
            "temperature",
            "top_p",
        ]
    );
}

#[test]
fn a_request_of_an_sdk_is_one_of_messages() {
    let sent: Value = serde_json::from_slice(&convert(SDK).body).unwrap();
    assert_eq!(sent, golden(include_str!("golden/sdk.messages.json")), "{sent:#}");
}

#[test]
fn a_stream_is_one_of_chunks_wherever_it_is_split_and_never_whole_where_it_is_cut() {
    let made = stream(convert(REQUEST), Api::Chat, &[UPSTREAM.as_bytes()]);
    assert_eq!(made, include_str!("golden/stream.chat.sse"), "{made}");
    let small = r#"{"messages":[{"role":"user","content":"hi"}],"stream_options":{"include_usage":true}}"#;
    let endings = ["[DONE]", "\"finish_reason\":\"", "\"completion_tokens\""];
    splits_and_cuts(|| convert(small), Api::Chat, include_str!("golden/small.sse"), &endings);
}

#[test]
fn a_document_says_what_the_stream_says() {
    let made = document(convert(REQUEST), Api::Chat, UPSTREAM_DOCUMENT);
    assert_eq!(made, golden(include_str!("golden/document.chat.json")), "{made:#}");
    let message = &made["choices"][0]["message"];
    let chunks = chunks(include_str!("golden/stream.chat.sse"));
    let deltas = || chunks.iter().filter_map(|chunk| chunk["choices"].get(0)).map(|choice| &choice["delta"]);
    let told = |field: &str| deltas().filter_map(|delta| delta.get(field)?.as_str()).collect::<String>();
    assert_eq!(message["content"], told("content"));
    assert_eq!(message["reasoning_content"], told("reasoning_content"));
    let arguments = |index: usize| {
        let calls = deltas().filter_map(|delta| delta.get("tool_calls")?.get(0));
        let of_call = calls.filter(|call| call["index"] == index);
        let told = of_call.filter_map(|call| call["function"]["arguments"].as_str()).collect::<String>();
        golden(&told)
    };
    let calls = message["tool_calls"].as_array().unwrap();
    for (index, call) in calls.iter().enumerate().filter(|(_, call)| call["type"] == "function") {
        assert_eq!(golden(call["function"]["arguments"].as_str().unwrap()), arguments(index), "{index}");
    }
    assert_eq!(made["usage"], chunks.last().unwrap()["usage"]);
}

#[test]
fn counts_agree_in_sum_with_the_providers_and_are_told_where_they_are_asked_for() {
    let made = document(convert(REQUEST), Api::Chat, UPSTREAM_DOCUMENT);
    let upstream = &golden(UPSTREAM_DOCUMENT)["usage"];
    let count = |name: &str| upstream[name].as_u64().unwrap();
    let usage = &made["usage"];
    let (read, written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    assert_eq!(usage["prompt_tokens"], count("input_tokens") + read + written);
    assert_eq!(
        usage["prompt_tokens_details"],
        json!({ "cached_tokens": read, "cache_write_tokens": written })
    );
    assert_eq!(usage["completion_tokens"], count("output_tokens"));
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 120);
    for options in [json!(null), json!({ "include_usage": false })] {
        let mut request = golden(REQUEST);
        request["stream_options"] = options;
        let made = stream(convert(&request.to_string()), Api::Chat, &[UPSTREAM.as_bytes()]);
        assert!(!made.contains("usage") && made.ends_with("data: [DONE]\n\n"), "{made}");
    }
}

#[test]
fn each_turn_begins_as_the_one_before() {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.shift_remove("cache_control");
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut before: Option<Value> = None;
    // What the user has said, the outputs of calls, and what the user has said since.
    for end in [3, 6, 9] {
        let mut turn = golden(REQUEST);
        turn["messages"].as_array_mut().unwrap().truncate(end);
        let mut made = sent(&turn);
        strip(&mut made);
        if let Some(before) = before.replace(made.clone()) {
            for field in ["system", "tools"] {
                assert_eq!(made[field].to_string(), before[field].to_string());
            }
            let (made, before) =
                (made["messages"].as_array().unwrap(), before["messages"].as_array().unwrap());
            assert!(made.len() > before.len() && made.starts_with(before), "{before:#?} {made:#?}");
        }
    }
}

#[test]
fn what_would_be_another_request_is_refused_by_name() {
    let user = |part: Value| json!([{ "role": "user", "content": [part] }]);
    for (named, field, value) in [
        ("n", "n", json!(2)),
        ("logprobs", "logprobs", json!(true)),
        ("logprobs", "top_logprobs", json!(2)),
        ("audio", "modalities", json!(["text", "audio"])),
        ("functions", "functions", json!([{ "name": "f" }])),
        ("function_call", "function_call", json!("auto")),
        ("tool_choice", "tool_choice", json!({ "type": "function", "function": { "name": "none" } })),
        ("response_format", "response_format", json!({ "type": "grammar" })),
        ("messages.role", "messages", json!([{ "role": "function", "name": "f", "content": "x" }])),
        ("input_audio", "messages", user(json!({ "type": "input_audio", "input_audio": {} }))),
        ("messages.content", "messages", user(json!({ "type": "video_url", "video_url": {} }))),
        ("file.file_id", "messages", user(json!({ "type": "file", "file": { "file_id": "file_1" } }))),
        (
            "image_url",
            "messages",
            user(json!({ "type": "image_url", "image_url": { "url": "file:///etc/passwd" } })),
        ),
    ] {
        let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
        body[field] = value;
        match try_convert(&body.to_string()).err() {
            Some(NotConverted::Unsupported { field, .. }) => assert_eq!(field, named),
            other => panic!("{named}: {other:?}"),
        }
    }
    for unreadable in ["{}", r#"{"messages":[]}"#, r#"{"messages":[{"role":"nobody"}]}"#] {
        let error = try_convert(unreadable).err();
        assert!(matches!(error, Some(NotConverted::Unreadable(_))), "{unreadable}: {error:?}");
    }
}

#[test]
fn settings_are_those_of_messages() {
    let body = |field: &str, value: Value| {
        let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
        body["tools"] = json!([
            { "type": "function", "function": { "name": "a" } },
            { "type": "function", "function": { "name": "b b" } },
        ]);
        body[field] = value;
        sent(&body)
    };
    let b = bounded("b b");
    assert_eq!(body("tool_choice", json!("required"))["tool_choice"], json!({ "type": "any" }));
    assert_eq!(body("tool_choice", json!("none"))["tool_choice"], json!({ "type": "none" }));
    let named = body("tool_choice", json!({ "type": "function", "function": { "name": "b b" } }));
    assert_eq!(named["tool_choice"], json!({ "type": "tool", "name": b }));
    let tools = json!([{ "type": "function", "function": { "name": "b b" } }]);
    let allowed = json!({ "type": "allowed_tools", "allowed_tools": { "mode": "required", "tools": tools } });
    let allowed = body("tool_choice", allowed);
    assert_eq!((&allowed["tools"].as_array().unwrap().len(), &allowed["tools"][0]["name"]), (&1, &json!(b)));
    assert_eq!(allowed["tool_choice"]["type"], "any");
    let single = body("parallel_tool_calls", json!(false));
    assert_eq!(single["tool_choice"], json!({ "type": "auto", "disable_parallel_tool_use": true }));
    assert_eq!(body("stop", json!("\n\n")).get("stop_sequences"), None);
    assert_eq!(body("stop", json!("END"))["stop_sequences"], json!(["END"]));
    assert_eq!(body("reasoning_effort", json!("none"))["thinking"], json!({ "type": "disabled" }));
    assert_eq!(body("temperature", json!(0.5))["temperature"], 0.5);
    assert_eq!(body("max_tokens", json!(7))["max_tokens"], 7);
    assert_eq!(body("max_tokens", json!(null))["max_tokens"], 32_000);
    let object = body("response_format", json!({ "type": "json_object" }));
    assert!(object["system"][0]["text"].as_str().unwrap().contains("JSON"));
    let search =
        body("web_search_options", json!({ "user_location": { "approximate": { "city": "Bonn" } } }));
    assert_eq!(search["tools"][0]["user_location"], json!({ "type": "approximate", "city": "Bonn" }));
}

#[test]
fn a_model_that_always_thinks_is_not_told_not_to_nor_which_tool_to_call() {
    let efforts = Reasoning::Effort(vec![Effort::Low, Effort::High]);
    let traits = ModelTraits { always_thinks: true, reasoning: efforts, ..ModelTraits::default() };
    let context = RequestContext {
        model: "claude-opus-5-5",
        traits: &traits,
        conversation: None,
        input_tokens_estimate: 0,
        now: 0,
    };
    let with = |members: Value| {
        let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
        body["tools"] = json!([{ "type": "function", "function": { "name": "a" } }]);
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        request(body.to_string().as_bytes(), &context)
    };
    let thinking = json!({ "type": "adaptive", "display": "summarized" });
    for (members, effort, dropped) in [
        (json!({}), json!(null), vec![]),
        (json!({ "reasoning_effort": "none" }), json!(null), vec!["reasoning_effort"]),
        (json!({ "reasoning_effort": "high" }), json!("high"), vec![]),
    ] {
        let made = with(members.clone()).unwrap_or_else(|error| panic!("{error}"));
        let body: Value = serde_json::from_slice(&made.body).unwrap();
        assert_eq!((&body["thinking"], &body["output_config"]["effort"]), (&thinking, &effort), "{members}");
        assert_eq!(made.dropped.iter().collect::<Vec<_>>(), dropped, "{members}");
    }
    let refused = with(json!({ "tool_choice": "required" })).err().expect("it chooses by itself");
    assert!(refused.to_string().contains("`tool_choice`"), "{refused}");
    assert!(with(json!({ "tool_choice": "none" })).is_ok());
}

#[test]
fn an_answer_ends_as_the_provider_says_that_it_does() {
    let body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    let text = json!([{ "type": "text", "text": "hi" }]);
    for (reason, expected) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ] {
        let choice = &answer(&body, &text, reason)["choices"][0];
        assert_eq!(choice["finish_reason"], expected, "{reason}");
        let refusal = if reason == "refusal" { json!("Not that.") } else { Value::Null };
        assert_eq!((&choice["message"]["content"], &choice["message"]["refusal"]), (&json!("hi"), &refusal));
    }
}

#[test]
fn what_was_thought_comes_back_as_it_was() {
    let hi = json!({ "role": "user", "content": "hi" });
    for block in [
        json!({ "type": "thinking", "thinking": "hm", "signature": "abc==" }),
        json!({ "type": "redacted_thinking", "data": "xyz" }),
    ] {
        let blocks =
            json!([block, { "type": "tool_use", "id": "toolu_1", "name": "f", "input": { "a": 1 } }]);
        let made = answer(&json!({ "messages": [hi] }), &blocks, "tool_use");
        let mut message = made["choices"][0]["message"].clone();
        assert_eq!(message["content"], Value::Null);
        message.as_object_mut().unwrap().shift_remove("annotations");
        let output = json!({ "role": "tool", "tool_call_id": "toolu_1", "content": "x" });
        assert_eq!(sent(&json!({ "messages": [hi, message, output] }))["messages"][1]["content"], blocks);
    }
}

#[test]
fn an_error_ends_a_stream_without_its_end() {
    let start = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"c\"}}\n\n";
    let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } });
    for begun in [start, ""] {
        let upstream =
            format!("{begun}event: error\ndata: {error}\n\ndata: {{\"type\":\"message_stop\"}}\n\n");
        let made = stream(
            convert(r#"{"messages":[{"role":"user","content":"hi"}]}"#),
            Api::Chat,
            &[upstream.as_bytes()],
        );
        let chunks = chunks(&made);
        assert_eq!(chunks.last().unwrap()["error"]["message"], "Overloaded");
        assert!(!made.contains("[DONE]") && !made.contains("finish_reason\":\""), "{made}");
    }
}

#[test]
fn the_input_of_a_custom_tool_is_text() {
    let body = json!({
        "messages": [{ "role": "user", "content": "hi" }],
        "tools": [{ "type": "custom", "custom": { "name": "run" } }],
    });
    let event = |data: Value| format!("data: {data}\n\n");
    let upstream = |pieces: &[&str]| {
        let block = json!({ "type": "tool_use", "id": "toolu_1", "name": "run", "input": {} });
        let mut upstream =
            event(json!({ "type": "message_start", "message": { "id": "msg_1", "model": "c" } }));
        upstream += &event(json!({ "type": "content_block_start", "index": 0, "content_block": block }));
        for piece in pieces {
            let delta = json!({ "type": "input_json_delta", "partial_json": piece });
            upstream += &event(json!({ "type": "content_block_delta", "index": 0, "delta": delta }));
        }
        upstream += &event(json!({ "type": "content_block_stop", "index": 0 }));
        upstream + &event(json!({ "type": "message_stop" }))
    };
    let made =
        |pieces: &[&str]| stream(convert(&body.to_string()), Api::Chat, &[upstream(pieces).as_bytes()]);
    let whole = chunks(&made(&["{\"input\": \"l", "s\"}"]));
    let call = &whole[1]["choices"][0]["delta"]["tool_calls"][0];
    assert_eq!((&call["index"], &call["custom"]), (&json!(0), &json!({ "name": "run", "input": "ls" })));
    // What is cut short could be another command.
    assert!(!made(&["{\"input\": \"rm a"]).contains("tool_calls"));
}
