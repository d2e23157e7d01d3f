//! What Codex and SDKs get.

use serde_json::{Value, json};

use super::super::api::Api;
use super::super::carrier;
use super::super::testing::{document, splits_and_cuts, stream};
use super::tests::{CODEX, answer, convert, golden, sent, sent_for};
use crate::domain::model_traits::ModelTraits;

const UPSTREAM: &str = include_str!("golden/stream.sse");
const UPSTREAM_DOCUMENT: &str = include_str!("golden/message.json");

#[test]
fn a_stream_is_one_of_responses_wherever_it_is_split_and_never_whole_where_it_is_cut() {
    let made = stream(convert(CODEX), Api::Responses, &[UPSTREAM.as_bytes()]);
    assert_eq!(made, include_str!("golden/stream.responses.sse"), "{made}");
    let small = r#"{"input":"hi","tools":[{"type":"custom","name":"apply_patch"}]}"#;
    let endings = ["response.completed", "\"completed\",\"background\""];
    splits_and_cuts(|| convert(small), Api::Responses, include_str!("golden/small.sse"), &endings);
}

#[test]
fn a_document_has_the_items_of_the_stream() {
    /// Blanks in arguments are not the same.
    fn read(mut response: Value) -> Value {
        for item in response["output"].as_array_mut().unwrap() {
            if let Some(arguments) = item.get_mut("arguments").filter(|arguments| arguments.is_string()) {
                *arguments = serde_json::from_str(arguments.as_str().unwrap()).unwrap();
            }
        }
        response
    }
    let made = document(convert(CODEX), Api::Responses, UPSTREAM_DOCUMENT);
    let events = include_str!("golden/stream.responses.sse").lines();
    let completed = events.filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    let completed: Value = serde_json::from_str(completed).unwrap();
    assert_eq!(read(made), read(completed["response"].clone()));
}

#[test]
fn counts_agree_in_sum_with_the_providers() {
    let made = document(convert(CODEX), Api::Responses, UPSTREAM_DOCUMENT);
    let upstream = &golden(UPSTREAM_DOCUMENT)["usage"];
    let count = |name: &str| upstream[name].as_u64().unwrap();
    let usage = &made["usage"];
    let details = &usage["input_tokens_details"];
    assert_eq!(
        usage["input_tokens"],
        count("input_tokens") + count("cache_read_input_tokens") + count("cache_creation_input_tokens")
    );
    assert_eq!(details["cached_tokens"], count("cache_read_input_tokens"));
    assert_eq!(details["cache_write_tokens"], count("cache_creation_input_tokens"));
    assert_eq!(usage["output_tokens"], count("output_tokens"));
    assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 120);
}

#[test]
fn the_shells_and_patches_of_the_api_are_called_and_told_of() {
    let tools = json!([{ "type": "shell", "environment": { "type": "local" } }, { "type": "apply_patch" }]);
    let input = json!([
        { "role": "user", "content": "hi" },
        { "type": "shell_call", "call_id": "c1", "action": { "commands": ["ls"] }, "status": "completed" },
        {
            "type": "shell_call_output", "call_id": "c1",
            "output": [{ "stdout": "a", "stderr": "", "outcome": { "type": "exit", "exit_code": 0 } }],
        },
        {
            "type": "apply_patch_call", "call_id": "c2", "status": "completed",
            "operation": { "type": "delete_file", "path": "a" },
        },
        { "type": "apply_patch_call_output", "call_id": "c2", "status": "failed", "output": "no such file" },
    ]);
    let body = json!({ "input": input, "tools": tools });
    let made = sent(&body);
    assert_eq!(made["messages"][1]["content"][0]["input"], json!({ "commands": ["ls"] }));
    assert!(made["messages"][2]["content"][0]["content"].as_str().unwrap().contains("exit_code"));
    assert_eq!(made["messages"][3]["content"][0]["input"], json!({ "type": "delete_file", "path": "a" }));
    assert_eq!(made["messages"][4]["content"][0]["is_error"], true);
    let blocks = json!([
        { "type": "tool_use", "id": "t1", "name": "shell", "input": { "commands": "ls -l" } },
        { "type": "tool_use", "id": "t2", "name": "apply_patch", "input": { "type": "delete_file", "path": "a" } },
    ]);
    let made = answer(&body, &blocks, "tool_use");
    assert_eq!(made["output"][0]["action"], json!({ "commands": ["ls -l"] }));
    assert_eq!(made["output"][1]["operation"], json!({ "type": "delete_file", "path": "a" }));
    // Run in a container it would be another's.
    let hosted =
        json!({ "input": "hi", "tools": [{ "type": "shell", "environment": { "type": "container_auto" } }] });
    assert_eq!(sent_for(&ModelTraits::default(), &hosted).1, ["tools.shell"]);
}

