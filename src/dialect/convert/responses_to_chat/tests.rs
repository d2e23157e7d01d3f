//! Golden requests and answers, and what servers make of the API.

use serde_json::{Value, json};

use super::request;
use crate::dialect::convert::api::Api;
use crate::dialect::convert::chat_target::reasoning;
use crate::dialect::convert::chat_target::testing::{self, answered, cut_anywhere, dropped, first_of, sent};
use crate::dialect::convert::contract::{ConvertedRequest, NotConverted};
use crate::domain::model_traits::ModelTraits;

const MODEL: &str = "qwen3-coder";

/// A golden file with the carriers that are made in it.
fn golden(text: &str) -> String {
    let pack = |field, thought| reasoning::pack(MODEL, Some(field), Some(thought), &[]);
    text.replace("@CARRIER@", &pack("reasoning_content", "I read it first."))
        .replace("@READ@", &pack("reasoning", "Erst lesen."))
        .replace("@QUICK@", &pack("reasoning_content", "Quick."))
}

fn codex() -> String {
    golden(include_str!("golden/codex.json"))
}

fn convert(body: &str, model: &str, traits: &ModelTraits) -> ConvertedRequest {
    testing::converted(request, body, model, traits).unwrap()
}

fn plain(body: &str) -> ConvertedRequest {
    convert(body, MODEL, &ModelTraits::default())
}

