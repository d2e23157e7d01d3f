//! Calls of other APIs on targets of Gemini: what goes there, what comes back, and what is booked, over two turns of a
//! conversation with tools.

use serde_json::{Value, json};

use crate::harness::{Answer, Node, Scripted, Setup};

const MODEL: &str = "gemini-3-pro-preview";
const SIGNATURE: &str = "CtQBc2lnbmF0dXJl";

fn call_answer() -> Value {
    json!({
        "candidates": [{
            "content": {
                "role": "model",
                "parts": [
                    { "text": "**Looking**", "thought": true },
                    { "functionCall": { "name": "Read", "args": { "path": "ä.rs" } }, "thoughtSignature": SIGNATURE },
                    { "functionCall": { "name": "Read", "args": { "path": "b.rs" } } },
                ],
            },
            "finishReason": "STOP",
            "index": 0,
        }],
        "usageMetadata": {
            "promptTokenCount": 1_100, "cachedContentTokenCount": 1_024, "candidatesTokenCount": 40,
            "thoughtsTokenCount": 12, "totalTokenCount": 1_152,
        },
        "modelVersion": "gemini-3-pro-preview-11",
        "responseId": "k3Qk",
    })
}

fn last_answer() -> Value {
    let mut answer = call_answer();
    answer["candidates"][0]["content"]["parts"] = json!([{ "text": "Both are small." }]);
    answer
}

/// The answer as a document, or as a stream: each part a chunk, and the end with the last of them.
fn answer(provider: &Scripted, whole: &Value, stream: bool) {
    if !stream {
        provider.answer_json_and_close(&whole.to_string());
        return;
    }
    let parts = whole["candidates"][0]["content"]["parts"].as_array().unwrap();
    let mut events = String::new();
    for (at, part) in parts.iter().enumerate() {
        let mut chunk = whole.clone();
        chunk["candidates"][0]["content"]["parts"] = json!([part]);
        if at + 1 < parts.len() {
            let candidate = chunk["candidates"][0].as_object_mut().unwrap();
            candidate.remove("finishReason");
            chunk["usageMetadata"] = json!({ "promptTokenCount": 1_100, "totalTokenCount": 1_100 });
        }
        events.push_str(&["data: ", &chunk.to_string(), "\r\n\r\n"].concat());
    }
    provider.begin_stream().chunk(&events).end();
}

