//! OpenAI Chat Completions, Completions and Embeddings. Source: OpenAI API reference.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::mock::answer_body::{AnswerBody, ID};
use crate::mock::answer_spec::AnswerSpec;
use crate::mock::text;

/// When everything was created: a moment in November 2026.
pub const CREATED: u64 = 1_795_392_000;
/// Numbers in an embedding.
const DIMENSIONS: usize = 8;

/// `POST /v1/chat/completions`.
pub fn chat(spec: &AnswerSpec) -> AnswerBody {
    let content = match &spec.tool {
        Some(call) => format!(
            r#""content":null,"tool_calls":[{{"id":"call_{ID}","type":"function","function":{{"name":{},"arguments":{}}}}}]"#,
            call.name_json(),
            call.arguments_json()
        ),
        None => {
            format!(r#""content":"{}""#, text::pieces(spec.output, spec.events.min(1)).concat())
        }
    };
    AnswerBody::json(format!(
        r#"{{"id":"chatcmpl-{ID}","object":"chat.completion","created":{CREATED},"model":{model},"choices":[{{"index":0,"message":{{"role":"assistant",{content},"refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"{reason}"}}],"usage":{usage},"service_tier":"default","system_fingerprint":"fp_mock"}}"#,
        model = spec.model_json(),
        reason = finish_reason(spec),
        usage = usage(spec),
    ))
}

fn finish_reason(spec: &AnswerSpec) -> &'static str {
    if spec.tool.is_some() { "tool_calls" } else { "stop" }
}

/// The members of a stream's deltas after the first.
fn deltas(spec: &AnswerSpec) -> Vec<String> {
    let Some(call) = &spec.tool else {
        let pieces = text::pieces(spec.output, spec.events).into_iter();
        return pieces.map(|piece| format!(r#""content":"{piece}""#)).collect();
    };
    let begin = format!(
        r#""tool_calls":[{{"index":0,"id":"call_{ID}","type":"function","function":{{"name":{},"arguments":""}}}}]"#,
        call.name_json()
    );
    let pieces = call.argument_pieces().into_iter();
    let pieces =
        pieces.map(|piece| format!(r#""tool_calls":[{{"index":0,"function":{{"arguments":{piece}}}}}]"#));
    std::iter::once(begin).chain(pieces).collect()
}

/// `POST /v1/chat/completions` with `stream`.
pub fn chat_stream(spec: &AnswerSpec) -> AnswerBody {
    let chunk = |choices: &str, usage: &str| {
        let usage = if spec.wants_usage { format!(r#","usage":{usage}"#) } else { String::new() };
        format!(
            "data: {{\"id\":\"chatcmpl-{ID}\",\"object\":\"chat.completion.chunk\",\"created\":{CREATED},\"model\":{model},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\",\"choices\":[{choices}]{usage}}}\n\n",
            model = spec.model_json(),
        )
        .into_bytes()
    };
    let choice = |delta: &str, reason: &str| {
        let choice = format!(r#"{{"index":0,"delta":{{{delta}}},"logprobs":null,"finish_reason":{reason}}}"#);
        chunk(&choice, "null")
    };
    let content = if spec.tool.is_some() { "null" } else { r#""""# };
    let mut events =
        vec![choice(&format!(r#""role":"assistant","content":{content},"refusal":null"#), "null")];
    events.extend(deltas(spec).iter().map(|delta| choice(delta, "null")));
    events.push(choice("", &format!(r#""{}""#, finish_reason(spec))));
    if spec.wants_usage {
        events.push(chunk("", &usage(spec)));
    }
    events.push(b"data: [DONE]\n\n".to_vec());
    AnswerBody::events(events)
}

/// `POST /v1/completions`.
pub fn completion(spec: &AnswerSpec) -> AnswerBody {
    let content = text::pieces(spec.output, spec.events.min(1)).concat();
    AnswerBody::json(format!(
        r#"{{"id":"cmpl-{ID}","object":"text_completion","created":{CREATED},"model":{model},"choices":[{{"text":"{content}","index":0,"logprobs":null,"finish_reason":"stop"}}],"usage":{usage}}}"#,
        model = spec.model_json(),
        usage = usage(spec),
    ))
}

/// `POST /v1/completions` with `stream`.
pub fn completion_stream(spec: &AnswerSpec) -> AnswerBody {
    let chunk = |choices: &str, usage: &str| {
        let usage = if spec.wants_usage { format!(r#","usage":{usage}"#) } else { String::new() };
        format!(
            "data: {{\"id\":\"cmpl-{ID}\",\"object\":\"text_completion\",\"created\":{CREATED},\"model\":{model},\"choices\":[{choices}]{usage}}}\n\n",
            model = spec.model_json(),
        )
        .into_bytes()
    };
    let choice = |text: &str, reason: &str| {
        let choice = format!(r#"{{"text":"{text}","index":0,"logprobs":null,"finish_reason":{reason}}}"#);
        chunk(&choice, "null")
    };
    let mut events: Vec<_> =
        text::pieces(spec.output, spec.events).iter().map(|piece| choice(piece, "null")).collect();
    events.push(choice("", r#""stop""#));
    if spec.wants_usage {
        events.push(chunk("", &usage(spec)));
    }
    events.push(b"data: [DONE]\n\n".to_vec());
    AnswerBody::events(events)
}

/// `POST /v1/embeddings`; `as_base64` is what the official SDKs ask for.
pub fn embeddings(spec: &AnswerSpec, as_base64: bool) -> AnswerBody {
    let numbers: Vec<f32> = [0.25, -0.5].into_iter().cycle().take(DIMENSIONS).collect();
    let vector = if as_base64 {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        format!("\"{}\"", STANDARD.encode(bytes))
    } else {
        format!("{numbers:?}")
    };
    AnswerBody::json(format!(
        r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":{vector}}}],"model":{model},"usage":{{"prompt_tokens":{input},"total_tokens":{input}}}}}"#,
        model = spec.model_json(),
        input = spec.input,
    ))
}

fn usage(spec: &AnswerSpec) -> String {
    format!(
        r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#,
        spec.input,
        spec.output,
        spec.input + spec.output,
        spec.cache_read,
        spec.reasoning,
    )
}

/// `GET /v1/models/…`
pub fn model(id: &str) -> String {
    format!(r#"{{"id":"{id}","object":"model","created":{CREATED},"owned_by":"mock"}}"#)
}

/// `GET /v1/models`. Codex reads a list of its own, `models`, beside OpenAI's `data`.
pub fn models(ids: &[&str]) -> AnswerBody {
    let data: Vec<String> = ids.iter().map(|id| model(id)).collect();
    AnswerBody::json(format!(r#"{{"object":"list","data":[{}]}}"#, data.join(",")))
}
