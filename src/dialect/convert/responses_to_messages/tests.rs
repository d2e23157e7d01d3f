//! Requests of Codex and of SDKs.

use serde_json::{Value, json};

use super::super::api::Api;
use super::super::contract::{ConvertedRequest, NotConverted, RequestContext};
use super::super::testing::document;
use super::request;
use crate::domain::model_traits::{Effort, ModelTraits, Reasoning};

pub(super) const CODEX: &str = include_str!("golden/codex.json");
const SDK: &str = include_str!("golden/sdk.json");

fn convert_for(traits: &ModelTraits, body: &str) -> Result<ConvertedRequest, NotConverted> {
    let context = RequestContext {
        model: "claude-opus-4-7",
        traits,
        conversation: None,
        input_tokens_estimate: 0,
        now: 1_796_000_000,
    };
    request(body.as_bytes(), &context)
}

pub(super) fn convert(body: &str) -> ConvertedRequest {
    convert_for(&ModelTraits::default(), body).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn sent_for(traits: &ModelTraits, body: &Value) -> (Value, Vec<&'static str>) {
    let made = convert_for(traits, &body.to_string()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(made.path_and_query, "/v1/messages");
    (serde_json::from_slice(&made.body).unwrap(), made.dropped.iter().collect())
}

pub(super) fn sent(body: &Value) -> Value {
    sent_for(&ModelTraits::default(), body).0
}

pub(super) fn golden(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What the caller's items are of an answer with these blocks.
pub(super) fn answer(request: &Value, blocks: &Value, stop_reason: &str) -> Value {
    let upstream = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": blocks,
        "stop_reason": stop_reason, "usage": { "input_tokens": 1, "output_tokens": 2 },
    });
    document(convert(&request.to_string()), Api::Responses, &upstream.to_string())
}

#[test]
fn a_request_of_codex_is_one_of_messages() {
    let made = convert(CODEX);
    let sent: Value = serde_json::from_slice(&made.body).unwrap();
    assert_eq!(sent, golden(include_str!("golden/codex.messages.json")), "{sent:#}");
    assert_eq!(
        made.dropped.iter().collect::<Vec<_>>(),
        [
            "input.reasoning",
            "input.web_search_call",
            "input_image.detail",
            "service_tier",
            "text.verbosity",
            "tools.image_generation",
        ]
    );
}

#[test]
fn a_request_of_an_sdk_is_one_of_messages() {
    let made = convert(SDK);
    let sent: Value = serde_json::from_slice(&made.body).unwrap();
    assert_eq!(sent, golden(include_str!("golden/sdk.messages.json")), "{sent:#}");
    assert_eq!(made.dropped.iter().collect::<Vec<_>>(), ["temperature", "top_p"]);
}

#[test]
fn each_turn_begins_as_the_one_before() {
    fn without_marks(mut value: Value) -> Value {
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
        strip(&mut value);
        value
    }
    let whole = golden(CODEX);
    let items = whole["input"].as_array().unwrap();
    // Where Codex sends a request: behind what the user says, and behind the outputs of calls.
    let ends = (4..=items.len()).filter(|end| {
        let kind = |at: usize| items.get(at).map(|item| item["type"].as_str().unwrap());
        let is_said =
            |kind: Option<&str>| kind.is_some_and(|kind| kind == "message" || kind.ends_with("_output"));
        is_said(kind(end - 1))
            && items[end - 1]["role"] != "assistant"
            && kind(*end) != Some("function_call_output")
            || *end == items.len()
    });
    let mut before: Option<Value> = None;
    let mut turns = 0;
    for end in ends {
        let mut turn = whole.clone();
        turn["input"].as_array_mut().unwrap().truncate(end);
        let made = without_marks(sent(&turn));
        if let Some(before) = before.replace(made.clone()) {
            assert_eq!(made["system"].to_string(), before["system"].to_string());
            let tools = |value: &Value| value["tools"].to_string().trim_end_matches(']').to_owned();
            assert!(tools(&made).starts_with(&tools(&before)), "{end}");
            let blocks = |value: &Value| -> Vec<String> {
                let messages = value["messages"].as_array().unwrap().iter();
                let blocks = messages.flat_map(|message| {
                    let role = message["role"].clone();
                    message["content"].as_array().unwrap().iter().map(move |block| format!("{role} {block}"))
                });
                blocks.collect()
            };
            let (before, made) = (blocks(&before), blocks(&made));
            assert!(made.starts_with(&before), "{end}: {before:#?} {made:#?}");
        }
        turns += 1;
    }
    assert!(turns > 5, "{turns}");
}

#[test]
fn what_would_be_another_request_is_refused_by_name() {
    let input = json!([{ "role": "user", "content": "hi" }]);
    for (field, value) in [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("background", json!(true)),
        ("prompt", json!({ "id": "pmpt_1" })),
        ("top_logprobs", json!(3)),
        ("tool_choice", json!({ "type": "file_search" })),
        ("text.format", json!(null)),
        ("input.item_reference", json!(null)),
        ("input.compaction", json!(null)),
        ("input_audio", json!(null)),
        ("input_image.file_id", json!(null)),
        ("input_file.file_data", json!(null)),
    ] {
        let mut body = json!({ "input": input });
        match field {
            "text.format" => body["text"] = json!({ "format": { "type": "xml" } }),
            "input.item_reference" => body["input"] = json!([{ "id": "msg_1" }]),
            "input.compaction" => body["input"] = json!([{ "type": "compaction", "encrypted_content": "x" }]),
            "input_audio" => {
                body["input"][0]["content"] = json!([{ "type": "input_audio", "input_audio": {} }]);
            }
            "input_image.file_id" => {
                body["input"][0]["content"] = json!([{ "type": "input_image", "file_id": "file_1" }]);
            }
            "input_file.file_data" => {
                let data = "data:application/zip;base64,AAAA";
                body["input"][0]["content"] = json!([{ "type": "input_file", "file_data": data }]);
            }
            _ => body[field] = value,
        }
        match convert_for(&ModelTraits::default(), &body.to_string()).err() {
            Some(NotConverted::Unsupported { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    for unreadable in ["{", r#"{"input":7}"#, r#"{"input":[]}"#, r#"{"input":[{"type":"function_call"}]}"#] {
        let error = convert_for(&ModelTraits::default(), unreadable).err();
        assert!(matches!(error, Some(NotConverted::Unreadable(_))), "{unreadable}: {error:?}");
    }
}

#[test]
fn what_is_thought_is_asked_for_as_the_model_takes_it() {
    let taken = vec![Effort::Low, Effort::Medium, Effort::High, Effort::Max];
    let effort =
        ModelTraits { reasoning: Reasoning::Effort(taken), sampling: false, ..ModelTraits::default() };
    let budget = ModelTraits { reasoning: Reasoning::Budget, ..ModelTraits::default() };
    let none = ModelTraits { reasoning: Reasoning::None, ..ModelTraits::default() };
    let unknown = ModelTraits::default();
    let tool = json!([{ "type": "function", "name": "f", "parameters": {} }]);
    let body = |reasoning: Value| json!({ "input": "hi", "reasoning": reasoning, "temperature": 0.5 });
    let adaptive = json!({ "type": "adaptive", "display": "summarized" });
    for (traits, reasoning, thinking, sent_effort, dropped) in [
        (
            &effort,
            json!({ "effort": "high", "summary": "auto" }),
            adaptive.clone(),
            json!("high"),
            vec!["temperature"],
        ),
        (
            &effort,
            json!({ "effort": "minimal" }),
            json!({ "type": "adaptive" }),
            json!("low"),
            vec!["temperature"],
        ),
        (
            &effort,
            json!({ "effort": "xhigh" }),
            json!({ "type": "adaptive" }),
            json!("high"),
            vec!["temperature"],
        ),
        (&effort, json!({ "summary": "auto" }), adaptive, Value::Null, vec!["temperature"]),
        (
            &unknown,
            json!({ "effort": "xhigh" }),
            json!({ "type": "adaptive" }),
            json!("xhigh"),
            vec!["temperature"],
        ),
        (&unknown, json!({ "effort": "none" }), json!({ "type": "disabled" }), Value::Null, vec![]),
        (&unknown, json!({ "summary": "auto" }), Value::Null, Value::Null, vec![]),
        (
            &budget,
            json!({ "effort": "medium" }),
            json!({ "type": "enabled", "budget_tokens": 8192 }),
            Value::Null,
            vec!["temperature"],
        ),
        (&none, json!({ "effort": "high" }), Value::Null, Value::Null, vec!["reasoning.effort"]),
    ] {
        let (made, left) = sent_for(traits, &body(reasoning.clone()));
        assert_eq!(made["thinking"], thinking, "{reasoning}");
        assert_eq!(made["output_config"]["effort"], sent_effort, "{reasoning}");
        assert_eq!(left, dropped, "{reasoning}");
        assert_eq!(made.get("temperature").is_some(), !left.contains(&"temperature"), "{reasoning}");
    }
    // A tool that has to be called, and thoughts, are not taken together; nor thoughts that there is no room for; nor
    // is anything thought on where a budget is given and the turn's own thoughts were another's.
    let mut forced = body(json!({ "effort": "high" }));
    forced["tools"] = tool;
    forced["tool_choice"] = "required".into();
    for traits in [&effort, &budget, &unknown] {
        let (made, _) = sent_for(traits, &forced);
        assert_eq!((&made["thinking"], &made["tool_choice"]["type"]), (&Value::Null, &json!("any")));
    }
    let mut short = body(json!({ "effort": "high" }));
    short["max_output_tokens"] = 1_000.into();
    let (made, left) = sent_for(&budget, &short);
    assert_eq!((&made["thinking"], left), (&Value::Null, vec!["reasoning.effort"]));
    short["max_output_tokens"] = 4_000.into();
    assert_eq!(sent_for(&budget, &short).0["thinking"]["budget_tokens"], 3_999);
    let mut foreign = body(json!({ "effort": "high" }));
    foreign["input"] = json!([
        { "role": "user", "content": "hi" },
        { "type": "reasoning", "summary": [], "encrypted_content": "gAAAA" },
        { "type": "function_call", "name": "f", "call_id": "c", "arguments": "{}" },
        { "type": "function_call_output", "call_id": "c", "output": "x" },
    ]);
    assert_eq!(sent_for(&budget, &foreign).0["thinking"], Value::Null);
    assert_eq!(sent_for(&effort, &foreign).0["thinking"]["type"], "adaptive");
}

#[test]
fn an_answer_is_as_long_as_the_model_or_the_caller_allows() {
    let known = ModelTraits { max_output_tokens: Some(64_000), ..ModelTraits::default() };
    for (traits, asked, expected) in [
        (&ModelTraits::default(), json!(null), 32_000),
        (&known, json!(null), 64_000),
        (&known, json!(100), 100),
        (&known, json!(200_000), 64_000),
    ] {
        let body = json!({ "input": "hi", "max_output_tokens": asked });
        assert_eq!(sent_for(traits, &body).0["max_tokens"], expected);
    }
}

#[test]
fn a_tool_is_chosen_by_the_name_that_is_sent() {
    let tools = json!([
        { "type": "function", "name": "a", "parameters": null },
        { "type": "namespace", "name": "ns", "description": "d", "tools": [{ "type": "function", "name": "b" }] },
        { "type": "function", "name": "ns__b" },
        { "type": "web_search" },
    ]);
    let body = |choice: Value| json!({ "input": "hi", "tools": tools, "tool_choice": choice });
    let names = |made: &Value| -> Vec<String> {
        made["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let made = sent(&body(json!("none")));
    assert_eq!(made["tool_choice"], json!({ "type": "none" }));
    let all = names(&made);
    assert_eq!(all[..3], ["web_search", "a", "ns__b"]);
    assert!(all[3] != all[2] && all[3].starts_with("ns__b"), "{all:?}");
    assert_eq!(made["tools"][1]["input_schema"], json!({ "type": "object", "properties": {} }));

    let made = sent(&body(json!({ "type": "function", "name": "a" })));
    assert_eq!(made["tool_choice"], json!({ "type": "tool", "name": "a" }));
    let made = sent(&body(json!({ "type": "web_search" })));
    assert_eq!(made["tool_choice"], json!({ "type": "tool", "name": "web_search" }));
    let allowed = json!({ "type": "allowed_tools", "mode": "required", "tools": [{ "type": "function", "name": "a" }] });
    let made = sent(&body(allowed));
    assert_eq!((names(&made), &made["tool_choice"]["type"]), (vec!["a".to_owned()], &json!("any")));

    // Both are the caller's own again.
    let blocks = json!([
        { "type": "tool_use", "id": "t1", "name": all[2], "input": {} },
        { "type": "tool_use", "id": "t2", "name": all[3], "input": { "x": 1 } },
    ]);
    let made = answer(&body(json!("auto")), &blocks, "tool_use");
    let call = |at: usize| (made["output"][at]["name"].clone(), made["output"][at]["namespace"].clone());
    assert_eq!(call(0), (json!("b"), json!("ns")));
    assert_eq!(call(1), (json!("ns__b"), Value::Null));
    assert_eq!(made["output"][0]["arguments"], "{}");
    assert_eq!(made["output"][1]["arguments"], "{\"x\":1}");
}

#[test]
fn calls_that_share_an_id_are_told_apart() {
    let call = |arguments: &str| json!({ "type": "function_call", "name": "f", "call_id": "c", "arguments": arguments });
    let output = |text: &str| json!({ "type": "function_call_output", "call_id": "c", "output": text });
    let body = json!({ "input": [
        { "role": "user", "content": "hi" }, call("{}"), output("one"), call("not json"), output("two"),
    ] });
    let made = sent(&body);
    let block = |at: usize| made["messages"][at]["content"][0].clone();
    assert_eq!((&block(1)["id"], &block(2)["content"]), (&json!("c"), &json!("one")));
    assert_eq!((&block(3)["id"], &block(4)["content"]), (&block(4)["tool_use_id"], &json!("two")));
    assert_ne!(block(1)["id"], block(3)["id"]);
    assert_eq!(block(3)["input"], json!({ "arguments": "not json" }));
    // Its tools are named, though nobody may call them now.
    assert_eq!((&made["tools"][0]["name"], &made["tool_choice"]["type"]), (&json!("f"), &json!("none")));
}
