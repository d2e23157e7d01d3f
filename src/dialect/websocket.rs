//! What goes over WebSockets in place of calls: many calls over one connection, each begun by a message and answered in
//! messages, which are the events of a stream without their frame.
//! <https://platform.openai.com/docs/guides/websocket-mode>, <https://platform.openai.com/docs/guides/realtime>

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::failure::Failure;
use crate::json::edit::with_members;

/// What is spoken over a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebsocketApi {
    /// Each message is a call, whose model it names.
    Responses,
    /// A conversation with one model, which the path names.
    Realtime,
}

impl WebsocketApi {
    /// By OpenAI's path, without the version.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/responses" => Some(Self::Responses),
            "/realtime" => Some(Self::Realtime),
            _ => None,
        }
    }
}

/// What a caller says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMessage {
    pub kind: ClientKind,
    pub model: Option<String>,
    /// Responses of one stream come one after the other; those of several at the same time.
    pub stream: Option<String>,
    /// False for a call that only makes things ready for those that follow.
    pub generates: bool,
    /// The response that it goes on from.
    pub previous: Option<String>,
    /// The caller's name of the message, by which errors say what they are about.
    pub id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Asks for a response.
    Create,
    /// Adds to what is under way, which makes responses that nobody has asked for.
    Steer,
    Other,
}

/// What a provider says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEvent {
    pub kind: ServerKind,
    pub stream: Option<String>,
    /// The response that it is about, where it says so.
    pub response: Option<String>,
    /// Of an error: the message that it is about, where that had a name.
    pub message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// A response begins.
    Created,
    /// It ends, with what it used.
    Ended,
    /// What was said has been written down, with what that used.
    Transcribed,
    /// Something went wrong.
    Error,
    Other,
}

/// The message that asks for a response.
const CREATE: &str = "response.create";
/// The longest name of a stream that is kept.
const STREAM_MAX: usize = 256;

#[derive(Deserialize)]
struct Wire<'m> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'m, str>,
    #[serde(borrow, default)]
    model: Option<Cow<'m, str>>,
    #[serde(borrow, default)]
    stream_id: Option<Cow<'m, str>>,
    #[serde(borrow, default)]
    response_id: Option<Cow<'m, str>>,
    #[serde(borrow, default)]
    previous_response_id: Option<Cow<'m, str>>,
    #[serde(borrow, default)]
    event_id: Option<Cow<'m, str>>,
    #[serde(default)]
    generate: Option<bool>,
    #[serde(borrow, default)]
    response: Option<WireResponse<'m>>,
    #[serde(borrow, default)]
    error: Option<WireError<'m>>,
}

#[derive(Deserialize)]
struct WireError<'m> {
    #[serde(borrow, default)]
    event_id: Option<Cow<'m, str>>,
}

#[derive(Deserialize)]
struct WireResponse<'m> {
    #[serde(borrow, default)]
    id: Option<Cow<'m, str>>,
}

impl ClientMessage {
    /// # Errors
    /// In words: it is none.
    pub fn read(text: &str) -> Result<Self, String> {
        let not_one = |error: &dyn std::fmt::Display| {
            format!("a message has to be a JSON object with a `type`, such as \"{CREATE}\": {error}")
        };
        let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| not_one(&error))?;
        let stream = wire.stream_id.map(Cow::into_owned);
        if stream.as_ref().is_some_and(|stream| stream.len() > STREAM_MAX) {
            return Err(format!("`stream_id` has more than {STREAM_MAX} bytes"));
        }
        let kind = match &*wire.kind {
            CREATE => ClientKind::Create,
            "response.steer" => ClientKind::Steer,
            _ => ClientKind::Other,
        };
        let previous = wire.previous_response_id.map(Cow::into_owned);
        let id = wire.event_id.map(Cow::into_owned);
        let model = wire.model.map(Cow::into_owned);
        Ok(Self { kind, model, stream, generates: wire.generate != Some(false), previous, id })
    }
}

