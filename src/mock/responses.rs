//! OpenAI Responses. Source: OpenAI API reference, "Responses" and "Streaming events".

use serde_json::Value;

use crate::mock::answer_body::{AnswerBody, ID};
use crate::mock::answer_spec::AnswerSpec;
use crate::mock::errors::ErrorSpec;
use crate::mock::openai::CREATED;
use crate::mock::text;
use crate::mock::tools::ToolCall;

/// `POST /v1/responses`.
pub fn response(spec: &AnswerSpec) -> AnswerBody {
    if let Some(call) = &spec.tool {
        return AnswerBody::json(object(
            spec,
            "completed",
            &call_item(call, "completed", true),
            &usage(spec),
        ));
    }
    let content = text::pieces(spec.output, spec.events.min(1)).concat();
    AnswerBody::json(object(spec, "completed", &item("completed", &content), &usage(spec)))
}

/// `POST /v1/responses` with `stream`: the events of one message, in the order OpenAI sends them.
pub fn stream(spec: &AnswerSpec) -> AnswerBody {
    if let Some(call) = &spec.tool {
        return call_stream(spec, call);
    }
    let pieces = text::pieces(spec.output, spec.events);
    let whole = pieces.concat();
    let place = format!(r#""item_id":"msg_{ID}","output_index":0,"content_index":0"#);
    let mut events = Events::default();
    let begun = object(spec, "in_progress", "", "null");
    events.add("response.created", &format!(r#""response":{begun}"#));
    events.add("response.in_progress", &format!(r#""response":{begun}"#));
    events.add(
        "response.output_item.added",
        &format!(
            r#""output_index":0,"item":{{"id":"msg_{ID}","type":"message","status":"in_progress","content":[],"role":"assistant"}}"#
        ),
    );
    events.add("response.content_part.added", &format!(r#"{place},"part":{}"#, part("")));
    for piece in &pieces {
        events.add("response.output_text.delta", &format!(r#"{place},"delta":"{piece}","logprobs":[]"#));
    }
    events.add("response.output_text.done", &format!(r#"{place},"text":"{whole}","logprobs":[]"#));
    events.add("response.content_part.done", &format!(r#"{place},"part":{}"#, part(&whole)));
    let item = item("completed", &whole);
    events.add("response.output_item.done", &format!(r#""output_index":0,"item":{item}"#));
    let done = object(spec, "completed", &item, &usage(spec));
    events.add("response.completed", &format!(r#""response":{done}"#));
    AnswerBody::events(events.0)
}

/// The events of one function call.
fn call_stream(spec: &AnswerSpec, call: &ToolCall) -> AnswerBody {
    let place = format!(r#""item_id":"fc_{ID}","output_index":0"#);
    let mut events = Events::default();
    let begun = object(spec, "in_progress", "", "null");
    events.add("response.created", &format!(r#""response":{begun}"#));
    events.add("response.in_progress", &format!(r#""response":{begun}"#));
    let item = call_item(call, "in_progress", false);
    events.add("response.output_item.added", &format!(r#""output_index":0,"item":{item}"#));
    for piece in call.argument_pieces() {
        events.add("response.function_call_arguments.delta", &format!(r#"{place},"delta":{piece}"#));
    }
    let arguments = call.arguments_json();
    events.add("response.function_call_arguments.done", &format!(r#"{place},"arguments":{arguments}"#));
    let item = call_item(call, "completed", true);
    events.add("response.output_item.done", &format!(r#""output_index":0,"item":{item}"#));
    let done = object(spec, "completed", &item, &usage(spec));
    events.add("response.completed", &format!(r#""response":{done}"#));
    AnswerBody::events(events.0)
}

/// The event that ends a response which failed.
pub fn failed(spec: &AnswerSpec, error: &ErrorSpec, number: usize) -> Vec<u8> {
    let code = match error.status {
        429 => "rate_limit_exceeded",
        503 | 529 => "server_is_overloaded",
        _ => "server_error",
    };
    let code = Value::from(error.name.as_deref().unwrap_or(code));
    let error = format!(r#""error":{{"code":{code},"message":{}}}"#, Value::from(&*error.message));
    let response = object(spec, "failed", "", "null").replace(r#""error":null"#, &error);
    let kind = "response.failed";
    format!(
        "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},\"response\":{response}}}\n\n"
    )
    .into_bytes()
}

fn call_item(call: &ToolCall, status: &str, with_arguments: bool) -> String {
    format!(
        r#"{{"id":"fc_{ID}","type":"function_call","status":"{status}","arguments":{arguments},"call_id":"call_{ID}","name":{name}}}"#,
        arguments = if with_arguments { call.arguments_json() } else { r#""""#.to_owned() },
        name = call.name_json(),
    )
}

#[derive(Default)]
struct Events(Vec<Vec<u8>>);

impl Events {
    fn add(&mut self, kind: &str, members: &str) {
        let number = self.0.len();
        let event = format!(
            "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},{members}}}\n\n"
        );
        self.0.push(event.into_bytes());
    }
}

fn part(text: &str) -> String {
    format!(r#"{{"type":"output_text","annotations":[],"logprobs":[],"text":"{text}"}}"#)
}

fn item(status: &str, text: &str) -> String {
    format!(
        r#"{{"id":"msg_{ID}","type":"message","status":"{status}","content":[{}],"role":"assistant"}}"#,
        part(text)
    )
}

fn object(spec: &AnswerSpec, status: &str, output: &str, usage: &str) -> String {
    format!(
        r#"{{"id":"resp_{ID}","object":"response","created_at":{CREATED},"status":"{status}","background":false,"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":{model},"output":[{output}],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{{"effort":null,"summary":null}},"service_tier":"default","store":false,"temperature":1.0,"text":{{"format":{{"type":"text"}}}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":{usage},"user":null,"metadata":{{}}}}"#,
        model = spec.model_json(),
    )
}

fn usage(spec: &AnswerSpec) -> String {
    format!(
        r#"{{"input_tokens":{},"input_tokens_details":{{"cached_tokens":{}}},"output_tokens":{},"output_tokens_details":{{"reasoning_tokens":{}}},"total_tokens":{}}}"#,
        spec.input,
        spec.cache_read,
        spec.output,
        spec.reasoning,
        spec.input + spec.output,
    )
}
