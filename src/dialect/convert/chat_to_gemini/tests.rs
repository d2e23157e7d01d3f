//! What SDKs and editors send and read, against golden files, and what breaks conversions.

use serde_json::{Value, json};

use crate::dialect::convert::api::Api;
use crate::dialect::convert::carrier;
use crate::dialect::convert::contract::{ConvertedRequest, NotConverted, RequestContext};
use crate::dialect::convert::testing::{document, stream};
use crate::domain::model_traits::{Effort, ModelTraits, Reasoning};

const REQUEST: &str = include_str!("golden/request.json");
const STREAM: &str = include_str!("golden/stream.sse");
const DOCUMENT: &str = include_str!("golden/document.json");
const MODEL: &str = "gemini-3-pro-preview";

fn try_convert(request: &Value, model: &str) -> Result<ConvertedRequest, NotConverted> {
    let efforts = vec![Effort::Low, Effort::Medium, Effort::High];
    let traits = ModelTraits { reasoning: Reasoning::Effort(efforts), ..ModelTraits::default() };
    let context = RequestContext {
        model,
        traits: &traits,
        conversation: None,
        input_tokens_estimate: 77,
        now: 1_790_000_000,
    };
    super::request(request.to_string().as_bytes(), &context)
}

fn convert(request: &Value) -> ConvertedRequest {
    try_convert(request, MODEL).map_err(|error| error.to_string()).unwrap()
}