impl ServerEvent {
    /// What is no event is [`ServerKind::Other`].
    #[must_use]
    pub fn read(text: &str) -> Self {
        let Ok(wire) = serde_json::from_str::<Wire<'_>>(text) else {
            return Self { kind: ServerKind::Other, stream: None, response: None, message: None };
        };
        let kind = match &*wire.kind {
            "response.created" => ServerKind::Created,
            "response.completed" | "response.incomplete" | "response.failed" | "response.done" => {
                ServerKind::Ended
            }
            "conversation.item.input_audio_transcription.completed" => ServerKind::Transcribed,
            "error" => ServerKind::Error,
            _ => ServerKind::Other,
        };
        let response = wire.response.and_then(|response| response.id).or(wire.response_id);
        Self {
            kind,
            stream: wire.stream_id.map(Cow::into_owned),
            response: response.map(Cow::into_owned),
            message: wire.error.and_then(|error| error.event_id).map(Cow::into_owned),
        }
    }
}

/// The model that writes down what is said, where an event says what a session is like.
#[must_use]
pub fn transcription_model(event: &str) -> Option<String> {
    if !event.contains("transcription") || !event.contains("\"session.") {
        return None;
    }
    let event: Value = serde_json::from_str(event).ok()?;
    let kind = event.get("type")?.as_str()?;
    let session = event.get("session").filter(|_| kind.starts_with("session."))?;
    let places = ["/audio/input/transcription/model", "/input_audio_transcription/model"];
    places.iter().find_map(|place| session.pointer(place)?.as_str()).map(str::to_owned)
}

/// What stands before a key among the subprotocols that a browser offers: it can set no headers.
pub const KEY_PROTOCOL: &str = "openai-insecure-api-key.";
/// The subprotocol of Realtime.
pub const REALTIME_PROTOCOL: &str = "realtime";

/// The model that a query names.
#[must_use]
pub fn model_of_query(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("model=")).filter(|model| !model.is_empty())
}

