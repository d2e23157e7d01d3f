//! Answers of every API.

use serde_json::{Value, json};
use sproxy_foundation::dialect::convert::Api;

use super::{arguments, name, said};
use crate::random::Random;

/// An answer in an API.
pub fn answer(api: Api, random: &mut Random) -> Value {
    match api {
        Api::Messages => message(random),
        Api::Responses => response(random),
        Api::Chat => completion(random),
        Api::Gemini => candidates(random),
    }
}

fn message(random: &mut Random) -> Value {
    let mut content = Vec::new();
    if random.once_in(3) {
        content.push(json!({ "type": "thinking", "thinking": said(random), "signature": "EqQBCgIYAhIM" }));
    }
    if random.once_in(8) {
        content.push(json!({ "type": "redacted_thinking", "data": "EmwKAhgB" }));
    }
    if !random.once_in(4) {
        content.push(json!({ "type": "text", "text": said(random) }));
    }
    let calls = random.below(4);
    for call in 0..calls {
        let (name, input) = (name(random), arguments(random));
        content
            .push(json!({ "type": "tool_use", "id": format!("toolu_{call}"), "name": name, "input": input }));
    }
    let reasons = ["end_turn", "max_tokens", "refusal", "stop_sequence"];
    let reason = if calls > 0 { "tool_use" } else { random.of(&reasons) };
    let mut message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-7-20260401",
        "content": content, "stop_reason": reason,
        "stop_sequence": if reason == "stop_sequence" { json!("END") } else { Value::Null },
        "usage": {
            "input_tokens": 25, "output_tokens": 50,
            "cache_creation_input_tokens": random.of(&[0, 12]),
            "cache_read_input_tokens": random.of(&[0, 18]),
        },
    });
    // Where it is not said, theirs has no answer of Responses.
    if !random.once_in(10) {
        message["usage"]["output_tokens_details"] = json!({ "thinking_tokens": 20 });
    }
    message
}

fn response(random: &mut Random) -> Value {
    let mut output = Vec::new();
    if random.once_in(3) {
        output.push(json!({
            "type": "reasoning", "id": "rs_1", "encrypted_content": "gAAAAA",
            "summary": [{ "type": "summary_text", "text": said(random) }],
        }));
    }
    let is_refused = random.once_in(8);
    if is_refused {
        output.push(json!({
            "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{ "type": "refusal", "refusal": "I cannot." }],
        }));
    } else if !random.once_in(4) {
        output.push(json!({
            "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{ "type": "output_text", "text": said(random), "annotations": [], "logprobs": [] }],
        }));
    }
    let calls = if is_refused { 0 } else { random.below(4) };
    for call in 0..calls {
        let (name, arguments) = (name(random), arguments(random).to_string());
        output.push(json!({
            "type": "function_call", "id": format!("fc_{call}"), "call_id": format!("call_{call}"),
            "name": name, "arguments": arguments, "status": "completed",
        }));
    }
    let reason = random.of(&[None, None, Some("max_output_tokens"), Some("content_filter")]);
    let reason = reason.filter(|_| calls == 0 && !is_refused);
    json!({
        "id": "resp_1", "object": "response", "created_at": 1_796_000_000, "model": "gpt-5.6-2026-08-01",
        "status": if reason.is_some() { "incomplete" } else { "completed" },
        "incomplete_details": reason.map(|reason| json!({ "reason": reason })),
        "error": null, "instructions": null, "metadata": {}, "parallel_tool_calls": true,
        "temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": [], "output": output,
        "usage": {
            "input_tokens": 40, "output_tokens": 50, "total_tokens": 90,
            "input_tokens_details": { "cached_tokens": random.of(&[0, 18]), "cache_write_tokens": random.of(&[0, 12]) },
            "output_tokens_details": { "reasoning_tokens": random.of(&[0, 20]) },
        },
    })
}

fn completion(random: &mut Random) -> Value {
    let mut message = json!({ "role": "assistant", "content": said(random), "refusal": null });
    if random.once_in(3) {
        message["reasoning_content"] = said(random).into();
    }
    let calls = random.below(4);
    if calls > 0 {
        if random.once_in(2) {
            message["content"] = Value::Null;
        }
        let made = (0..calls).map(|call| {
            let (name, arguments) = (name(random), arguments(random).to_string());
            let function = json!({ "name": name, "arguments": arguments });
            json!({ "id": format!("call_{call}"), "type": "function", "function": function })
        });
        message["tool_calls"] = made.collect();
    } else if random.once_in(6) {
        message["content"] = Value::Null;
        message["refusal"] = "I cannot.".into();
    }
    let reason = match random.of(&["stop", "length", "content_filter"]) {
        _ if calls > 0 => "tool_calls",
        _ if message["refusal"].is_string() => "stop",
        reason => reason,
    };
    let mut usage = json!({ "prompt_tokens": 40, "completion_tokens": 50, "total_tokens": 90 });
    if !random.once_in(4) {
        usage["prompt_tokens_details"] =
            json!({ "cached_tokens": random.of(&[0, 18]), "cache_write_tokens": random.of(&[0, 12]) });
        usage["completion_tokens_details"] = json!({ "reasoning_tokens": random.of(&[0, 20]) });
    }
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_796_000_000, "model": "gpt-5.6-2026-08-01",
        "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": reason }],
        "usage": usage,
    })
}

fn candidates(random: &mut Random) -> Value {
    let mut parts = Vec::new();
    let thinks = random.once_in(3);
    if thinks {
        parts.push(json!({ "text": said(random), "thought": true }));
    }
    if !random.once_in(4) {
        parts.push(json!({ "text": said(random) }));
    }
    let calls = random.below(4);
    let ids = random.once_in(3);
    for call in 0..calls {
        let mut part = json!({ "functionCall": { "name": name(random), "args": arguments(random) } });
        if ids {
            part["functionCall"]["id"] = format!("id{call}").into();
        }
        if call == 0 && random.once_in(2) {
            part["thoughtSignature"] = "CtQBcall".into();
        }
        parts.push(part);
    }
    if parts.is_empty() {
        parts.push(json!({ "text": "hi" }));
    }
    let reasons = ["STOP", "MAX_TOKENS", "SAFETY", "RECITATION"];
    let reason = if calls > 0 { "STOP" } else { random.of(&reasons) };
    let thoughts = if thinks { 20 } else { 0 };
    let mut usage = json!({
        "promptTokenCount": 40, "candidatesTokenCount": 30, "totalTokenCount": 70 + thoughts,
        "cachedContentTokenCount": random.of(&[0, 18]),
    });
    if thinks {
        usage["thoughtsTokenCount"] = thoughts.into();
    }
    json!({
        "candidates": [{
            "index": 0, "finishReason": reason, "content": { "role": "model", "parts": parts },
        }],
        "usageMetadata": usage, "modelVersion": "gemini-3-pro-preview", "responseId": "k3QkadyK",
    })
}
