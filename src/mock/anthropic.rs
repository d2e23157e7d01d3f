//! Anthropic Messages: answers and their streams. Source: Anthropic API, "Messages" and "Streaming messages".

use crate::mock::answer_body::{AnswerBody, ID};
use crate::mock::answer_spec::AnswerSpec;
use crate::mock::text;

/// `POST /v1/messages`.
pub fn message(spec: &AnswerSpec) -> AnswerBody {
    let content = match &spec.tool {
        Some(call) => format!(
            r#"{{"type":"tool_use","id":"toolu_01Mock{ID}","name":{},"input":{}}}"#,
            call.name_json(),
            call.arguments
        ),
        None => format!(
            r#"{{"type":"text","text":"{}"}}"#,
            text::pieces(spec.output, spec.events.min(1)).concat()
        ),
    };
    AnswerBody::json(format!(
        r#"{{"model":{model},"id":"msg_01Mock{ID}","type":"message","role":"assistant","content":[{content}],"stop_reason":"{reason}","stop_sequence":null,"usage":{usage}}}"#,
        reason = stop_reason(spec),
        model = spec.model_json(),
        usage = usage(spec, spec.output),
    ))
}

/// `POST /v1/messages` with `stream`.
pub fn stream(spec: &AnswerSpec) -> AnswerBody {
    let mut events = vec![
        event(
            "message_start",
            &format!(
                r#""message":{{"model":{model},"id":"msg_01Mock{ID}","type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,"usage":{usage}}}"#,
                model = spec.model_json(),
                usage = usage(spec, spec.output.min(1)),
            ),
        ),
        event("content_block_start", &format!(r#""index":0,"content_block":{}"#, block(spec))),
        event("ping", ""),
    ];
    for delta in deltas(spec) {
        events.push(event("content_block_delta", &format!(r#""index":0,"delta":{delta}"#)));
    }
    events.push(event("content_block_stop", r#""index":0"#));
    events.push(event(
        "message_delta",
        &format!(
            r#""delta":{{"stop_reason":"{}","stop_sequence":null}},"usage":{{"input_tokens":{},"cache_creation_input_tokens":{},"cache_read_input_tokens":{},"output_tokens":{}}}"#,
            stop_reason(spec),
            spec.plain_input(),
            spec.cache_write + spec.cache_write_1h,
            spec.cache_read,
            spec.output,
        ),
    ));
    events.push(event("message_stop", ""));
    AnswerBody::events(events)
}

fn stop_reason(spec: &AnswerSpec) -> &'static str {
    if spec.tool.is_some() { "tool_use" } else { "end_turn" }
}

/// The start of the one block of a stream.
fn block(spec: &AnswerSpec) -> String {
    match &spec.tool {
        Some(call) => {
            format!(
                r#"{{"type":"tool_use","id":"toolu_01Mock{ID}","name":{},"input":{{}}}}"#,
                call.name_json()
            )
        }
        None => r#"{"type":"text","text":""}"#.to_owned(),
    }
}

/// The deltas that follow.
fn deltas(spec: &AnswerSpec) -> Vec<String> {
    if let Some(call) = &spec.tool {
        let pieces = call.argument_pieces().into_iter();
        return pieces
            .map(|piece| format!(r#"{{"type":"input_json_delta","partial_json":{piece}}}"#))
            .collect();
    }
    let pieces = text::pieces(spec.output, spec.events).into_iter();
    pieces.map(|piece| format!(r#"{{"type":"text_delta","text":"{piece}"}}"#)).collect()
}

fn event(kind: &str, members: &str) -> Vec<u8> {
    let comma = if members.is_empty() { "" } else { "," };
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{comma}{members}}}\n\n").into_bytes()
}

fn usage(spec: &AnswerSpec, output: u64) -> String {
    format!(
        r#"{{"input_tokens":{},"cache_creation_input_tokens":{},"cache_read_input_tokens":{},"cache_creation":{{"ephemeral_5m_input_tokens":{},"ephemeral_1h_input_tokens":{}}},"output_tokens":{output},"service_tier":"standard"}}"#,
        spec.plain_input(),
        spec.cache_write + spec.cache_write_1h,
        spec.cache_read,
        spec.cache_write,
        spec.cache_write_1h,
    )
}

/// `POST /v1/messages/count_tokens`.
pub fn count(input: u64) -> AnswerBody {
    AnswerBody::json(format!(r#"{{"input_tokens":{input}}}"#))
}

/// `GET /v1/models/…`
pub fn model(id: &str) -> String {
    format!(
        r#"{{"type":"model","id":"{id}","display_name":"{id} (mock)","created_at":"2026-01-01T00:00:00Z"}}"#
    )
}

/// `GET /v1/models`.
pub fn models(ids: &[&str]) -> AnswerBody {
    let data: Vec<String> = ids.iter().map(|id| model(id)).collect();
    AnswerBody::json(format!(
        r#"{{"data":[{}],"has_more":false,"first_id":"{}","last_id":"{}"}}"#,
        data.join(","),
        ids.first().unwrap_or(&""),
        ids.last().unwrap_or(&""),
    ))
}
