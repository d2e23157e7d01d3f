//! AWS Bedrock's `InvokeModel` and its neighbours, for Anthropic's models. Source: Amazon Bedrock API reference.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::mock::answer_body::AnswerBody;
use crate::mock::answer_spec::AnswerSpec;
use crate::mock::anthropic;
use crate::mock::event_stream::frame;

/// What stands in each chunk to hide how long its event is.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// `/model/{id}/invoke-with-response-stream`: Anthropic's events, each in a frame.
pub fn stream(spec: &AnswerSpec) -> AnswerBody {
    let events = anthropic::stream(spec).frames;
    let frames = events.iter().filter_map(|event| {
        let event = std::str::from_utf8(event).ok()?.split_once("data: ")?.1.trim_end();
        Some(if event == STOP { chunk(&with_metrics(event, spec)) } else { chunk(event) })
    });
    AnswerBody {
        content_type: "application/vnd.amazon.eventstream",
        frames: frames.collect(),
        is_stream: true,
    }
}

const STOP: &str = r#"{"type":"message_stop"}"#;

/// Bedrock adds what it has counted to the last event.
fn with_metrics(event: &str, spec: &AnswerSpec) -> String {
    let open = event.trim_end_matches('}');
    format!(
        r#"{open},"amazon-bedrock-invocationMetrics":{{"inputTokenCount":{},"outputTokenCount":{},"invocationLatency":1200,"firstByteLatency":300,"cacheReadInputTokenCount":{},"cacheWriteInputTokenCount":{}}}}}"#,
        spec.plain_input(),
        spec.output,
        spec.cache_read,
        spec.cache_write + spec.cache_write_1h,
    )
}

fn chunk(event: &str) -> Vec<u8> {
    let padding = PADDING.get(..event.len() % PADDING.len()).unwrap_or_default();
    let payload = format!(r#"{{"bytes":"{}","p":"{padding}"}}"#, STANDARD.encode(event));
    frame(
        &[(":event-type", "chunk"), (":content-type", "application/json"), (":message-type", "event")],
        payload.as_bytes(),
    )
}

/// `/model/{id}/count-tokens`.
pub fn count(input: u64) -> AnswerBody {
    AnswerBody::json(format!(r#"{{"inputTokens":{input}}}"#))
}

/// The body that a count is asked for, which is in base64 there.
pub fn counted_body(body: &[u8]) -> Option<Vec<u8>> {
    let request: Value = serde_json::from_slice(body).ok()?;
    STANDARD.decode(request["input"]["invokeModel"]["body"].as_str()?).ok()
}
