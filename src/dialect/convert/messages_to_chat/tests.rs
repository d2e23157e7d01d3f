//! Golden requests and answers, and what servers make of the API.

use serde_json::{Value, json};

use super::request;
use crate::dialect::convert::api::Api;
use crate::dialect::convert::chat_target::reasoning;
use crate::dialect::convert::chat_target::testing::{self, answered, cut_anywhere, dropped, first_of, sent};
use crate::dialect::convert::contract::{ConvertedRequest, NotConverted};
use crate::dialect::convert::tool_names::bounded;
use crate::domain::model_traits::{Effort, ModelTraits, Reasoning};

const LONG: &str = "mcp__a_server_with_a_very_long_name_that_nobody_would_expect__read_multiple_files";

/// A golden file with the names that are made in it.
fn golden(text: &str, model: &str) -> String {
    let carrier = reasoning::pack(model, Some("reasoning_content"), None, &[]);
    text.replace("@LONG@", &bounded(LONG)).replace("@CARRIER@", &carrier)
}

fn claude_code() -> String {
    golden(include_str!("golden/claude_code.json"), "qwen3-coder")
}

fn local() -> ModelTraits {
    ModelTraits { max_output_tokens: Some(16_384), ..ModelTraits::default() }
}

fn convert(body: &str, model: &str, traits: &ModelTraits) -> ConvertedRequest {
    testing::converted(request, body, model, traits).unwrap()
}

fn small(members: &Value) -> String {
    let mut request = json!({"model": "m", "max_tokens": 9, "stream": true,
        "messages": [{"role": "user", "content": "Hi"}]});
    request.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    request.to_string()
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn claude_code_is_understood_by_a_compatible_server() {
    let made = convert(&claude_code(), "qwen3-coder", &local());
    let expected = json_of(&golden(include_str!("golden/claude_code.chat.json"), "qwen3-coder"));
    assert_eq!(
        serde_json::to_string_pretty(&sent(&made)).unwrap(),
        serde_json::to_string_pretty(&expected).unwrap()
    );
    assert_eq!(
        dropped(&made),
        [
            "cache_control",
            "context_management",
            "stop_sequences",
            "tools.cache_control",
            "tools.web_search",
            "top_k"
        ]
    );
}

#[test]
fn an_sdks_request_becomes_one_that_openai_takes() {
    let traits = ModelTraits {
        sampling: false,
        reasoning: Reasoning::Effort(vec![Effort::Low, Effort::Medium, Effort::High]),
        ..ModelTraits::default()
    };
    let made = convert(include_str!("golden/sdk.json"), "gpt-5.6", &traits);
    let expected = json_of(include_str!("golden/sdk.chat.json"));
    assert_eq!(
        serde_json::to_string_pretty(&sent(&made)).unwrap(),
        serde_json::to_string_pretty(&expected).unwrap()
    );
    assert_eq!(dropped(&made), ["stop_sequences", "temperature", "top_p"]);
}

#[test]
fn a_turn_is_the_beginning_of_the_next() {
    let whole = claude_code();
    for model in ["qwen3-coder", "gpt-5.6", "kimi-k2.5"] {
        let last = sent(&convert(&whole, model, &local()));
        let messages = last["messages"].as_array().unwrap();
        // Wherever it is the model's turn.
        for count in [1, 3] {
            let turn = sent(&convert(&first_of(&whole, "messages", count), model, &local()));
            let own = turn["messages"].as_array().unwrap();
            assert_eq!(own.as_slice(), &messages[..own.len()], "{model} {count}");
            assert_eq!(turn["tools"].to_string(), last["tools"].to_string());
        }
    }
}

#[test]
fn what_would_be_another_request_is_refused_and_what_tunes_is_left_out() {
    let refused = |members: &Value, traits: &ModelTraits| match testing::converted(
        request,
        &small(members),
        "m",
        traits,
    ) {
        Err(NotConverted::Unsupported { field, .. }) => field,
        Err(other) => panic!("{other}"),
        Ok(_) => String::new(),
    };
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    let base64 = |kind: &str| json!({"type": "base64", "media_type": kind, "data": "AA=="});
    let blind = ModelTraits { images: false, documents: false, tools: false, ..ModelTraits::default() };
    let all = ModelTraits::default();
    let search = json!([{"type": "web_search_20250305", "name": "web_search"}]);
    for (members, traits, field) in [
        (part(json!({"type": "image", "source": base64("image/png")})), &blind, "messages.content.image"),
        (part(json!({"type": "image", "source": base64("image/png")})), &all, ""),
        (
            part(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
            &all,
            "messages.content.image",
        ),
        (
            part(json!({"type": "document", "source": base64("application/pdf")})),
            &blind,
            "messages.content.document",
        ),
        (
            part(json!({"type": "document", "source": {"type": "url", "url": "https://example.com/"}})),
            &all,
            "messages.content.document",
        ),
        (
            json!({"tools": search, "tool_choice": {"type": "tool", "name": "web_search"}}),
            &all,
            "tool_choice",
        ),
        (json!({"tools": search, "tool_choice": {"type": "any"}}), &all, "tool_choice"),
        (json!({"tools": search, "tool_choice": {"type": "auto"}}), &all, ""),
        (json!({"tools": [{"name": "a", "input_schema": {}}]}), &blind, "tools"),
        (json!({"output_config": {"format": {"type": "grammar"}}}), &all, "output_config.format"),
    ] {
        assert_eq!(refused(&members, traits), field, "{members}");
    }
    // What a tool has found does not end the conversation.
    let found = json!({"messages": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "Read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [
            {"type": "image", "source": base64("image/png")}]}]},
    ]});
    let made = convert(&small(&found), "m", &ModelTraits { tools: true, ..blind.clone() });
    assert!(sent(&made)["messages"][1]["content"].as_str().unwrap().contains("cannot be read"));
    assert_eq!(dropped(&made), ["messages.content.tool_result"]);

    let extras = json!({"container": "c", "speed": "fast", "fallbacks": [], "inference_geo": "us",
        "mcp_servers": [{}], "service_tier": "auto", "output_config": {"task_budget": {}, "effort": "low"}});
    let made =
        convert(&small(&extras), "m", &ModelTraits { reasoning: Reasoning::None, ..ModelTraits::default() });
    assert_eq!(
        dropped(&made),
        [
            "container",
            "fallbacks",
            "inference_geo",
            "mcp_servers",
            "output_config.effort",
            "output_config.task_budget",
            "service_tier",
            "speed"
        ]
    );
}