fn events(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// The last request, with its path.
fn sent(provider: &Scripted) -> (String, Value) {
    let request = provider.requests().pop().unwrap();
    let path = request.head.split(' ').nth(1).unwrap().to_owned();
    assert!(request.head.contains("x-goog-api-key: k\r\n"), "{}", request.head);
    (path, serde_json::from_slice(&request.body).unwrap())
}

fn assert_second_turn(contents: &Value) {
    let read = |path: &str| json!({ "name": "Read", "args": { "path": path } });
    let result =
        |output: &str| json!({ "functionResponse": { "name": "Read", "response": { "output": output } } });
    assert_eq!(
        contents,
        &json!([
            { "role": "user", "parts": [{ "text": "Look." }] },
            { "role": "model", "parts": [
                { "functionCall": read("ä.rs"), "thoughtSignature": SIGNATURE },
                { "functionCall": read("b.rs") },
            ] },
            { "role": "user", "parts": [result("A"), result("B")] },
        ])
    );
}

async fn assert_booked(node: &Node, answer: &Answer, from: &str, stream: bool) {
    let row = node.usage_of(answer).await;
    for (field, value) in [
        ("provider", json!("gemini")),
        ("converted_from", json!(from)),
        ("model", json!(MODEL)),
        ("actual_model", json!("gemini-3-pro-preview-11")),
        ("input_tokens", json!(1_100)),
        ("cache_read_tokens", json!(1_024)),
        ("output_tokens", json!(52)),
        ("reasoning_tokens", json!(12)),
        ("token_source", json!("reported")),
        ("outcome", json!("ok")),
        ("is_streaming", json!(stream)),
    ] {
        assert_eq!(row[field], value, "{field}: {row}");
    }
}

async fn started() -> (Scripted, Node, String) {
    let gemini = Scripted::start().await;
    let targets = format!(
        "[[targets]]\nname = \"google\"\nprovider = \"gemini\"\nurl = \"{}\"\napi_key = \"k\"\n",
        gemini.url()
    );
    let node = Setup::with_targets(&targets).start().await;
    let key = node.user_with_key("alice").await;
    (gemini, node, key)
}

fn messages_request(messages: &Value, stream: bool) -> Value {
    json!({
        "model": MODEL, "max_tokens": 640, "stream": stream, "system": "be brief",
        "thinking": { "type": "adaptive" }, "output_config": { "effort": "high" },
        "tools": [{
            "name": "Read",
            "input_schema": { "type": "object", "properties": { "path": { "type": "string" } }, "required": ["path"] },
        }],
        "messages": messages,
    })
}

/// The content, the reason of the end and the counts of a message, as a client makes them of a stream.
fn streamed_message(stream: &str) -> Value {
    let mut content: Vec<Value> = Vec::new();
    let mut message = json!({});
    let events = events(stream);
    assert_eq!(events.last().unwrap()["type"], "message_stop", "{stream}");
    for event in events {
        match event["type"].as_str().unwrap() {
            "content_block_start" => content.push(event["content_block"].clone()),
            "content_block_delta" => {
                let (block, delta) = (content.last_mut().unwrap(), &event["delta"]);
                for field in ["text", "thinking", "signature"] {
                    if let Some(more) = delta[field].as_str() {
                        block[field] = format!("{}{more}", block[field].as_str().unwrap()).into();
                    }
                }
                if let Some(input) = delta["partial_json"].as_str() {
                    block["input"] = serde_json::from_str(input).unwrap();
                }
            }
            "message_delta" => {
                message = json!({ "stop_reason": event["delta"]["stop_reason"], "usage": event["usage"] });
            }
            _ => {}
        }
    }
    message["content"] = content.into();
    message
}

#[tokio::test]
async fn a_conversation_of_messages_with_tools_goes_on_at_gemini_with_its_signatures() {
    let (gemini, node, key) = started().await;
    for stream in [true, false] {
        let mut messages = json!([{ "role": "user", "content": "Look." }]);
        answer(&gemini, &call_answer(), stream);
        let first = node.ask(&key, "/v1/messages", &[], &messages_request(&messages, stream)).await;
        assert_eq!(first.status, 200, "{}", first.text());
        let message = if stream { streamed_message(&first.text()) } else { first.json() };
        let content = message["content"].as_array().unwrap();
        let kinds: Vec<&str> = content.iter().map(|block| block["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["thinking", "tool_use", "tool_use"]);
        assert_eq!(
            (&content[0]["thinking"], &message["stop_reason"]),
            (&json!("**Looking**"), &json!("tool_use"))
        );
        let usage = &message["usage"];
        let count = |name: &str| usage[name].as_u64().unwrap();
        assert_eq!(count("input_tokens") + count("cache_read_input_tokens"), 1_100);
        assert_eq!((count("cache_read_input_tokens"), count("output_tokens")), (1_024, 52));
        assert_booked(&node, &first, "anthropic-messages", stream).await;

        let (path, body) = sent(&gemini);
        let verb = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        assert_eq!(path, format!("/v1beta/models/{MODEL}:{verb}"));
        assert_eq!(body["systemInstruction"], json!({ "parts": [{ "text": "be brief" }] }));
        assert_eq!(
            body["generationConfig"]["thinkingConfig"],
            json!({ "thinkingLevel": "HIGH", "includeThoughts": true })
        );

        let result = |at: usize, output: &str| json!({ "type": "tool_result", "tool_use_id": content[at]["id"], "content": output });
        let results = json!([result(1, "A"), result(2, "B")]);
        let turns = messages.as_array_mut().unwrap();
        turns.push(json!({ "role": "assistant", "content": content }));
        turns.push(json!({ "role": "user", "content": results }));
        answer(&gemini, &last_answer(), stream);
        let second = node.ask(&key, "/v1/messages", &[], &messages_request(&messages, stream)).await;
        assert_eq!(second.status, 200, "{}", second.text());
        let message = if stream { streamed_message(&second.text()) } else { second.json() };
        assert_eq!(message["content"], json!([{ "type": "text", "text": "Both are small." }]));
        assert_second_turn(&sent(&gemini).1["contents"]);
        assert_booked(&node, &second, "anthropic-messages", stream).await;
    }
}

#[tokio::test]
async fn tokens_of_messages_are_counted_by_gemini() {
    let (gemini, node, key) = started().await;
    gemini.answer_json_and_close(
        r#"{"totalTokens":31,"promptTokensDetails":[{"modality":"TEXT","tokenCount":31}]}"#,
    );
    let request = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "Hi" }] });
    let counted = node.ask(&key, "/v1/messages/count_tokens", &[], &request).await;
    assert_eq!((counted.status, counted.json()), (200, json!({ "input_tokens": 31 })), "{}", counted.text());
    let (path, body) = sent(&gemini);
    assert_eq!(path, format!("/v1beta/models/{MODEL}:countTokens"));
    assert_eq!(body["generateContentRequest"]["contents"][0]["parts"][0]["text"], "Hi");
}

fn chat_request(messages: &Value, stream: bool) -> Value {
    json!({
        "model": MODEL, "stream": stream, "stream_options": if stream { json!({ "include_usage": true }) } else { Value::Null },
        "tools": [{ "type": "function", "function": {
            "name": "Read",
            "parameters": { "type": "object", "properties": { "path": { "type": "string" } }, "required": ["path"] },
        } }],
        "messages": messages,
    })
}