fn small(members: &Value) -> String {
    let mut request = json!({"model": "m", "input": "Hi", "stream": true});
    request.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    request.to_string()
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

#[test]
fn codex_is_understood_by_a_compatible_server() {
    let request = plain(&codex());
    let expected = json_of(include_str!("golden/codex.chat.json"));
    assert_eq!(pretty(&sent(&request)), pretty(&expected));
    assert_eq!(
        dropped(&request),
        ["input.reasoning", "text.verbosity", "tools.image_generation", "tools.web_search"]
    );
}

#[test]
fn a_turn_is_the_beginning_of_the_next() {
    let whole = codex();
    for model in [MODEL, "gpt-5.6", "kimi-k2.5"] {
        let last = sent(&convert(&whole, model, &ModelTraits::default()));
        let messages = last["messages"].as_array().unwrap();
        // Wherever it is the model's turn.
        for count in [3, 11, 13, 16, 18] {
            let turn = sent(&convert(&first_of(&whole, "input", count), model, &ModelTraits::default()));
            let own = turn["messages"].as_array().unwrap();
            assert_eq!(own.as_slice(), &messages[..own.len()], "{model} {count}");
            // A tool that was found later is behind those that were there.
            let tools = turn["tools"].as_array().unwrap();
            assert_eq!(tools.as_slice(), &last["tools"].as_array().unwrap()[..tools.len()]);
        }
    }
}

#[test]
fn what_would_be_another_request_is_refused() {
    let blind = ModelTraits { images: false, documents: false, tools: false, ..ModelTraits::default() };
    let all = ModelTraits::default();
    let part = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    let image = json!({"type": "input_image", "image_url": "data:image/png;base64,AA=="});
    let file = |data: &str| json!({"type": "input_file", "filename": "a", "file_data": data});
    let search = json!([{"type": "web_search"}]);
    let named = json!([{"type": "function", "name": "f"}]);
    for (members, traits, field) in [
        (json!({"previous_response_id": "resp_1"}), &all, "previous_response_id"),
        (json!({"conversation": "conv_1"}), &all, "conversation"),
        (json!({"background": true}), &all, "background"),
        (json!({"top_logprobs": 3}), &all, "top_logprobs"),
        (part(image.clone()), &blind, "input_image"),
        (part(image.clone()), &all, ""),
        (part(json!({"type": "input_image", "file_id": "f"})), &all, "input_image.file_id"),
        (part(file("data:application/pdf;base64,AA==")), &all, ""),
        (part(file("data:application/pdf;base64,AA==")), &blind, "input_file.file_data"),
        (part(file("data:text/plain;base64,QQ==")), &blind, ""),
        (part(file("data:application/zip;base64,AA==")), &all, "input_file.file_data"),
        (
            part(json!({"type": "input_file", "file_url": "https://example.com/"})),
            &all,
            "input_file.file_url",
        ),
        (json!({"tools": search, "tool_choice": {"type": "web_search"}}), &all, "tool_choice"),
        (json!({"tools": search, "tool_choice": "required"}), &all, "tool_choice"),
        (json!({"tools": search}), &all, ""),
        (json!({"tools": named, "tool_choice": {"type": "function", "name": "g"}}), &all, "tool_choice"),
        (json!({"tools": named, "tool_choice": {"type": "function", "name": "f"}}), &all, ""),
        (json!({"tools": named}), &blind, "tools"),
        (json!({"text": {"format": {"type": "grammar"}}}), &all, "text.format"),
        (json!({"input": [{"type": "item_reference", "id": "rs_1"}]}), &all, "input.item_reference"),
    ] {
        let refused = match testing::converted(request, &small(&members), "m", traits) {
            Err(NotConverted::Unsupported { field, .. }) => field,
            Err(other) => panic!("{other}"),
            Ok(_) => String::new(),
        };
        assert_eq!(refused, field, "{members}");
    }
    assert!(matches!(
        testing::converted(request, r#"{"model": "m", "input": []}"#, "m", &all),
        Err(NotConverted::Unreadable(_))
    ));
}

#[test]
fn an_image_is_looked_at_as_closely_as_is_said() {
    for (detail, expected, left_out) in [
        (json!(null), json!(null), 0),
        (json!("auto"), json!(null), 0),
        (json!("low"), json!("low"), 0),
        (json!("high"), json!("high"), 0),
        (json!("original"), json!(null), 1),
    ] {
        let image =
            json!({"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": detail});
        let members = json!({"input": [{"role": "user", "content": [image]}]});
        let made = convert(&small(&members), MODEL, &ModelTraits::default());
        let sent = sent(&made);
        let url = &sent["messages"][0]["content"][0]["image_url"];
        assert_eq!((&url["url"], &url["detail"]), (&json!("data:image/png;base64,AA=="), &expected));
        assert_eq!(dropped(&made).iter().filter(|field| **field == "input_image.detail").count(), left_out);
    }
}

#[test]
fn what_is_asked_for_beside_the_conversation_keeps_its_meaning() {
    let traits = ModelTraits { max_output_tokens: Some(500), ..ModelTraits::default() };
    let members = json!({"max_output_tokens": 900, "temperature": 0.5, "top_p": 0.9,
        "reasoning": {"effort": "minimal"},
        "tools": [{"type": "function", "name": "f", "strict": true,
            "parameters": {"type": "object", "properties": {}, "additionalProperties": false, "required": []}}],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": false}}});
    let request = convert(&small(&members), "local", &traits);
    let mut expected = json!({"model": "local",
        "tools": [{"type": "function", "function": {"name": "f",
            "parameters": {"type": "object", "properties": {}, "additionalProperties": false, "required": []},
            "strict": true}}],
        "messages": [{"role": "user", "content": "Hi"}],
        "tool_choice": "required", "reasoning_effort": "low",
        "response_format": {"type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": false}},
        "max_tokens": 500, "temperature": 0.5, "top_p": 0.9,
        "stream": true, "stream_options": {"include_usage": true}});
    assert_eq!(pretty(&sent(&request)), pretty(&expected));
    expected["response_format"] = json!({"type": "json_object"});
    let object = small(&json!({"text": {"format": {"type": "json_object"}}}));
    assert_eq!(sent(&plain(&object))["response_format"], expected["response_format"]);
}

#[test]
fn a_stream_becomes_a_stream_of_responses() {
    let stream = golden(include_str!("golden/stream.sse"));
    let made = answered(plain(&codex()), Api::Responses, true, &[stream.as_bytes()]);
    assert_eq!(made, golden(include_str!("golden/stream.responses.sse")));

    let tools =
        small(&json!({"tools": [{"type": "custom", "name": "apply_patch"}, {"type": "local_shell"}]}));
    cut_anywhere(
        || plain(&tools),
        Api::Responses,
        &stream,
        "\"finish_reason\":\"tool_calls\"",
        &["response.completed", "\"status\":\"completed\",\"background\""],
    );
}

#[test]
fn a_document_becomes_a_response_and_its_reasoning_comes_back() {
    let answer = include_str!("golden/document.json");
    let made = json_of(&answered(plain(&codex()), Api::Responses, false, &[answer.as_bytes()]));
    assert_eq!(
        pretty(&made["output"]),
        pretty(&json_of(&golden(include_str!("golden/document.output.json"))))
    );
    assert_eq!(
        (&made["status"], &made["id"], &made["created_at"]),
        (&json!("completed"), &json!("resp_chatcmpl-3"), &json!(1_764_500_001))
    );
    assert_eq!(
        made["usage"],
        json!({"input_tokens": 100, "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 0},
            "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 120})
    );
    // The caller sends it back, and the server gets its own words again.
    let message = &json_of(answer)["choices"][0]["message"];
    let tools = json_of(&codex())["tools"].clone();
    let next = |model: &str| {
        let body = small(&json!({"input": made["output"], "tools": tools}));
        sent(&convert(&body, model, &ModelTraits::default()))["messages"][0].clone()
    };
    let back = next(MODEL);
    for member in ["role", "content", "reasoning_content", "tool_calls"] {
        assert_eq!(back[member], message[member], "{member}");
    }
    assert_eq!(next("another").get("reasoning_content"), None);
}

#[test]
fn an_answer_ends_as_its_server_says() {
    let text = json!({"id": "1", "choices": [{"index": 0, "delta": {"content": "abcdefgh"}}]});
    let end = |reason: &str| json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
    let refusal = json!({"choices": [{"index": 0, "delta": {"refusal": "No."}}]});
    let error = json!({"error": {"message": "maximum context length is 9", "code": 400}});
    for (chunks, expected) in [
        (vec![text.clone(), end("stop")], "response.completed completed completed null null 777"),
        (
            vec![text.clone(), end("length")],
            "response.incomplete incomplete incomplete \"max_output_tokens\" null 777",
        ),
        (
            vec![text.clone(), end("content_filter")],
            "response.incomplete incomplete incomplete \"content_filter\" null 777",
        ),
        (vec![refusal, end("stop")], "response.completed completed completed null null 777"),
        (
            vec![text.clone(), error.clone()],
            "response.failed failed nothing null \"context_length_exceeded\" null",
        ),
        (vec![error], "response.failed failed nothing null \"context_length_exceeded\" null"),
        (vec![text], ""),
    ] {
        let stream =
            chunks.iter().fold(String::new(), |stream, chunk| stream + &format!("data: {chunk}\n\n"));
        let made = answered(plain(&small(&json!({}))), Api::Responses, true, &[stream.as_bytes()]);
        let last = json_of(made.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap());
        let response = &last["response"];
        let said = if response.is_null() {
            String::new()
        } else {
            format!(
                "{} {} {} {} {} {}",
                last["type"].as_str().unwrap(),
                response["status"].as_str().unwrap(),
                response["output"][0]["status"].as_str().unwrap_or("nothing"),
                response["incomplete_details"]["reason"],
                response["error"]["code"],
                response["usage"]["input_tokens"],
            )
        };
        assert_eq!(said, expected, "{chunks:?}");
    }
}
