//! The stream of Bedrock's `InvokeModelWithResponseStream` as the one that Anthropic's API would have sent: frames with
//! events in base64 become server-sent events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;

use super::bedrock_errors::{Exception, anthropic_error};
use super::event_stream::{BadFrame, Decoder, Message};
use crate::json::object::{members, string};

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStream {
    #[error("Bedrock's stream cannot be read: {0}")]
    Frame(#[from] BadFrame),
    #[error("Bedrock's stream cannot be read: an event has no content")]
    Event,
}

/// Translates one stream.
#[derive(Debug)]
pub struct AnthropicEvents {
    frames: Decoder,
    /// An exception has come, which is the last that a stream has to say.
    is_over: bool,
}

impl AnthropicEvents {
    /// A frame of more than `frame_max` bytes is an error; AWS sends none larger than
    /// [`FRAME_MAX`](super::event_stream::FRAME_MAX).
    #[must_use]
    pub fn new(frame_max: usize) -> Self {
        Self { frames: Decoder::new(frame_max), is_over: false }
    }

    /// Takes the next bytes of the answer, and appends to `events` those server-sent events that are whole with them.
    ///
    /// # Errors
    /// [`BadStream`]: the answer is broken off here. What was appended before is valid.
    pub fn push(&mut self, bytes: &[u8], events: &mut BytesMut) -> Result<(), BadStream> {
        self.frames.feed(bytes);
        while let Some(message) = self.frames.next_message()? {
            if !self.is_over {
                self.translate(&message, events)?;
            }
        }
        Ok(())
    }

    /// Says whether the answer may end here.
    ///
    /// # Errors
    /// [`BadStream`]: within a frame.
    pub fn finish(&self) -> Result<(), BadStream> {
        Ok(self.frames.finish()?)
    }

    fn translate(&mut self, message: &Message, events: &mut BytesMut) -> Result<(), BadStream> {
        let kind = message.text(":message-type").unwrap_or("event");
        if kind == "event" {
            return match message.text(":event-type") {
                Some("chunk") => chunk(&message.payload, events),
                // Others say nothing to a client of Anthropic's.
                _ => Ok(()),
            };
        }
        self.is_over = true;
        // An `exception` has a body, an `error` has headers.
        let name =
            message.text(":exception-type").or_else(|| message.text(":error-code")).unwrap_or_default();
        let told = message.text(":error-message").map(|told| format!(r#"{{"message":{}}}"#, quoted(told)));
        let body = told.as_ref().map_or(&*message.payload, |told| told.as_bytes());
        write_event(events, "error", &anthropic_error(&Exception { name, status: None, body }));
        Ok(())
    }
}

fn quoted(text: &str) -> serde_json::Value {
    serde_json::Value::from(text)
}

/// `{"bytes":"<base64 of an event>","p":"<padding>"}`
fn chunk(payload: &[u8], events: &mut BytesMut) -> Result<(), BadStream> {
    let data = text_member(payload, b"bytes").ok_or(BadStream::Event)?;
    let data = STANDARD.decode(data.as_bytes()).map_err(|_| BadStream::Event)?;
    let kind = text_member(&data, b"type").ok_or(BadStream::Event)?;
    // It becomes a line.
    if kind.contains(char::is_control) {
        return Err(BadStream::Event);
    }
    write_event(events, &kind, &data);
    Ok(())
}

fn text_member(object: &[u8], name: &[u8]) -> Option<String> {
    let mut found = None;
    members(object, 0, |key, value| {
        if key == name {
            found = object.get(value).and_then(string).map(std::borrow::Cow::into_owned);
        }
    })?;
    found
}

fn write_event(events: &mut BytesMut, kind: &str, data: &[u8]) {
    events.extend_from_slice(b"event: ");
    events.extend_from_slice(kind.as_bytes());
    events.extend_from_slice(b"\n");
    // Anthropic's JSON has no line breaks; if it had, each line would be one of the event.
    for line in data.split(|byte| matches!(byte, b'\n' | b'\r')) {
        events.extend_from_slice(b"data: ");
        events.extend_from_slice(line);
        events.extend_from_slice(b"\n");
    }
    events.extend_from_slice(b"\n");
}

#[cfg(test)]
mod tests {
    use super::super::event_stream::FRAME_MAX;
    use super::super::event_stream::tests::frame;
    use super::*;

    const CHUNK: &[u8] = b"\x0b:event-type\x07\0\x05chunk\x0d:message-type\x07\0\x05event";

    fn chunk_frame(event: &str) -> Vec<u8> {
        frame(CHUNK, format!(r#"{{"bytes":"{}","p":"abc"}}"#, STANDARD.encode(event)).as_bytes())
    }

    fn translated(bytes: &[u8]) -> (String, Result<(), BadStream>) {
        let mut events = BytesMut::new();
        let mut stream = AnthropicEvents::new(FRAME_MAX);
        let end = stream.push(bytes, &mut events).and_then(|()| stream.finish());
        (String::from_utf8(events.to_vec()).expect("text"), end)
    }

    #[test]
    fn events_are_those_that_anthropic_would_have_sent() {
        let (one, two) = (r#"{"type":"ping"}"#, r#"{"type":"message_delta","usage":{"output_tokens":1}}"#);
        let bytes =
            [chunk_frame(one), frame(b"\x0b:event-type\x07\0\x03new", b"?"), chunk_frame(two)].concat();
        let expected = format!("event: ping\ndata: {one}\n\nevent: message_delta\ndata: {two}\n\n");
        assert_eq!(translated(&bytes), (expected, Ok(())));
        let lines = chunk_frame("{\n\"type\":\"ping\"}");
        assert_eq!(translated(&lines).0, "event: ping\ndata: {\ndata: \"type\":\"ping\"}\n\n");
    }

    #[test]
    fn an_exception_is_the_last_event() {
        let exception: &[u8] =
            b"\x0d:message-type\x07\0\x09exception\x0f:exception-type\x07\0\x13throttlingException";
        let error: &[u8] =
            b"\x0d:message-type\x07\0\x05error\x0b:error-code\x07\0\x03Odd\x0e:error-message\x07\0\x03a\"b";
        for (last, kind, message) in [
            (frame(exception, br#"{"message":"slow down"}"#), "rate_limit_error", "slow down"),
            (frame(error, b""), "api_error", r#"a\"b"#),
        ] {
            let bytes = [last, chunk_frame(r#"{"type":"ping"}"#)].concat();
            let expected = format!(
                "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"{message}\"}}}}\n\n"
            );
            assert_eq!(translated(&bytes), (expected, Ok(())));
        }
    }

    #[test]
    fn what_is_no_event_breaks_the_answer_off_behind_what_was() {
        let good = chunk_frame(r#"{"type":"ping"}"#);
        for bad in [
            frame(CHUNK, b"{}"),
            frame(CHUNK, br#"{"bytes":"*"}"#),
            chunk_frame("[]"),
            chunk_frame("{}"),
            chunk_frame(r#"{"type":"a\nb"}"#),
        ] {
            let (events, end) = translated(&[good.clone(), bad].concat());
            assert_eq!(
                (events.as_str(), end),
                ("event: ping\ndata: {\"type\":\"ping\"}\n\n", Err(BadStream::Event))
            );
        }
        let cut = translated(good.get(..good.len() - 1).expect("a part"));
        assert_eq!(cut, (String::new(), Err(BadStream::Frame(BadFrame::Truncated))));
    }
}