#[test]
fn a_tool_is_strict_where_its_schema_is_one_that_openai_takes_as_strict() {
    let open = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": []});
    let mut closed = open.clone();
    closed["additionalProperties"] = json!(false);
    closed["required"] = json!(["a"]);
    for (schema, asked, expected, left_out) in [
        (&closed, true, true, false),
        (&closed, false, false, false),
        (&open, true, false, true),
        (&open, false, false, false),
    ] {
        let tools = json!({"tools": [{"name": "f", "strict": asked, "input_schema": schema}]});
        let made = convert(&small(&tools), "gpt-5.6", &local());
        assert_eq!(sent(&made)["tools"][0]["function"]["strict"], expected, "{schema}");
        assert_eq!(dropped(&made).contains(&"tools.strict"), left_out, "{schema}");
    }
}

#[test]
fn a_model_is_told_to_think_in_words_that_its_server_has() {
    let effort = |model: &str, reasoning: &Reasoning, members: Value| {
        let traits = ModelTraits { reasoning: reasoning.clone(), ..ModelTraits::default() };
        sent(&convert(&small(&members), model, &traits))["reasoning_effort"].clone()
    };
    let off = json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}});
    let most = json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}});
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 20_000}});
    let some = Reasoning::Effort(vec![Effort::None, Effort::Low, Effort::Xhigh]);
    for (model, reasoning, members, expected) in [
        ("local", &Reasoning::Unknown, &off, Value::Null),
        ("local", &Reasoning::Unknown, &most, json!("high")),
        ("gpt-5.6", &Reasoning::Unknown, &most, json!("max")),
        ("gpt-5.6", &some, &off, json!("none")),
        ("gpt-5.6", &some, &most, json!("xhigh")),
        ("local", &some, &budget, json!("low")),
        ("local", &Reasoning::Unknown, &budget, json!("high")),
        ("local", &Reasoning::Unknown, &json!({"thinking": {"type": "adaptive"}}), Value::Null),
    ] {
        assert_eq!(effort(model, reasoning, members.clone()), expected, "{model} {members}");
    }
}