/// The same query for another model.
#[must_use]
pub fn with_model(query: &str, model: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.strip_prefix("model=") {
        Some(_) => format!("model={model}"),
        None => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// The body of the call that a message asks for. `None` if it is no object.
#[must_use]
pub fn as_call(message: &str) -> Option<Bytes> {
    let is_of_transport = |key: &[u8]| matches!(key, b"type" | b"stream_id" | b"generate" | b"stream");
    with_members(message.as_bytes(), is_of_transport, r#""stream":true"#)
}

/// The message that asks for the response that a call with this body asks for.
#[must_use]
pub fn as_message(body: &[u8], asked: &ClientMessage) -> Option<Bytes> {
    let mut added = format!(r#""type":"{CREATE}""#);
    if let Some(stream) = &asked.stream {
        let _ = write!(added, r#","stream_id":{}"#, Value::from(stream.as_str()));
    }
    if !asked.generates {
        added.push_str(r#","generate":false"#);
    }
    with_members(body, |key| matches!(key, b"stream"), &added)
}

/// An event as one of a response of the stream.
#[must_use]
pub fn with_stream(event: &str, stream: &str) -> String {
    let added = format!(r#""stream_id":{}"#, Value::from(stream));
    let made = with_members(event.as_bytes(), |key| key == b"stream_id", &added);
    let text = made.and_then(|made| String::from_utf8(made.into()).ok());
    text.unwrap_or_else(|| event.to_owned())
}

/// A whole response as the event that ends one. `None` if it is none.
#[must_use]
pub fn whole(response: &[u8]) -> Option<String> {
    let response: Value = serde_json::from_slice(response).ok()?;
    response.get("id").filter(|_| response.is_object())?;
    let event = json!({ "type": "response.completed", "sequence_number": 0, "response": response });
    Some(event.to_string())
}

/// A refusal as an event: `body` is what the same call would be answered with over HTTP.
#[must_use]
pub fn refusal(status: u16, body: &[u8], headers: Map<String, Value>, stream: Option<&str>) -> String {
    let told: Option<Value> = serde_json::from_slice(body).ok();
    let error = told.as_ref().and_then(|told| told.get("error")).cloned().unwrap_or_else(|| {
        let message = String::from_utf8_lossy(body).chars().take(1000).collect::<String>();
        json!({ "type": "server_error", "code": null, "message": message, "param": null })
    });
    let mut event = json!({ "type": "error", "status": status, "error": error });
    if !headers.is_empty() {
        event["headers"] = Value::Object(headers);
    }
    if let Some(stream) = stream {
        event["stream_id"] = Value::from(stream);
    }
    event.to_string()
}

/// That of a failure here that is about the connection rather than about one response.
#[must_use]
pub fn own_refusal(code: &str, failure: &Failure, stream: Option<&str>) -> String {
    let status = failure.kind.http_status().as_u16();
    let body = json!({ "error": {
        "type": "invalid_request_error", "code": code, "message": failure.to_string(), "param": null,
    } });
    refusal(status, body.to_string().as_bytes(), Map::new(), stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_made_of_a_message_and_a_message_of_a_call() {
        let message =
            r#"{"type":"response.create","stream_id":"a\"b","generate":false,"model":"gpt-5","input":[ 1 ]}"#;
        let read = ClientMessage::read(message).unwrap();
        assert_eq!(read.kind, ClientKind::Create);
        assert_eq!((read.stream.as_deref(), read.generates), (Some("a\"b"), false));
        let call = as_call(message).unwrap();
        assert_eq!(call, r#"{"stream":true,"model":"gpt-5","input":[ 1 ]}"#);
        let back: Value = serde_json::from_slice(&as_message(&call, &read).unwrap()).unwrap();
        assert_eq!(back, serde_json::from_str::<Value>(message).unwrap());
    }

    #[test]
    fn what_is_no_message_is_said_in_words() {
        for wrong in ["", "[]", "7", "{}", r#"{"type":7}"#, "{\"type\":\"x\""] {
            let said = ClientMessage::read(wrong).unwrap_err();
            assert!(said.contains("response.create"), "{said}");
        }
        let long = format!(r#"{{"type":"response.create","stream_id":"{}"}}"#, "x".repeat(257));
        assert!(ClientMessage::read(&long).unwrap_err().contains("stream_id"));
    }

    #[test]
    fn events_say_whose_they_are() {
        let created =
            ServerEvent::read(r#"{"type":"response.created","response":{"id":"resp_1","usage":null}}"#);
        assert_eq!((created.kind, created.response.as_deref()), (ServerKind::Created, Some("resp_1")));
        let delta =
            ServerEvent::read(r#"{"type":"response.output_text.delta","stream_id":"b","response_id":"r"}"#);
        assert_eq!((delta.kind, delta.stream.as_deref()), (ServerKind::Other, Some("b")));
        assert_eq!(delta.response.as_deref(), Some("r"));
        assert_eq!(ServerEvent::read("nothing").kind, ServerKind::Other);
    }

    #[test]
    fn a_whole_response_ends_at_once() {
        let event = with_stream(&whole(br#"{"id":"r"}"#).unwrap(), "a");
        let event: Value = serde_json::from_str(&event).unwrap();
        assert_eq!((&event["type"], &event["response"]["id"]), (&json!("response.completed"), &json!("r")));
        assert_eq!(event["stream_id"], "a");
        assert_eq!((whole(b"[]"), whole(b"<html>"), whole(b"{}")), (None, None, None));
    }

    #[test]
    fn a_refusal_says_what_http_would_have_said() {
        let body = br#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#;
        let mut headers = Map::new();
        headers.insert("retry-after".into(), Value::from("7"));
        let event: Value = serde_json::from_str(&refusal(429, body, headers, Some("a"))).unwrap();
        assert_eq!(event["status"], 429);
        assert_eq!(event["error"]["code"], "rate_limit_exceeded");
        assert_eq!((&event["headers"]["retry-after"], &event["stream_id"]), (&json!("7"), &json!("a")));
        let event: Value = serde_json::from_str(&refusal(502, b"<html>", Map::new(), None)).unwrap();
        assert_eq!(event["error"]["message"], "<html>");
    }
}
