//! What Claude Code sends and reads, against golden files, and what breaks conversions.

use serde_json::{Value, json};

use crate::dialect::convert::api::Api;
use crate::dialect::convert::carrier;
use crate::dialect::convert::contract::{ConvertedRequest, NotConverted, RequestContext};
use crate::dialect::convert::testing::{assembled, document, events, stream};
use crate::domain::model_traits::{Effort, ModelTraits, Reasoning};

const REQUEST: &str = include_str!("golden/request.json");
const STREAM: &str = include_str!("golden/stream.sse");
const DOCUMENT: &str = include_str!("golden/document.json");
const MODEL: &str = "gemini-3-pro-preview";

fn newest() -> ModelTraits {
    let efforts = vec![Effort::Low, Effort::Medium, Effort::High];
    ModelTraits {
        max_output_tokens: Some(65_536),
        reasoning: Reasoning::Effort(efforts),
        ..ModelTraits::default()
    }
}

fn try_convert(request: &Value, model: &str) -> Result<ConvertedRequest, NotConverted> {
    let traits = newest();
    let context = RequestContext {
        model,
        traits: &traits,
        conversation: Some("c0ffee"),
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

fn golden_request() -> Value {
    serde_json::from_str(REQUEST).unwrap()
}

fn small(more: &Value) -> Value {
    let mut request = json!({ "max_tokens": 9, "messages": [{ "role": "user", "content": "x" }] });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// Whether it is the golden file; written anew where that is asked for, to be read before it is committed.
fn assert_golden(name: &str, made: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../dialect/convert/messages_to_gemini/golden")
        .join(name);
    if std::env::var_os("SPROXY_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    assert_eq!(made, std::fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn a_request_of_claude_code_is_one_of_gemini() {
    let made = convert(&golden_request());
    assert_eq!(made.path_and_query, "/v1beta/models/gemini-3-pro-preview:streamGenerateContent?alt=sse");
    let body: Value = serde_json::from_slice(&made.body).unwrap();
    assert_golden("request.gemini.json", &format!("{body:#}\n"));
    assert_eq!(
        made.dropped.iter().collect::<Vec<_>>(),
        ["context_management", "tools.type", "tools.web_search"]
    );
}

#[test]
fn a_stream_is_one_of_messages_wherever_it_is_split_and_never_whole_where_it_is_cut() {
    let made = stream(convert(&golden_request()), Api::Messages, &[STREAM.as_bytes()]);
    assert_golden("stream.messages.sse", &made);
    let end = STREAM.find("\"finishReason\"").unwrap();
    for at in 0..STREAM.trim_end().len() {
        let cut = stream(convert(&small(&json!({}))), Api::Messages, &[&STREAM.as_bytes()[..at]]);
        assert!(!cut.contains("message_stop") && !cut.contains("message_delta"), "cut at {at}: {cut}");
        assert_eq!(events(&cut).last().unwrap()["type"], "error", "cut at {at}");
        assert!(at > end || !cut.contains("stop_reason\":\""));
    }
    let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
    assert_eq!(stream(convert(&golden_request()), Api::Messages, &bytes), made);
    let small = small(&json!({}));
    let whole = stream(convert(&small), Api::Messages, &[STREAM.as_bytes()]);
    for at in 0..STREAM.len() {
        let (first, second) = STREAM.as_bytes().split_at(at);
        assert_eq!(stream(convert(&small), Api::Messages, &[first, second]), whole, "split at {at}");
    }
}

#[test]
fn a_document_is_the_message_that_its_stream_is() {
    let made = document(convert(&golden_request()), Api::Messages, DOCUMENT);
    let streamed = assembled(&stream(convert(&golden_request()), Api::Messages, &[STREAM.as_bytes()]));
    assert_eq!(made, streamed);
    assert_golden("document.messages.json", &format!("{made:#}\n"));
    let usage = &made["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(count("input_tokens") + count("cache_read_input_tokens"), 1_200 + 300);
    assert_eq!(count("cache_read_input_tokens"), 1_024);
    assert_eq!(
        (count("output_tokens"), &usage["output_tokens_details"]["thinking_tokens"]),
        (97, &json!(37))
    );
}

#[test]
fn every_signature_comes_back_with_the_part_that_it_came_with() {
    let message = document(convert(&golden_request()), Api::Messages, DOCUMENT);
    let calls = message["content"].as_array().unwrap().iter().filter(|block| block["type"] == "tool_use");
    let results: Vec<Value> = calls
        .map(|call| json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "done" }))
        .collect();
    assert_eq!(results.len(), 3);
    let mut request = golden_request();
    let messages = request["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "content": message["content"] }));
    messages.push(json!({ "role": "user", "content": results }));
    let contents = sent(&request)["contents"].as_array().unwrap().clone();
    let model = &contents[contents.len() - 2];
    let answer: Value = serde_json::from_str(DOCUMENT).unwrap();
    let mut own = answer["candidates"][0]["content"]["parts"].as_array().unwrap().clone();
    // Thoughts without a signature are not for reading; a call without arguments has none.
    own.remove(0);
    own[3]["functionCall"]["args"] = json!({});
    assert_eq!(model["parts"], Value::Array(own));
    assert_eq!(contents.last().unwrap()["parts"].as_array().unwrap().len(), 3);
}

#[test]
fn a_call_whose_signature_is_lost_has_googles_word_for_it_where_the_model_wants_one() {
    let call = |at: usize| json!({ "type": "tool_use", "id": format!("t{at}"), "name": "f", "input": {} });
    let signatures = |model: &str, foreign: &str| {
        let request = small(&json!({ "messages": [
            { "role": "user", "content": "x" },
            { "role": "assistant", "content": [{ "type": "thinking", "thinking": "t", "signature": foreign }, call(1), call(2)] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1" }, { "type": "tool_result", "tool_use_id": "t2" }] },
            { "role": "assistant", "content": [call(3)] },
        ] }));
        let made = try_convert(&request, model).map(|made| made.body).unwrap_or_default();
        let made: Value = serde_json::from_slice(&made).unwrap();
        let parts = made["contents"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|content| content["parts"].as_array().unwrap());
        let calls = parts.filter(|part| part.get("functionCall").is_some());
        calls.map(|part| part["thoughtSignature"].clone()).collect::<Vec<_>>()
    };
    let bypass = json!("skip_thought_signature_validator");
    for foreign in ["", "ErUB", &carrier::pack(Api::Responses, &"x"), "sp1.gemini.!", "sp1.gemini.e30"] {
        assert_eq!(signatures(MODEL, foreign), [bypass.clone(), Value::Null, bypass.clone()], "{foreign}");
    }
    assert_eq!(signatures("gemini-2.5-pro", ""), [Value::Null, Value::Null, Value::Null]);
}

#[test]
fn a_turn_is_the_beginning_of_the_next() {
    let all = golden_request();
    let messages = all["messages"].as_array().unwrap();
    let at = |turns: usize| {
        let mut request = all.clone();
        request["messages"] = messages[..turns].to_vec().into();
        sent(&request)
    };
    let last = at(messages.len());
    for turns in (1..messages.len()).filter(|turns| messages[*turns]["role"] == "assistant") {
        let made = at(turns);
        for (name, value) in made.as_object().unwrap() {
            if name != "contents" {
                assert_eq!(value.to_string(), last[name].to_string(), "{name}");
            }
        }
        let contents = made["contents"].as_array().unwrap();
        assert!(last["contents"].as_array().unwrap().starts_with(contents), "{turns} turns");
    }
}

#[test]
fn tools_are_those_of_the_caller_and_a_search_stands_alone() {
    let search = json!({ "type": "web_search_20260209", "name": "web_search", "blocked_domains": ["a.b"] });
    let tool = json!({ "name": "3d", "input_schema": { "type": "object", "properties": { "a": {} } } });
    let alone = convert(&small(&json!({ "tools": [search] })));
    assert_eq!(alone.dropped.iter().collect::<Vec<_>>(), ["tools.blocked_domains"]);
    let alone: Value = serde_json::from_slice(&alone.body).unwrap();
    assert_eq!(alone["tools"], json!([{ "googleSearch": {} }]));
    let forced = sent(&small(&json!({
        "tools": [search, tool], "tool_choice": { "type": "tool", "name": "web_search" },
    })));
    assert_eq!((&forced["tools"], forced.get("toolConfig")), (&alone["tools"], None));

    let names = |choice: Value| {
        let made = sent(&small(&json!({ "tools": [tool], "tool_choice": choice })));
        assert_eq!(
            made["tools"][0]["functionDeclarations"][0]["name"], "_3d",
            "names begin with a letter there"
        );
        made["toolConfig"]["functionCallingConfig"].clone()
    };
    assert_eq!(names(json!({ "type": "auto" })), json!({ "mode": "AUTO" }));
    assert_eq!(names(json!({ "type": "any" })), json!({ "mode": "ANY" }));
    assert_eq!(names(json!({ "type": "none" })), json!({ "mode": "NONE" }));
    assert_eq!(
        names(json!({ "type": "tool", "name": "3d" })),
        json!({ "mode": "ANY", "allowedFunctionNames": ["_3d"] })
    );
    let grounded = json!({
        "candidates": [{
            "content": { "parts": [{ "text": "Sunny." }] },
            "finishReason": "STOP",
            "groundingMetadata": {
                "webSearchQueries": ["weather"],
                "groundingChunks": [{ "web": { "uri": "https://a.b/c", "title": "A" } }, { "maps": {} }],
            },
        }],
        "usageMetadata": { "promptTokenCount": 1 },
        "responseId": "r1",
    });
    let message =
        document(convert(&small(&json!({ "tools": [search] }))), Api::Messages, &grounded.to_string());
    assert_eq!(message["content"][1]["input"], json!({ "query": "weather" }));
    assert_eq!(message["content"][2]["content"].as_array().unwrap().len(), 1);
    let streamed = stream(
        convert(&small(&json!({ "tools": [search] }))),
        Api::Messages,
        &[format!("data: {grounded}\n\n").as_bytes()],
    );
    assert_eq!(assembled(&streamed), message);
}

#[test]
fn the_settings_are_those_of_gemini() {
    let config = |more: Value| sent(&small(&more))["generationConfig"].clone();
    assert_eq!(config(json!({ "max_tokens": 128_000 })), json!({ "maxOutputTokens": 65_536 }));
    let six: Vec<String> = (0..6).map(|at| at.to_string()).collect();
    let made =
        convert(&small(&json!({ "stop_sequences": six, "temperature": 0.5, "top_p": 0.9, "top_k": 3 })));
    assert_eq!(made.dropped.iter().collect::<Vec<_>>(), ["stop_sequences"]);
    assert_eq!(
        serde_json::from_slice::<Value>(&made.body).unwrap()["generationConfig"],
        json!({ "maxOutputTokens": 9, "temperature": 0.5, "topP": 0.9, "topK": 3, "stopSequences": six[..5] })
    );
    assert_eq!(
        config(json!({ "thinking": { "type": "enabled", "budget_tokens": 9_000, "display": "omitted" } }))["thinkingConfig"],
        json!({ "thinkingLevel": "MEDIUM" })
    );
    let schema = json!({ "type": "object", "properties": { "a": { "const": "b" } } });
    let format = json!({ "format": { "type": "json_schema", "schema": schema } });
    let made = config(json!({ "output_config": format }));
    assert_eq!(made["responseMimeType"], "application/json");
    assert_eq!(made["responseJsonSchema"]["properties"]["a"], json!({ "type": "string", "enum": ["b"] }));
    // The older models have functions or an answer by a schema.
    let tools = json!([{ "name": "f" }]);
    let older = try_convert(&small(&json!({ "output_config": format, "tools": tools })), "gemini-2.5-pro");
    let older: Value = serde_json::from_slice(&older.map(|made| made.body).unwrap_or_default()).unwrap();
    assert_eq!(older["generationConfig"].get("responseMimeType"), None);
    assert!(older["systemInstruction"]["parts"][0]["text"].as_str().unwrap().contains("\"const\":\"b\""));
}

#[test]
fn what_would_mean_something_else_is_refused_by_name() {
    let file = json!({ "type": "file", "file_id": "file_1" });
    let of = |kind: &str| json!({ "messages": [{ "role": "user", "content": [{ "type": kind, "source": file }] }] });
    for (request, named) in [
        (small(&of("image")), "file_id"),
        (small(&of("document")), "file_id"),
        (
            small(&json!({
                "tools": [{ "type": "code_execution_20250825", "name": "code_execution" }],
                "tool_choice": { "type": "tool", "name": "code_execution" },
            })),
            "tool_choice",
        ),
        (json!({ "max_tokens": 1 }), "messages"),
    ] {
        let refused = try_convert(&request, MODEL).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(named), "{refused}");
    }
}

#[test]
fn ends_and_errors_are_told_as_anthropic_tells_them() {
    let candidate = |reason: &str, parts: Value| {
        json!({
            "candidates": [{ "content": { "parts": parts, "role": "model" }, "finishReason": reason, "finishMessage": "Because." }],
            "usageMetadata": { "promptTokenCount": 5, "candidatesTokenCount": 2 },
            "responseId": "r1",
        })
    };
    let text = json!([{ "text": "hi" }]);
    let call = json!([{ "functionCall": { "name": "f", "args": {} } }]);
    for (answer, reason) in [
        (candidate("STOP", text.clone()), "end_turn"),
        (candidate("STOP", call.clone()), "tool_use"),
        (candidate("MAX_TOKENS", json!([])), "max_tokens"),
        (candidate("SAFETY", text.clone()), "refusal"),
        (candidate("OTHER", text.clone()), "end_turn"),
        (
            json!({ "promptFeedback": { "blockReason": "PROHIBITED_CONTENT" }, "usageMetadata": { "promptTokenCount": 7 } }),
            "refusal",
        ),
    ] {
        let made = document(convert(&small(&json!({}))), Api::Messages, &answer.to_string());
        assert_eq!(made["stop_reason"], reason, "{answer}");
        let event = format!("data: {answer}\n\n");
        let streamed = stream(convert(&small(&json!({}))), Api::Messages, &[event.as_bytes()]);
        assert_eq!(assembled(&streamed), made);
        if reason == "refusal" {
            let because = if answer.get("candidates").is_some() { "Because." } else { "PROHIBITED_CONTENT" };
            assert_eq!(made["stop_details"]["explanation"], because);
        }
    }
    for (reason, parts) in
        [("MALFORMED_FUNCTION_CALL", text), ("UNEXPECTED_TOOL_CALL", call), ("OTHER", json!([]))]
    {
        let answer = candidate(reason, parts).to_string();
        let event = format!("data: {answer}\n\ndata: {answer}\n\n");
        let streamed = events(&stream(convert(&small(&json!({}))), Api::Messages, &[event.as_bytes()]));
        assert_eq!(streamed.last().unwrap()["error"]["type"], "api_error");
        assert!(streamed.last().unwrap()["error"]["message"].as_str().unwrap().contains(reason));
        assert!(streamed.iter().all(|event| event["type"] != "message_stop"));
        assert!(convert(&small(&json!({}))).answer.document(answer.as_bytes()).is_err());
    }
    let error =
        json!({ "error": { "code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE" } });
    let streamed =
        stream(convert(&small(&json!({}))), Api::Messages, &[format!("data: {error}\n\n").as_bytes()]);
    let overloaded = json!({ "type": "overloaded_error", "message": "The model is overloaded." });
    assert_eq!(events(&streamed), [json!({ "type": "error", "error": overloaded })]);
    for nothing in ["<html>", "{}", r#"{"candidates":[{"content":{"parts":[{"text":"hi"}]}}]}"#] {
        assert!(convert(&small(&json!({}))).answer.document(nothing.as_bytes()).is_err(), "{nothing}");
    }
}

#[test]
fn an_answer_without_an_id_has_ids_of_its_own_and_counts_may_follow_its_end() {
    let chunk = |more: &str| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"functionCall\":{{\"name\":\"f\"}}}}]}}{more}\n\n"
        )
    };
    let whole = chunk("}]}")
        + &chunk(",\"finishReason\":\"STOP\"}]}")
        + "data: {\"usageMetadata\":{\"promptTokenCount\":3}}\n\n";
    let ids = |text: &str| {
        let request = small(&json!({ "messages": [{ "role": "user", "content": text }] }));
        let message = assembled(&stream(convert(&request), Api::Messages, &[whole.as_bytes()]));
        assert_eq!(
            (&message["stop_reason"], &message["usage"]["input_tokens"]),
            (&json!("tool_use"), &json!(3))
        );
        let ids = message["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| block["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let (one, other) = (ids("one"), ids("other"));
    assert_eq!(one.len(), 2);
    assert!(one[0] != one[1] && one != other && one == ids("one"));
}

#[test]
fn who_asks_for_no_thoughts_finds_text_in_the_first_block() {
    let answer = json!({
        "candidates": [{ "content": { "parts": [{ "text": "hi", "thoughtSignature": "CiQB" }] }, "finishReason": "STOP" }],
        "usageMetadata": {},
    });
    let made = document(convert(&small(&json!({}))), Api::Messages, &answer.to_string());
    assert_eq!(made["content"], json!([{ "type": "text", "text": "hi" }]));
    let thinks = small(&json!({ "thinking": { "type": "adaptive" } }));
    let made = document(convert(&thinks), Api::Messages, &answer.to_string());
    assert_eq!(made["content"][0]["type"], "thinking");
}

#[test]
fn results_stand_behind_all_calls_and_what_answers_nothing_is_told() {
    let request = small(&json!({ "messages": [
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "t1", "name": "f", "input": {} }] },
        { "role": "user", "content": "wait" },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": "one" }] },
        { "role": "assistant", "content": "ok" },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "gone", "content": "lost" }] },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "t2", "name": "f", "input": {} }] },
    ] }));
    let contents = sent(&request)["contents"].clone();
    let roles: Vec<&str> =
        contents.as_array().unwrap().iter().map(|content| content["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "model", "user", "model", "user", "model", "user"]);
    assert_eq!(
        contents[2]["parts"],
        json!([{ "functionResponse": { "name": "f", "response": { "output": "one" } } }, { "text": "wait" }])
    );
    assert!(contents[4]["parts"][0]["text"].as_str().unwrap().ends_with("lost"));
    assert!(contents[6]["parts"][0]["functionResponse"]["response"].get("error").is_some());
}

#[test]
fn tokens_are_counted_by_the_provider() {
    let traits = newest();
    let context = RequestContext {
        model: MODEL,
        traits: &traits,
        conversation: None,
        input_tokens_estimate: 0,
        now: 0,
    };
    let made = super::count_tokens(REQUEST.as_bytes(), &context).map_err(|error| error.to_string()).unwrap();
    assert_eq!(made.path_and_query, "/v1beta/models/gemini-3-pro-preview:countTokens");
    let body: Value = serde_json::from_slice(&made.body).unwrap();
    let names: Vec<&String> = body["generateContentRequest"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["model", "systemInstruction", "contents", "tools", "toolConfig"]);
    let counted = document(made, Api::Messages, r#"{"totalTokens":1234,"promptTokensDetails":[]}"#);
    assert_eq!(counted, json!({ "input_tokens": 1234 }));
}