#[test]
fn a_document_becomes_a_message() {
    let body = claude_code();
    let answer = golden(include_str!("golden/document.json"), "deepseek-v4");
    let made = convert(&body, "deepseek-v4", &local());
    let made = json_of(&answered(made, Api::Messages, false, &[answer.as_bytes()]));
    let expected = json_of(&golden(include_str!("golden/document.messages.json"), "deepseek-v4"));
    assert_eq!(
        serde_json::to_string_pretty(&made).unwrap(),
        serde_json::to_string_pretty(&expected).unwrap()
    );

    // The caller sends it back, and the server gets its own words again.
    let next = json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": made["content"]}]});
    let message = json_of(&answer)["choices"][0]["message"].clone();
    let back = sent(&convert(&small(&next), "deepseek-v4", &local()))["messages"][1].clone();
    for member in ["role", "content", "reasoning_content"] {
        assert_eq!(back[member], message[member], "{member}");
    }
    assert_eq!(back["tool_calls"][0]["id"], message["tool_calls"][0]["id"]);
    let other = sent(&convert(&small(&next), "qwen3", &local()))["messages"][1].clone();
    assert_eq!(other.get("reasoning_content"), None, "another model's thoughts are dropped");
}

#[test]
fn a_stream_becomes_a_stream_of_messages() {
    let body = claude_code();
    let stream = golden(include_str!("golden/stream.sse"), "qwen3-coder");
    let made = convert(&body, "qwen3-coder", &local());
    let made = answered(made, Api::Messages, true, &[stream.as_bytes()]);
    let expected = golden(include_str!("golden/stream.messages.sse"), "qwen3-coder");
    assert_eq!(made, expected);
    let tools = small(&json!({"tools": [{"name": LONG, "input_schema": {}}]}));
    cut_anywhere(
        || convert(&tools, "qwen3-coder", &local()),
        Api::Messages,
        &stream,
        "\"finish_reason\":\"tool_calls\"",
        &["message_stop", "message_delta"],
    );
}

/// The last events' stop reason and usage, or the error.
fn end_of(chunks: &[Value], done: bool) -> String {
    let mut stream: String =
        chunks.iter().fold(String::new(), |stream, chunk| stream + &format!("data: {chunk}\n\n"));
    if done {
        stream.push_str("data: [DONE]\n\n");
    }
    let request = convert(&small(&json!({"stop_sequences": ["END"]})), "m", &ModelTraits::default());
    let made = answered(request, Api::Messages, true, &[stream.as_bytes()]);
    let events = made.lines().filter_map(|line| line.strip_prefix("data: ")).map(json_of);
    let said = events.filter_map(|event| match event["type"].as_str() {
        Some("message_delta") => Some(format!(
            "{} {} {}/{}",
            event["delta"]["stop_reason"].as_str().unwrap(),
            event["delta"]["stop_sequence"],
            event["usage"]["input_tokens"],
            event["usage"]["output_tokens"]
        )),
        Some("message_stop") => Some("over".to_owned()),
        Some("error") => Some(format!("{} {}", event["error"]["type"], event["error"]["message"])),
        _ => None,
    });
    said.collect::<Vec<_>>().join(", ")
}