fn sent(request: &Value) -> Value {
    serde_json::from_slice(&convert(request).body).unwrap()
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn small(more: &Value) -> Value {
    let mut request = json!({ "messages": [{ "role": "user", "content": "x" }] });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// Whether it is the golden file; written anew where that is asked for, to be read before it is committed.
fn assert_golden(name: &str, made: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../dialect/convert/chat_to_gemini/golden")
        .join(name);
    if std::env::var_os("SPROXY_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    assert_eq!(made, std::fs::read_to_string(&path).unwrap(), "{name}");
}

fn chunks(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(read).collect()
}

#[test]
fn a_request_of_an_editor_is_one_of_gemini() {
    let made = convert(&read(REQUEST));
    assert_eq!(made.path_and_query, "/v1beta/models/gemini-3-pro-preview:streamGenerateContent?alt=sse");
    let body: Value = serde_json::from_slice(&made.body).unwrap();
    assert_golden("request.gemini.json", &format!("{body:#}\n"));
    assert_eq!(
        made.dropped.iter().collect::<Vec<_>>(),
        ["messages.image_url.detail", "messages.reasoning", "presence_penalty", "tools.strict"]
    );
}

#[test]
fn a_stream_is_one_of_chunks_wherever_it_is_split_and_never_whole_where_it_is_cut() {
    let whole = stream(convert(&read(REQUEST)), Api::Chat, &[STREAM.as_bytes()]);
    assert_golden("stream.chat.sse", &whole);
    let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
    assert_eq!(stream(convert(&read(REQUEST)), Api::Chat, &bytes), whole);
    let small = small(&json!({ "stream": true }));
    let whole = stream(convert(&small), Api::Chat, &[STREAM.as_bytes()]);
    for at in 0..STREAM.len() {
        let (first, second) = STREAM.as_bytes().split_at(at);
        assert_eq!(stream(convert(&small), Api::Chat, &[first, second]), whole, "split at {at}");
        if at >= STREAM.trim_end().len() {
            continue;
        }
        let cut = stream(convert(&small), Api::Chat, &[first]);
        for ending in ["[DONE]", "\"finish_reason\":\""] {
            assert!(whole.contains(ending) && !cut.contains(ending), "cut at {at}: {cut}");
        }
        assert!(chunks(&cut).last().unwrap()["error"]["message"].is_string(), "cut at {at}");
    }
}

#[test]
fn a_document_says_what_the_stream_says() {
    let made = document(convert(&read(REQUEST)), Api::Chat, DOCUMENT);
    assert_golden("document.chat.json", &format!("{made:#}\n"));
    let message = &made["choices"][0]["message"];
    let chunks = chunks(&stream(convert(&read(REQUEST)), Api::Chat, &[STREAM.as_bytes()]));
    let deltas = || chunks.iter().filter_map(|chunk| chunk["choices"].get(0)).map(|choice| &choice["delta"]);
    let told = |field: &str| deltas().filter_map(|delta| delta.get(field)?.as_str()).collect::<String>();
    assert_eq!(message["content"], told("content"));
    assert_eq!(message["reasoning_content"], told("reasoning_content"));
    let listed = |field: &str| {
        let all = deltas().filter_map(|delta| delta.get(field)?.as_array());
        all.flatten().cloned().collect::<Vec<Value>>()
    };
    assert_eq!(message["reasoning_details"], Value::Array(listed("reasoning_details")));
    let mut calls: Vec<Value> = Vec::new();
    for call in listed("tool_calls") {
        let at = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
        match calls.get_mut(at) {
            Some(known) => {
                let known = &mut known["function"]["arguments"];
                let more = call["function"]["arguments"].as_str().unwrap();
                *known = format!("{}{more}", known.as_str().unwrap()).into();
            }
            None => calls.push(call),
        }
    }
    for call in &mut calls {
        call.as_object_mut().unwrap().shift_remove("index");
    }
    assert_eq!(message["tool_calls"], Value::Array(calls));
    let usage = json!({
        "prompt_tokens": 900,
        "completion_tokens": 70,
        "total_tokens": 970,
        "prompt_tokens_details": { "cached_tokens": 512, "cache_write_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": 20 },
    });
    assert_eq!((&made["usage"], &chunks.last().unwrap()["usage"]), (&usage, &usage));
}

#[test]
fn every_signature_comes_back_with_the_part_that_it_came_with_whichever_field_a_client_keeps() {
    let message = document(convert(&read(REQUEST)), Api::Chat, DOCUMENT)["choices"][0]["message"].clone();
    let calls = message["tool_calls"].as_array().unwrap();
    let mut own = read(DOCUMENT)["candidates"][0]["content"]["parts"].clone();
    // A call without arguments has none.
    own[4]["functionCall"]["args"] = json!({});
    for lost in ["", "reasoning_details", "extra_content", "both"] {
        let mut message = message.clone();
        if matches!(lost, "reasoning_details" | "both") {
            message.as_object_mut().unwrap().shift_remove("reasoning_details");
        }
        if matches!(lost, "extra_content" | "both") {
            message["tool_calls"][0].as_object_mut().unwrap().shift_remove("extra_content");
        }
        let mut messages = vec![json!({ "role": "user", "content": "x" }), message];
        for call in calls {
            messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": "done" }));
        }
        let mut request = read(REQUEST);
        request["messages"] = messages.into();
        let contents = sent(&request)["contents"].clone();
        let parts = contents[1]["parts"].as_array().unwrap();
        let expected = own.as_array().unwrap();
        match lost {
            "" | "extra_content" => assert_eq!(parts, expected, "{lost}"),
            // Those of text and thoughts are nowhere else.
            "reasoning_details" => assert_eq!(parts[1..], expected[3..]),
            _ => assert_eq!(parts[1]["thoughtSignature"], "skip_thought_signature_validator"),
        }
        assert_eq!(contents[2]["parts"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn a_call_of_another_model_has_googles_word_for_a_signature_where_the_model_wants_one() {
    let call = |at: usize| json!({ "id": format!("c{at}"), "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let signatures = |model: &str, details: Value| {
        let request = small(&json!({ "messages": [
            { "role": "user", "content": "x" },
            { "role": "assistant", "content": "", "reasoning_details": details, "tool_calls": [call(1), call(2)] },
            { "role": "tool", "tool_call_id": "c1", "content": "1" },
            { "role": "tool", "tool_call_id": "c2", "content": "2" },
        ] }));
        let made = try_convert(&request, model).map(|made| made.body).unwrap_or_default();
        let made: Value = serde_json::from_slice(&made).unwrap();
        let parts = made["contents"][1]["parts"].as_array().unwrap();
        parts.iter().map(|part| part["thoughtSignature"].clone()).collect::<Vec<_>>()
    };
    let bypass = json!("skip_thought_signature_validator");
    for foreign in [
        json!(null),
        json!([]),
        json!([{ "type": "reasoning.encrypted", "data": carrier::pack(Api::Messages, &"x"), "index": 0 }]),
        json!([{ "type": "reasoning.text", "text": "t", "signature": "ErUB" }]),
    ] {
        assert_eq!(signatures(MODEL, foreign.clone()), [bypass.clone(), Value::Null], "{foreign}");
    }
    assert_eq!(signatures("gemini-2.5-flash", json!([])), [Value::Null, Value::Null]);
}

#[test]
fn each_turn_begins_as_the_one_before() {
    let all = read(REQUEST);
    let messages = all["messages"].as_array().unwrap();
    let at = |end: usize| {
        let mut request = all.clone();
        request["messages"] = messages[..end].to_vec().into();
        sent(&request)
    };
    let last = at(messages.len());
    for end in (1..messages.len()).filter(|end| messages[*end]["role"] == "assistant") {
        let made = at(end);
        for (name, value) in made.as_object().unwrap().iter().filter(|(name, _)| *name != "contents") {
            assert_eq!(value.to_string(), last[name].to_string(), "{name}");
        }
        let contents = made["contents"].as_array().unwrap();
        assert!(last["contents"].as_array().unwrap().starts_with(contents), "{end}");
    }
}

#[test]
fn the_settings_are_those_of_gemini() {
    let tools = json!([
        { "type": "function", "function": { "name": "a" } },
        { "type": "function", "function": { "name": "2 b" } },
    ]);
    let choice = |choice: Value| {
        let made = sent(&small(&json!({ "tools": tools, "tool_choice": choice })));
        made["toolConfig"]["functionCallingConfig"].clone()
    };
    let b = sent(&small(&json!({ "tools": tools })))["tools"][0]["functionDeclarations"][1]["name"].clone();
    assert!(b.as_str().unwrap().starts_with("_2_b_"), "{b}");
    assert_eq!(choice(json!("required")), json!({ "mode": "ANY" }));
    assert_eq!(choice(json!("none")), json!({ "mode": "NONE" }));
    let named = json!({ "type": "function", "function": { "name": "2 b" } });
    assert_eq!(choice(named.clone()), json!({ "mode": "ANY", "allowedFunctionNames": [b] }));
    let allowed =
        |mode: &str| json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": [named] } });
    assert_eq!(choice(allowed("auto")), json!({ "mode": "VALIDATED", "allowedFunctionNames": [b] }));
    assert_eq!(choice(allowed("required")), json!({ "mode": "ANY", "allowedFunctionNames": [b] }));

    let config = |more: Value| sent(&small(&more))["generationConfig"].clone();
    assert_eq!(config(json!({})), Value::Null);
    assert_eq!(
        config(json!({ "max_tokens": 7, "stop": "END" })),
        json!({ "maxOutputTokens": 7, "stopSequences": ["END"] })
    );
    assert_eq!(
        config(json!({ "reasoning_effort": "none" })),
        json!({ "thinkingConfig": { "thinkingLevel": "LOW" } })
    );
    assert_eq!(
        config(json!({ "response_format": { "type": "json_object" } })),
        json!({ "responseMimeType": "application/json" })
    );
    let schema = json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/a" } }, "$defs": { "a": { "type": "string" } } });
    let format =
        json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema, "strict": true } });
    assert_eq!(
        config(json!({ "response_format": format }))["responseJsonSchema"],
        json!({ "type": "object", "properties": { "a": { "type": "string" } } })
    );
    let search = sent(&small(&json!({ "web_search_options": {} })));
    assert_eq!(search["tools"], json!([{ "googleSearch": {} }]));
    let beside = convert(&small(&json!({ "web_search_options": {}, "tools": tools })));
    assert_eq!(beside.dropped.iter().collect::<Vec<_>>(), ["web_search_options"]);
    let asked = sent(
        &json!({ "messages": [{ "role": "system", "content": "a" }, { "role": "system", "content": "b" }] }),
    );
    assert_eq!(asked["systemInstruction"]["parts"], json!([{ "text": "a" }]));
    assert_eq!(asked["contents"], json!([{ "role": "user", "parts": [{ "text": "b" }] }]));
}

#[test]
fn the_input_of_a_custom_tool_is_text() {
    let tools = json!([{ "type": "custom", "custom": { "name": "run" } }]);
    let answer = json!({ "candidates": [{
        "content": { "parts": [{
            "functionCall": { "name": "run", "args": { "input": "ls\n-l" } }, "thoughtSignature": "CtQBcall",
        }] },
        "finishReason": "STOP",
    }] });
    let made = document(convert(&small(&json!({ "tools": tools }))), Api::Chat, &answer.to_string());
    let call = &made["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["custom"], json!({ "name": "run", "input": "ls\n-l" }));
    let turns = json!([{ "role": "user", "content": "x" }, { "role": "assistant", "tool_calls": [call] }]);
    let sent = sent(&small(&json!({ "tools": tools, "messages": turns })));
    assert_eq!(sent["contents"][1]["parts"], answer["candidates"][0]["content"]["parts"]);
}

#[test]
fn what_would_be_another_request_is_refused_by_name() {
    let user = |part: Value| json!([{ "role": "user", "content": [part] }]);
    for (named, field, value) in [
        ("n", "n", json!(2)),
        ("logprobs", "logprobs", json!(true)),
        ("audio", "modalities", json!(["text", "audio"])),
        ("functions", "functions", json!([{ "name": "f" }])),
        ("tool_choice", "tool_choice", json!({ "type": "function", "function": { "name": "none" } })),
        ("response_format", "response_format", json!({ "type": "grammar" })),
        ("messages.role", "messages", json!([{ "role": "function", "name": "f", "content": "x" }])),
        ("input_audio", "messages", user(json!({ "type": "input_audio", "input_audio": {} }))),
        ("file.file_id", "messages", user(json!({ "type": "file", "file": { "file_id": "file_1" } }))),
        (
            "image_url",
            "messages",
            user(json!({ "type": "image_url", "image_url": { "url": "file:///etc/passwd" } })),
        ),
    ] {
        match try_convert(&small(&json!({ field: value })), MODEL).err() {
            Some(NotConverted::Unsupported { field, .. }) => assert_eq!(field, named),
            other => panic!("{named}: {other:?}"),
        }
    }
}

#[test]
fn an_answer_ends_as_gemini_says_that_it_does() {
    let candidate = |reason: &str, parts: Value| {
        json!({
            "candidates": [{ "content": { "parts": parts }, "finishReason": reason }],
            "usageMetadata": { "promptTokenCount": 5, "candidatesTokenCount": 2 },
        })
    };
    let text = json!([{ "text": "hi" }]);
    let call = json!([{ "functionCall": { "name": "f" } }]);
    for (answer, reason, refusal) in [
        (candidate("STOP", text.clone()), "stop", Value::Null),
        (candidate("STOP", call.clone()), "tool_calls", Value::Null),
        (candidate("MAX_TOKENS", text.clone()), "length", Value::Null),
        (candidate("SAFETY", text.clone()), "content_filter", json!("SAFETY")),
        (json!({ "promptFeedback": { "blockReason": "OTHER" } }), "content_filter", json!("OTHER")),
    ] {
        let choice =
            document(convert(&small(&json!({}))), Api::Chat, &answer.to_string())["choices"][0].clone();
        assert_eq!(
            (&choice["finish_reason"], &choice["message"]["refusal"]),
            (&json!(reason), &refusal),
            "{answer}"
        );
    }
    for answer in [
        candidate("MALFORMED_FUNCTION_CALL", text),
        json!({ "error": { "code": 503, "message": "MALFORMED_FUNCTION_CALL overloaded", "status": "UNAVAILABLE" } }),
    ] {
        let event = format!("data: {answer}\n\ndata: {answer}\n\n");
        let made = stream(convert(&small(&json!({}))), Api::Chat, &[event.as_bytes()]);
        let last = chunks(&made).pop().unwrap();
        assert!(last["error"]["message"].as_str().unwrap().contains("MALFORMED_FUNCTION_CALL"), "{made}");
        assert!(!made.contains("[DONE]") && !made.contains("finish_reason\":\""), "{made}");
    }
    let grounded = json!({
        "candidates": [{
            "content": { "parts": [{ "text": "Sunny ☀." }] },
            "finishReason": "STOP",
            "groundingMetadata": { "groundingChunks": [{ "web": { "uri": "https://a.b/c" } }] },
        }],
    });
    let made = document(convert(&small(&json!({}))), Api::Chat, &grounded.to_string());
    let citation =
        json!({ "url": "https://a.b/c", "title": "https://a.b/c", "start_index": 0, "end_index": 8 });
    assert_eq!(
        made["choices"][0]["message"]["annotations"],
        json!([{ "type": "url_citation", "url_citation": citation }])
    );
}