/// The message, the reason of its end and the counts, as a client makes them of a stream.
fn streamed_chat(stream: &str) -> (Value, Value, Value) {
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    let (mut text, mut calls, mut details) = (String::new(), Vec::<Value>::new(), Vec::new());
    let (mut reason, mut usage) = (Value::Null, Value::Null);
    for chunk in events(stream) {
        if chunk["usage"].is_object() {
            usage = chunk["usage"].clone();
        }
        let Some(choice) = chunk["choices"].get(0) else { continue };
        text += choice["delta"]["content"].as_str().unwrap_or_default();
        details.extend(choice["delta"]["reasoning_details"].as_array().into_iter().flatten().cloned());
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let at = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if let Some(known) = calls.get_mut(at) {
                let arguments = &mut known["function"]["arguments"];
                let more = call["function"]["arguments"].as_str().unwrap();
                *arguments = format!("{}{more}", arguments.as_str().unwrap()).into();
            } else {
                calls.push(call.clone());
            }
        }
        if !choice["finish_reason"].is_null() {
            reason = choice["finish_reason"].clone();
        }
    }
    let mut message = json!({ "role": "assistant", "content": text });
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
        message["reasoning_details"] = details.into();
    }
    (message, reason, usage)
}

#[tokio::test]
async fn a_conversation_of_chat_with_tools_goes_on_at_gemini_with_its_signatures() {
    let (gemini, node, key) = started().await;
    // Some clients keep the one, some the other.
    for (stream, lost) in [(true, "reasoning_details"), (false, "extra_content")] {
        let read = |answer: &Answer| {
            if stream {
                return streamed_chat(&answer.text());
            }
            let answer = answer.json();
            let choice = &answer["choices"][0];
            (choice["message"].clone(), choice["finish_reason"].clone(), answer["usage"].clone())
        };
        let mut messages = json!([{ "role": "user", "content": "Look." }]);
        answer(&gemini, &call_answer(), stream);
        let first = node.ask(&key, "/v1/chat/completions", &[], &chat_request(&messages, stream)).await;
        assert_eq!(first.status, 200, "{}", first.text());
        let (mut message, reason, usage) = read(&first);
        assert_eq!(reason, "tool_calls");
        assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(1_100), &json!(52)));
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 1_024);
        assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 12);
        assert_booked(&node, &first, "openai-chat", stream).await;
        let verb = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        assert_eq!(sent(&gemini).0, format!("/v1beta/models/{MODEL}:{verb}"));

        let calls = message["tool_calls"].as_array().unwrap().clone();
        assert_eq!(calls.len(), 2);
        if lost == "extra_content" {
            message["tool_calls"][0].as_object_mut().unwrap().remove(lost).expect("a signature");
        } else {
            message.as_object_mut().unwrap().remove(lost).expect("a signature");
        }
        let turns = messages.as_array_mut().unwrap();
        turns.push(message);
        for (call, output) in calls.iter().zip(["A", "B"]) {
            turns.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": output }));
        }
        answer(&gemini, &last_answer(), stream);
        let second = node.ask(&key, "/v1/chat/completions", &[], &chat_request(&messages, stream)).await;
        assert_eq!(second.status, 200, "{}", second.text());
        let (message, reason, _) = read(&second);
        assert_eq!((&message["content"], reason), (&json!("Both are small."), json!("stop")));
        assert_second_turn(&sent(&gemini).1["contents"]);
        assert_booked(&node, &second, "openai-chat", stream).await;
    }
}

#[tokio::test]
async fn a_stream_of_gemini_that_breaks_off_is_no_whole_answer_and_is_booked_as_cut() {
    let (gemini, node, key) = started().await;
    let chunk = json!({
        "candidates": [{ "content": { "role": "model", "parts": [{ "text": "Hel" }] }, "index": 0 }],
        "usageMetadata": { "promptTokenCount": 5, "totalTokenCount": 5 }, "modelVersion": MODEL, "responseId": "r1",
    });
    let asked = json!([{ "role": "user", "content": "Look." }]);
    for (path, request, ending) in [
        ("/v1/messages", messages_request(&asked, true), "message_stop"),
        ("/v1/chat/completions", chat_request(&asked, true), "[DONE]"),
    ] {
        gemini.begin_stream().chunk(&format!("data: {chunk}\r\n\r\n")).close();
        let answer = node.ask(&key, path, &[], &request).await;
        assert!(answer.text().contains("Hel") && !answer.text().contains(ending), "{}", answer.text());
        assert_eq!(node.usage_of(&answer).await["outcome"], "upstream_cut");
    }
}
