//! Going on from a response that was posted. A provider keeps what was said over its WebSocket, and a caller sends only
//! what is new; where there is no such WebSocket it is kept here, one response for each stream, as long as the
//! connection lasts, and made whole again.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::dialect::websocket::ClientMessage;
use crate::json::edit::with_members;
use crate::proxy::request_body::BodyPermit;

/// What the last responses of a connection's streams were about.
#[derive(Default)]
pub(super) struct Continuations(Mutex<HashMap<Option<String>, Kept>>);

struct Kept {
    id: String,
    /// Everything that was said, the response's own items last; members of an array.
    items: String,
    _permit: BodyPermit,
}

#[derive(Deserialize)]
struct Call<'c> {
    #[serde(borrow, default)]
    input: Option<&'c RawValue>,
}

#[derive(Deserialize)]
struct Completed<'e> {
    #[serde(borrow, rename = "type")]
    kind: &'e str,
    #[serde(borrow)]
    response: CompletedResponse<'e>,
}

#[derive(Deserialize)]
struct CompletedResponse<'e> {
    #[serde(borrow)]
    id: &'e str,
    #[serde(borrow, default)]
    output: Option<&'e RawValue>,
}

impl Continuations {
    /// The call with all that it goes on from, if that is known here.
    pub(super) fn whole(&self, asked: &ClientMessage, call: &[u8]) -> Option<Bytes> {
        let previous = asked.previous.as_ref()?;
        let kept = self.0.lock();
        let kept = kept.values().find(|kept| kept.id == *previous)?;
        let input = joined(&kept.items, &items(call)?);
        let replaced = |key: &[u8]| matches!(key, b"input" | b"previous_response_id");
        with_members(call, replaced, &format!(r#""input":[{input}]"#))
    }

    /// Keeps what a call and its last event have said, if there is room for it; what it goes on from is in the call.
    pub(super) fn keep(&self, stream: Option<&str>, call: &[u8], event: &str, mut permit: BodyPermit) {
        let Ok(Completed { kind: "response.completed", response }) = serde_json::from_str(event) else {
            return;
        };
        let Some(said) = items(call) else { return };
        let items = joined(&said, &response.output.map(|output| members(output.get())).unwrap_or_default());
        let id = response.id.to_owned();
        let mut kept = self.0.lock();
        let stream = stream.map(str::to_owned);
        // Its room goes to the one that follows.
        kept.remove(&stream);
        if permit.grow_within_share(items.len()).is_ok() {
            kept.insert(stream, Kept { id, items, _permit: permit });
        }
    }
}

/// What a call says, as members of an array.
fn items(call: &[u8]) -> Option<String> {
    let call: Call<'_> = serde_json::from_slice(call).ok()?;
    let Some(input) = call.input.map(RawValue::get) else { return Some(String::new()) };
    if input.starts_with('[') {
        return Some(members(input));
    }
    input.starts_with('"').then(|| format!(r#"{{"type":"message","role":"user","content":{input}}}"#))
}

/// What stands between the brackets of an array.
fn members(array: &str) -> String {
    let inner = array.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or_default().trim().to_owned()
}

fn joined(first: &str, second: &str) -> String {
    let filled = [first, second].into_iter().filter(|part| !part.is_empty());
    filled.collect::<Vec<_>>().join(",")
}

/// The events of a response that only makes ready, where there is nothing to make ready: it can be gone on from.
pub(super) fn made_ready(asked: &ClientMessage) -> [String; 2] {
    let id = format!("resp_{}", Uuid::now_v7().simple());
    let event = |kind: &str, number: u64, status: &str, usage: Value| {
        let mut event = json!({ "type": kind, "sequence_number": number, "response": {
            "id": id, "object": "response", "status": status, "model": asked.model, "output": [], "error": null,
            "incomplete_details": null, "usage": usage,
        } });
        if let Some(stream) = &asked.stream {
            event["stream_id"] = Value::from(stream.as_str());
        }
        event.to_string()
    };
    let nothing = json!({
        "input_tokens": 0, "input_tokens_details": { "cached_tokens": 0 }, "output_tokens": 0,
        "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 0,
    });
    [
        event("response.created", 0, "in_progress", Value::Null),
        event("response.completed", 1, "completed", nothing),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::UserId;
    use crate::proxy::request_body::BodyMemory;

    fn asked(previous: &str) -> ClientMessage {
        let message = json!({ "type": "response.create", "previous_response_id": previous, "model": "m" });
        ClientMessage::read(&message.to_string()).unwrap()
    }

    fn completed(id: &str, output: &Value) -> String {
        json!({ "type": "response.completed", "response": { "id": id, "output": output } }).to_string()
    }

    #[test]
    fn what_was_said_before_stands_before_what_is_new() {
        let memory = BodyMemory::new(1 << 20, 1 << 20);
        let permit = || memory.empty_permit(UserId::new());
        let kept = Continuations::default();
        let output = json!([{ "type": "function_call", "call_id": "c" }]);
        kept.keep(None, br#"{"model":"m","input":"hi"}"#, &completed("r1", &output), permit());
        let new = br#"{"previous_response_id":"r1","model":"m","input":[ {"type":"function_call_output","call_id":"c"} ]}"#;
        let whole = kept.whole(&asked("r1"), new).unwrap();
        let expected = r#"{"input":[{"type":"message","role":"user","content":"hi"},{"type":"function_call","call_id":"c"},{"type":"function_call_output","call_id":"c"}],"model":"m"}"#;
        assert_eq!(whole, expected);
        // The next goes on from the whole.
        kept.keep(None, &whole, &completed("r2", &json!([])), permit());
        assert!(kept.whole(&asked("r1"), new).is_none(), "one of each stream is kept");
        let whole = kept.whole(&asked("r2"), br#"{"input":[]}"#).unwrap();
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(whole["input"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn nothing_is_kept_without_room_and_what_has_failed_is_not() {
        let memory = BodyMemory::new(64, 64);
        let permit = || memory.empty_permit(UserId::new());
        let kept = Continuations::default();
        let long = json!({ "input": "x".repeat(100) }).to_string();
        kept.keep(None, long.as_bytes(), &completed("r1", &json!([])), permit());
        assert!(kept.whole(&asked("r1"), b"{}").is_none());
        kept.keep(None, b"{}", r#"{"type":"response.failed","response":{"id":"r1"}}"#, permit());
        assert!(kept.whole(&asked("r1"), b"{}").is_none());
    }
}
