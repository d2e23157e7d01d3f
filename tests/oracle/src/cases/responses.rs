//! Requests of OpenAI's Responses.

use serde_json::{Map, Value, json};

use super::{answer_schema, arguments, name, said, schema};
use crate::random::Random;

/// A request of Responses.
pub fn request(random: &mut Random) -> Value {
    let mut request = Map::new();
    request.insert("model".to_owned(), "gpt-5.6".into());
    random.set(&mut request, 3, "instructions", &[json!("You are short.")]);
    let input = if random.once_in(4) { said(random).into() } else { items(random).into() };
    request.insert("input".to_owned(), input);
    tools(random, &mut request);
    // Where there is none, theirs has no request for Messages.
    if !random.once_in(10) {
        random.set(&mut request, 1, "max_output_tokens", &[json!(16), json!(1024), json!(32_000)]);
    }
    random.set(&mut request, 4, "temperature", &[json!(0), json!(0.3), json!(1), json!(1.5)]);
    random.set(&mut request, 5, "top_p", &[json!(0.5), json!(1)]);
    random.set(&mut request, 4, "stream", &[json!(true), json!(false)]);
    random.set(&mut request, 3, "store", &[json!(false), json!(true)]);
    random.set(&mut request, 6, "include", &[json!(["reasoning.encrypted_content"])]);
    random.set(&mut request, 8, "user", &[json!("u1")]);
    random.set(&mut request, 8, "metadata", &[json!({ "of": "mine" })]);
    random.set(&mut request, 8, "prompt_cache_key", &[json!("k1")]);
    random.set(
        &mut request,
        3,
        "reasoning",
        &[
            json!({ "effort": "none" }),
            json!({ "effort": "minimal" }),
            json!({ "effort": "low" }),
            json!({ "effort": "high", "summary": "auto" }),
            json!({ "summary": "auto" }),
        ],
    );
    let format = json!({ "type": "json_schema", "name": "city", "schema": answer_schema() });
    let strict = json!({ "type": "json_schema", "name": "city", "strict": true, "schema": answer_schema() });
    random.set(
        &mut request,
        3,
        "text",
        &[
            json!({ "format": { "type": "text" } }),
            json!({ "format": { "type": "json_object" } }),
            json!({ "format": format }),
            json!({ "format": strict, "verbosity": "low" }),
            json!({ "verbosity": "high" }),
        ],
    );
    request.into()
}

fn items(random: &mut Random) -> Vec<Value> {
    let mut items = Vec::new();
    if random.once_in(3) {
        let role = random.of(&["system", "developer"]);
        items.push(json!({ "role": role, "content": "Be kind." }));
    }
    items.push(json!({ "type": "message", "role": "user", "content": user(random) }));
    for turn in 0..random.below(3) {
        let calls = random.below(4);
        if random.once_in(4) {
            items.push(json!({
                "type": "reasoning", "id": format!("rs_{turn}"),
                "summary": [{ "type": "summary_text", "text": "hm" }], "encrypted_content": "gAAAAA",
            }));
        }
        if calls == 0 || random.once_in(2) {
            items.push(json!({
                "type": "message", "id": format!("msg_{turn}"), "role": "assistant", "status": "completed",
                "content": [{ "type": "output_text", "text": said(random), "annotations": [] }],
            }));
        }
        for call in 0..calls {
            let (name, arguments) = (name(random), arguments(random).to_string());
            items.push(json!({
                "type": "function_call", "id": format!("fc_{turn}{call}"), "status": "completed",
                "call_id": format!("call_{turn}{call}"), "name": name, "arguments": arguments,
            }));
        }
        for call in 0..calls {
            let output = match random.below(4) {
                0 => {
                    json!([{ "type": "input_text", "text": "one" }, { "type": "input_text", "text": "two" }])
                }
                1 => json!("{\"found\":true}"),
                _ => json!(said(random)),
            };
            let id = format!("call_{turn}{call}");
            items.push(json!({ "type": "function_call_output", "call_id": id, "output": output }));
        }
        if calls == 0 || random.once_in(3) {
            items.push(json!({ "role": "user", "content": said(random) }));
        }
        if random.once_in(8) {
            items.push(json!({ "role": "developer", "content": "It is Monday." }));
            items.push(json!({ "role": "user", "content": "Go on." }));
        }
    }
    items
}

fn user(random: &mut Random) -> Value {
    if random.once_in(2) {
        return said(random).into();
    }
    let mut parts = vec![json!({ "type": "input_text", "text": said(random) })];
    for _ in 0..random.below(3) {
        parts.push(match random.below(5) {
            0 => json!({
                "type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0=",
            }),
            1 => json!({ "type": "input_image", "detail": "auto", "image_url": "https://example.com/a.png" }),
            2 => json!({ "type": "input_text", "text": "and" }),
            3 => json!({
                "type": "input_image", "detail": "low", "image_url": "data:image/png;base64,iVBORw0K",
            }),
            _ => json!({
                "type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw0K",
            }),
        });
    }
    parts.into()
}

fn tools(random: &mut Random, request: &mut Map<String, Value>) {
    if random.once_in(3) {
        return;
    }
    let tools = json!([
        {
            "type": "function", "name": "read_file", "description": "Reads a file.",
            "parameters": schema(), "strict": random.of(&[true, false]),
        },
        {
            "type": "function", "name": "now",
            "parameters": { "type": "object", "properties": {} }, "strict": false,
        },
    ]);
    request.insert("tools".to_owned(), tools);
    let now = json!({ "type": "function", "name": "now" });
    let only = |mode: &str| json!({ "type": "allowed_tools", "mode": mode, "tools": [now] });
    random.set(
        request,
        2,
        "tool_choice",
        &[json!("auto"), json!("none"), json!("required"), now.clone(), only("auto"), only("required")],
    );
    random.set(request, 3, "parallel_tool_calls", &[json!(true), json!(false)]);
}
