//! Requests of OpenAI's Chat Completions.

use serde_json::{Map, Value, json};

use super::{answer_schema, arguments, name, said, schema};
use crate::random::Random;

/// A request of Chat Completions.
pub fn request(random: &mut Random) -> Value {
    let mut request = Map::new();
    request.insert("model".to_owned(), "gpt-5.6".into());
    request.insert("messages".to_owned(), conversation(random).into());
    tools(random, &mut request);
    // Where there is none, theirs has no request for Messages.
    if !random.once_in(10) {
        random.set(&mut request, 1, "max_completion_tokens", &[json!(1), json!(1024), json!(32_000)]);
    }
    random.set(&mut request, 8, "max_tokens", &[json!(77)]);
    random.set(&mut request, 4, "temperature", &[json!(0), json!(0.3), json!(1), json!(1.5)]);
    random.set(&mut request, 5, "top_p", &[json!(0.5), json!(1)]);
    random.set(&mut request, 4, "stop", &[json!("END"), json!(["a", "b"])]);
    random.set(&mut request, 8, "seed", &[json!(7)]);
    random.set(&mut request, 8, "presence_penalty", &[json!(0.1)]);
    random.set(&mut request, 8, "frequency_penalty", &[json!(0.2)]);
    random.set(&mut request, 8, "user", &[json!("u1")]);
    random.set(&mut request, 8, "n", &[json!(1)]);
    random.set(&mut request, 4, "stream", &[json!(true), json!(false)]);
    let efforts = ["none", "minimal", "low", "medium", "high", "xhigh"].map(Value::from);
    random.set(&mut request, 3, "reasoning_effort", &efforts);
    random.set(
        &mut request,
        4,
        "response_format",
        &[
            json!({ "type": "text" }),
            json!({ "type": "json_object" }),
            json!({ "type": "json_schema", "json_schema": { "name": "city", "schema": answer_schema() } }),
            json!({
                "type": "json_schema",
                "json_schema": { "name": "city", "strict": true, "schema": answer_schema() },
            }),
        ],
    );
    request.into()
}

fn conversation(random: &mut Random) -> Vec<Value> {
    let mut messages = Vec::new();
    match random.below(5) {
        0 => messages.push(json!({ "role": "system", "content": "You are short." })),
        1 => messages.push(json!({ "role": "developer", "content": "You are short." })),
        2 => {
            messages
                .push(json!({ "role": "system", "content": [{ "type": "text", "text": "You are short." }] }));
            messages.push(json!({ "role": "developer", "content": "Be kind." }));
        }
        _ => {}
    }
    messages.push(json!({ "role": "user", "content": user(random) }));
    for turn in 0..random.below(3) {
        let calls = random.below(4);
        let mut message = json!({ "role": "assistant", "content": said(random) });
        if calls > 0 {
            if random.once_in(2) {
                message["content"] = Value::Null;
            }
            let made = (0..calls).map(|call| {
                let (name, arguments) = (name(random), arguments(random).to_string());
                let id = format!("call_{turn}{call}");
                json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
            });
            message["tool_calls"] = made.collect();
        } else if random.once_in(4) {
            message["content"] =
                json!([{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }]);
        } else if random.once_in(6) {
            message["content"] = Value::Null;
            message["refusal"] = "I cannot.".into();
        }
        if random.once_in(5) {
            message["reasoning_content"] = "hm".into();
        }
        messages.push(message);
        for call in 0..calls {
            let content = match random.below(4) {
                0 => json!([{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }]),
                1 => json!("{\"found\":true}"),
                _ => json!(said(random)),
            };
            let id = format!("call_{turn}{call}");
            messages.push(json!({ "role": "tool", "tool_call_id": id, "content": content }));
        }
        if calls == 0 || random.once_in(3) {
            messages.push(json!({ "role": "user", "content": said(random) }));
        }
        if random.once_in(8) {
            messages.push(json!({ "role": "system", "content": "It is Monday." }));
            messages.push(json!({ "role": "user", "content": "Go on." }));
        }
    }
    messages
}

fn user(random: &mut Random) -> Value {
    if random.once_in(2) {
        return said(random).into();
    }
    let mut parts = vec![json!({ "type": "text", "text": said(random) })];
    for _ in 0..random.below(3) {
        parts.push(match random.below(5) {
            0 => json!({
                "type": "file",
                "file": { "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0=" },
            }),
            1 => json!({ "type": "image_url", "image_url": { "url": "https://example.com/a.png" } }),
            2 => json!({ "type": "text", "text": "and" }),
            3 => json!({
                "type": "image_url",
                "image_url": { "url": "data:image/png;base64,iVBORw0K", "detail": random.of(&["auto", "low"]) },
            }),
            _ => json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0K" } }),
        });
    }
    parts.into()
}

fn tools(random: &mut Random, request: &mut Map<String, Value>) {
    if random.once_in(3) {
        return;
    }
    let mut read = json!({ "name": "read_file", "description": "Reads a file.", "parameters": schema() });
    if random.once_in(3) {
        read["strict"] = random.of(&[true, false]).into();
    }
    let tools = json!([{ "type": "function", "function": read }, { "type": "function", "function": { "name": "now" } }]);
    request.insert("tools".to_owned(), tools);
    let now = json!({ "type": "function", "function": { "name": "now" } });
    let only = |mode: &str| {
        let allowed = json!({ "mode": mode, "tools": [now] });
        json!({ "type": "allowed_tools", "allowed_tools": allowed })
    };
    random.set(
        request,
        2,
        "tool_choice",
        &[json!("auto"), json!("none"), json!("required"), now.clone(), only("auto"), only("required")],
    );
    random.set(request, 3, "parallel_tool_calls", &[json!(true), json!(false)]);
}