#[test]
fn what_was_thought_comes_back_as_it_was() {
    for block in [
        json!({ "type": "thinking", "thinking": "hm", "signature": "abc==" }),
        json!({ "type": "thinking", "thinking": "", "signature": "abc==" }),
        json!({ "type": "redacted_thinking", "data": "xyz" }),
    ] {
        let blocks = json!([block, { "type": "text", "text": "hi" }]);
        let made = answer(&json!({ "input": "hi" }), &blocks, "end_turn");
        let mut input = vec![json!({ "role": "user", "content": "hi" })];
        input.extend(made["output"].as_array().unwrap().iter().cloned());
        input.push(json!({ "role": "user", "content": "and?" }));
        assert_eq!(sent(&json!({ "input": input }))["messages"][1]["content"], blocks);
    }
    // Another's is not sent; nor is what nobody has signed.
    let foreign =
        carrier::pack(Api::Gemini, &json!({ "type": "thinking", "thinking": "a", "signature": "b" }));
    let input = json!([
        { "role": "user", "content": "hi" },
        { "type": "reasoning", "summary": [], "encrypted_content": foreign },
        { "role": "assistant", "content": "hi" },
        { "role": "user", "content": "and?" },
    ]);
    let (made, dropped) = sent_for(&ModelTraits::default(), &json!({ "input": input }));
    assert_eq!(made["messages"][1]["content"], json!([{ "type": "text", "text": "hi" }]));
    assert_eq!(dropped, ["input.reasoning"]);
    let unsigned = json!([{ "type": "thinking", "thinking": "a", "signature": "" }]);
    assert_eq!(
        answer(&json!({ "input": "hi" }), &unsigned, "end_turn")["output"][0].get("encrypted_content"),
        None
    );
}

#[test]
fn an_answer_ends_as_the_provider_says_that_it_does() {
    let body = json!({ "input": "hi", "tools": [{ "type": "function", "name": "f" }, { "type": "custom", "name": "g" }] });
    let text = json!([{ "type": "text", "text": "hi" }]);
    for (reason, status, details) in [
        ("end_turn", "completed", Value::Null),
        ("stop_sequence", "completed", Value::Null),
        ("pause_turn", "completed", Value::Null),
        ("max_tokens", "incomplete", json!({ "reason": "max_output_tokens" })),
        ("refusal", "incomplete", json!({ "reason": "content_filter" })),
    ] {
        let made = answer(&body, &text, reason);
        assert_eq!((&made["status"], &made["incomplete_details"]), (&json!(status), &details), "{reason}");
        assert_eq!(made["output"][0]["status"], status, "{reason}");
    }
    let made = answer(&body, &text, "model_context_window_exceeded");
    assert_eq!(
        (&made["status"], &made["error"]["code"]),
        (&json!("failed"), &json!("context_length_exceeded"))
    );

    // Calls that are cut short: one that can say so does, another is not told of.
    let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let mut upstream =
        event(json!({ "type": "message_start", "message": { "id": "msg_1", "model": "claude" } }));
    for name in ["f", "g"] {
        let block = json!({ "type": "tool_use", "id": name, "name": name, "input": {} });
        upstream += &event(json!({ "type": "content_block_start", "index": 0, "content_block": block }));
        let delta = json!({ "type": "input_json_delta", "partial_json": "{\"input\": \"*** Del" });
        upstream += &event(json!({ "type": "content_block_delta", "index": 0, "delta": delta }));
        upstream += &event(json!({ "type": "content_block_stop", "index": 0 }));
    }
    upstream +=
        &event(json!({ "type": "message_delta", "delta": { "stop_reason": "max_tokens" }, "usage": {} }));
    upstream += &event(json!({ "type": "message_stop" }));
    let made = stream(convert(&body.to_string()), Api::Responses, &[upstream.as_bytes()]);
    assert!(made.contains("event: response.incomplete\n") && !made.contains("custom_tool_call"), "{made}");
    assert!(made.contains(r#""arguments":"{\"input\": \"*** Del","status":"incomplete""#), "{made}");
}

#[test]
fn an_error_in_a_stream_is_one_that_codex_knows() {
    let start = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"c\"}}\n\n";
    for (kind, message, code) in [
        ("overloaded_error", "Overloaded", "server_is_overloaded"),
        ("rate_limit_error", "slow down", "rate_limit_exceeded"),
        ("invalid_request_error", "prompt is too long: 2 tokens > 1 maximum", "context_length_exceeded"),
        ("invalid_request_error", "no", "invalid_prompt"),
        ("api_error", "oops", "server_error"),
    ] {
        let error = json!({ "type": "error", "error": { "type": kind, "message": message } });
        let late = "data: {\"type\":\"message_stop\"}\n\n";
        let upstream = format!("{start}event: error\ndata: {error}\n\n{late}");
        let made = stream(convert(r#"{"input":"hi"}"#), Api::Responses, &[upstream.as_bytes()]);
        let last = made.trim_end().lines().last().unwrap().strip_prefix("data: ").unwrap();
        let last: Value = serde_json::from_str(last).unwrap();
        assert_eq!(last["type"], "response.failed");
        assert_eq!(last["response"]["error"], json!({ "code": code, "message": message }));
    }
}