#[test]
fn an_answer_ends_as_its_server_says() {
    let text = json!({"id": "1", "choices": [{"index": 0, "delta": {"content": "abcdefgh"}}]});
    let call = json!({"id": "1", "choices": [{"index": 0, "delta": {"tool_calls": [
        {"id": "a", "function": {"name": "f", "arguments": "{}"}}]}}]});
    let end = |reason: &str| json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
    let usage =
        json!({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}});
    let stop = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"}]});
    let refusal = json!({"choices": [{"index": 0, "delta": {"refusal": "No."}}]});
    let error = json!({"error": {"message": "out of memory", "type": "server_error", "code": 500}});
    let chunk = |one: &Value| one.clone();
    for (chunks, done, expected) in [
        (vec![chunk(&text), end("stop"), chunk(&usage)], true, "end_turn null 5/3, over"),
        (vec![chunk(&text), end("length"), chunk(&usage)], false, "max_tokens null 5/3, over"),
        (vec![chunk(&text), end("content_filter"), chunk(&usage)], true, "refusal null 5/3, over"),
        (vec![chunk(&refusal), end("stop"), chunk(&usage)], true, "refusal null 5/3, over"),
        (vec![chunk(&text), chunk(&stop), chunk(&usage)], true, "stop_sequence \"END\" 5/3, over"),
        // A call is one whatever the server says that it stopped for; nothing is one without a call.
        (vec![chunk(&call), end("stop"), chunk(&usage)], true, "tool_use null 5/3, over"),
        (vec![chunk(&text), end("tool_calls"), chunk(&usage)], true, "end_turn null 5/3, over"),
        // Servers that do not say what was used, or why they stopped.
        (vec![chunk(&text), end("stop")], false, "end_turn null 777/2, over"),
        (vec![chunk(&call)], true, "tool_use null 777/1, over"),
        (vec![chunk(&text)], false, "\"api_error\" \"the provider's answer broke off\""),
        // Errors.
        (vec![chunk(&text), chunk(&error)], true, "\"api_error\" \"out of memory\""),
        (vec![chunk(&error)], true, "\"api_error\" \"out of memory\""),
        (
            vec![chunk(&text), end("insufficient_system_resource")],
            true,
            "\"overloaded_error\" \"the provider is short of resources\"",
        ),
        (vec![], true, "\"api_error\" \"the provider's answer is empty\""),
    ] {
        assert_eq!(end_of(&chunks, done), expected, "{chunks:?}");
    }
}

#[test]
fn thoughts_are_said_to_those_who_ask_and_can_send_them_back() {
    let answer = json!({"id": "1", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"reasoning": "hm", "content": "Hi"}}]})
    .to_string();
    let content = |members: Value| {
        let request = convert(&small(&members), "m", &ModelTraits::default());
        json_of(&answered(request, Api::Messages, false, &[answer.as_bytes()]))["content"].clone()
    };
    assert_eq!(content(json!({})), json!([{"type": "text", "text": "Hi"}]));
    let tools = json!({"tools": [{"name": "f", "input_schema": {"type": "object"}}]});
    assert_eq!(content(tools)[0]["thinking"], "hm");
    let omitted = content(json!({"thinking": {"type": "adaptive", "display": "omitted"}}));
    assert_eq!(omitted[0]["thinking"], "");
    let next = json!({"messages": [{"role": "assistant", "content": omitted}]});
    let back = sent(&convert(&small(&next), "m", &ModelTraits::default()));
    assert_eq!(back["messages"][0], json!({"role": "assistant", "content": "Hi", "reasoning": "hm"}));
}

#[test]
fn arguments_that_the_limit_cut_make_no_call_in_a_document() {
    let answer = |reason: &str| {
        let call =
            json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"a\": \"b"}});
        json!({"id": "1", "choices": [{"index": 0, "finish_reason": reason,
            "message": {"content": "Hi", "tool_calls": [call]}}]})
        .to_string()
    };
    let request = || convert(&small(&json!({})), "m", &ModelTraits::default());
    let made = json_of(&answered(request(), Api::Messages, false, &[answer("length").as_bytes()]));
    assert_eq!(
        (&made["stop_reason"], &made["content"]),
        (&json!("max_tokens"), &json!([{"type": "text", "text": "Hi"}]))
    );
    assert!(request().answer.document(answer("tool_calls").as_bytes()).is_err());
}
