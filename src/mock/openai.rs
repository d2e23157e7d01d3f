//! OpenAI Chat Completions, Completions and Embeddings. Source: OpenAI API reference.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::mock::answer::{ID, Made};
use crate::mock::text;
use crate::mock::wanted::Wanted;

/// When everything was created: a moment in November 2026.
pub const CREATED: u64 = 1_795_392_000;
/// Numbers in an embedding.
const DIMENSIONS: usize = 8;

/// `POST /v1/chat/completions`.
pub fn chat(wanted: &Wanted) -> Made {
    let content = match &wanted.tool {
        Some(call) => format!(
            r#""content":null,"tool_calls":[{{"id":"call_{ID}","type":"function","function":{{"name":{},"arguments":{}}}}}]"#,
            call.name_json(),
            call.arguments_json()
        ),
        None => {
            format!(r#""content":"{}""#, text::pieces(wanted.output, wanted.events.min(1)).concat())
        }
    };
    Made::json(format!(
        r#"{{"id":"chatcmpl-{ID}","object":"chat.completion","created":{CREATED},"model":{model},"choices":[{{"index":0,"message":{{"role":"assistant",{content},"refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"{reason}"}}],"usage":{usage},"service_tier":"default","system_fingerprint":"fp_mock"}}"#,
        model = wanted.model_json(),
        reason = finish_reason(wanted),
        usage = usage(wanted),
    ))
}

fn finish_reason(wanted: &Wanted) -> &'static str {
    if wanted.tool.is_some() { "tool_calls" } else { "stop" }
}

/// The members of a stream's deltas after the first.
fn deltas(wanted: &Wanted) -> Vec<String> {
    let Some(call) = &wanted.tool else {
        let pieces = text::pieces(wanted.output, wanted.events).into_iter();
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
pub fn chat_stream(wanted: &Wanted) -> Made {
    let chunk = |choices: &str, usage: &str| {
        let usage = if wanted.wants_usage { format!(r#","usage":{usage}"#) } else { String::new() };
        format!(
            "data: {{\"id\":\"chatcmpl-{ID}\",\"object\":\"chat.completion.chunk\",\"created\":{CREATED},\"model\":{model},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\",\"choices\":[{choices}]{usage}}}\n\n",
            model = wanted.model_json(),
        )
        .into_bytes()
    };
    let choice = |delta: &str, reason: &str| {
        let choice = format!(r#"{{"index":0,"delta":{{{delta}}},"logprobs":null,"finish_reason":{reason}}}"#);
        chunk(&choice, "null")
    };
    let content = if wanted.tool.is_some() { "null" } else { r#""""# };
    let mut events =
        vec![choice(&format!(r#""role":"assistant","content":{content},"refusal":null"#), "null")];
    events.extend(deltas(wanted).iter().map(|delta| choice(delta, "null")));
    events.push(choice("", &format!(r#""{}""#, finish_reason(wanted))));
    if wanted.wants_usage {
        events.push(chunk("", &usage(wanted)));
    }
    events.push(b"data: [DONE]\n\n".to_vec());
    Made::events(events)
}

/// `POST /v1/completions`.
pub fn completion(wanted: &Wanted) -> Made {
    let content = text::pieces(wanted.output, wanted.events.min(1)).concat();
    Made::json(format!(
        r#"{{"id":"cmpl-{ID}","object":"text_completion","created":{CREATED},"model":{model},"choices":[{{"text":"{content}","index":0,"logprobs":null,"finish_reason":"stop"}}],"usage":{usage}}}"#,
        model = wanted.model_json(),
        usage = usage(wanted),
    ))
}

/// `POST /v1/completions` with `stream`.
pub fn completion_stream(wanted: &Wanted) -> Made {
    let chunk = |choices: &str, usage: &str| {
        let usage = if wanted.wants_usage { format!(r#","usage":{usage}"#) } else { String::new() };
        format!(
            "data: {{\"id\":\"cmpl-{ID}\",\"object\":\"text_completion\",\"created\":{CREATED},\"model\":{model},\"choices\":[{choices}]{usage}}}\n\n",
            model = wanted.model_json(),
        )
        .into_bytes()
    };
    let choice = |text: &str, reason: &str| {
        let choice = format!(r#"{{"text":"{text}","index":0,"logprobs":null,"finish_reason":{reason}}}"#);
        chunk(&choice, "null")
    };
    let mut events: Vec<_> =
        text::pieces(wanted.output, wanted.events).iter().map(|piece| choice(piece, "null")).collect();
    events.push(choice("", r#""stop""#));
    if wanted.wants_usage {
        events.push(chunk("", &usage(wanted)));
    }
    events.push(b"data: [DONE]\n\n".to_vec());
    Made::events(events)
}

/// `POST /v1/embeddings`; `as_base64` is what the official SDKs ask for.
pub fn embeddings(wanted: &Wanted, as_base64: bool) -> Made {
    let numbers: Vec<f32> = [0.25, -0.5].into_iter().cycle().take(DIMENSIONS).collect();
    let vector = if as_base64 {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        format!("\"{}\"", STANDARD.encode(bytes))
    } else {
        format!("{numbers:?}")
    };
    Made::json(format!(
        r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":{vector}}}],"model":{model},"usage":{{"prompt_tokens":{input},"total_tokens":{input}}}}}"#,
        model = wanted.model_json(),
        input = wanted.input,
    ))
}

fn usage(wanted: &Wanted) -> String {
    format!(
        r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#,
        wanted.input,
        wanted.output,
        wanted.input + wanted.output,
        wanted.cache_read,
        wanted.reasoning,
    )
}

/// `GET /v1/models/…`
pub fn model(id: &str) -> String {
    format!(r#"{{"id":"{id}","object":"model","created":{CREATED},"owned_by":"mock"}}"#)
}

/// `GET /v1/models`. Codex reads a list of its own, `models`, beside OpenAI's `data`.
pub fn models(ids: &[&str]) -> Made {
    let data: Vec<String> = ids.iter().map(|id| model(id)).collect();
    Made::json(format!(r#"{{"object":"list","data":[{}]}}"#, data.join(",")))
}
