//! Requests of Anthropic's Messages.

use serde_json::{Map, Value, json};

use super::{answer_schema, arguments, name, said, schema};
use crate::random::Random;

/// A request of Messages.
pub fn request(random: &mut Random) -> Value {
    let mut request = Map::new();
    request.insert("model".to_owned(), "claude-sonnet-5".into());
    request.insert("max_tokens".to_owned(), random.of(&[json!(1), json!(1024), json!(32_000)]));
    system(random, &mut request);
    request.insert("messages".to_owned(), conversation(random).into());
    tools(random, &mut request);
    random.set(&mut request, 4, "temperature", &[json!(0), json!(0.3), json!(1)]);
    random.set(&mut request, 5, "top_p", &[json!(0.5), json!(1)]);
    random.set(&mut request, 6, "top_k", &[json!(5)]);
    random.set(&mut request, 4, "stop_sequences", &[json!(["END"]), json!(["a", "b"])]);
    random.set(&mut request, 4, "stream", &[json!(true), json!(false)]);
    random.set(&mut request, 5, "metadata", &[json!({ "user_id": "u1" })]);
    random.set(
        &mut request,
        3,
        "thinking",
        &[
            json!({ "type": "disabled" }),
            json!({ "type": "adaptive" }),
            json!({ "type": "adaptive", "display": "summarized" }),
            json!({ "type": "enabled", "budget_tokens": 2_048 }),
            json!({ "type": "enabled", "budget_tokens": 20_000 }),
        ],
    );
    let efforts = ["low", "medium", "high", "xhigh", "max"];
    let format = json!({ "type": "json_schema", "schema": answer_schema() });
    match random.below(6) {
        0 => _ = request.insert("output_config".to_owned(), json!({ "effort": random.of(&efforts) })),
        1 => _ = request.insert("output_config".to_owned(), json!({ "format": format })),
        2 => {
            let effort = random.of(&efforts);
            request.insert("output_config".to_owned(), json!({ "effort": effort, "format": format }));
        }
        _ => {}
    }
    request.into()
}

fn system(random: &mut Random, request: &mut Map<String, Value>) {
    let text = |text: &str| json!({ "type": "text", "text": text });
    let system = match random.below(5) {
        0 => json!("You are short."),
        1 => json!([text("You are short.")]),
        2 => json!([text("You are short."), text("Be kind.")]),
        3 => json!([
            { "type": "text", "text": "You are short.", "cache_control": { "type": "ephemeral" } },
            text("Be kind."),
        ]),
        _ => return,
    };
    request.insert("system".to_owned(), system);
}

fn conversation(random: &mut Random) -> Vec<Value> {
    let mut messages = vec![json!({ "role": "user", "content": user(random) })];
    for turn in 0..random.below(3) {
        let mut blocks = Vec::new();
        if random.once_in(4) {
            blocks.push(json!({ "type": "thinking", "thinking": "hm", "signature": "EqQBCgIYAhIM" }));
        }
        if !random.once_in(3) {
            blocks.push(json!({ "type": "text", "text": said(random) }));
        }
        let calls = random.below(4);
        for call in 0..calls {
            let (name, input) = (name(random), arguments(random));
            let id = format!("toolu_{turn}{call}");
            blocks.push(json!({ "type": "tool_use", "id": id, "name": name, "input": input }));
        }
        if blocks.iter().all(|block| block["type"] == "thinking") {
            blocks.push(json!({ "type": "text", "text": "Well." }));
        }
        messages.push(json!({ "role": "assistant", "content": blocks }));
        let mut blocks: Vec<Value> =
            (0..calls).map(|call| result(random, &format!("toolu_{turn}{call}"))).collect();
        if blocks.is_empty() || random.once_in(3) {
            blocks.push(json!({ "type": "text", "text": said(random) }));
        }
        messages.push(json!({ "role": "user", "content": blocks }));
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
    let mut blocks = vec![json!({ "type": "text", "text": said(random) })];
    for _ in 0..random.below(3) {
        blocks.push(match random.below(6) {
            0 => json!({
                "type": "document", "title": "a.pdf",
                "source": { "type": "base64", "media_type": "application/pdf", "data": "JVBERi0=" },
            }),
            1 => json!({ "type": "image", "source": { "type": "url", "url": "https://example.com/a.png" } }),
            2 => json!({ "type": "text", "text": "and", "cache_control": { "type": "ephemeral" } }),
            3 => json!({
                "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "plain" },
            }),
            _ => image(),
        });
    }
    blocks.into()
}

fn image() -> Value {
    json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "iVBORw0K" } })
}

fn result(random: &mut Random, id: &str) -> Value {
    let mut result = json!({ "type": "tool_result", "tool_use_id": id });
    match random.below(6) {
        0 => {}
        1 => {
            result["content"] = json!([{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }]);
        }
        2 => result["content"] = json!([{ "type": "text", "text": "see" }, image()]),
        3 => {
            result["content"] = json!("no such file");
            result["is_error"] = true.into();
        }
        _ => result["content"] = said(random).into(),
    }
    result
}

fn tools(random: &mut Random, request: &mut Map<String, Value>) {
    if random.once_in(3) {
        return;
    }
    let mut tools = vec![
        json!({ "name": "read_file", "description": "Reads a file.", "input_schema": schema() }),
        json!({ "name": "now", "input_schema": { "type": "object", "properties": {} } }),
    ];
    if random.once_in(4) {
        tools[1]["cache_control"] = json!({ "type": "ephemeral" });
    }
    if random.once_in(5) {
        tools[0]["strict"] = true.into();
    }
    if random.once_in(6) {
        tools.push(json!({ "type": "web_search_20250305", "name": "web_search", "max_uses": 3 }));
    }
    request.insert("tools".to_owned(), tools.into());
    let mut choice = match random.below(6) {
        0 => json!({ "type": "auto" }),
        1 => json!({ "type": "any" }),
        2 => json!({ "type": "tool", "name": "now" }),
        3 => {
            request.insert("tool_choice".to_owned(), json!({ "type": "none" }));
            return;
        }
        _ => return,
    };
    if random.once_in(3) {
        choice["disable_parallel_tool_use"] = random.of(&[true, false]).into();
    }
    request.insert("tool_choice".to_owned(), choice);
}
