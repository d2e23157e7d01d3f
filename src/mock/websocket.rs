//! WebSockets: OpenAI's Responses, where each message is a call that is answered as it would be over HTTP, and Realtime,
//! with as much of a conversation as a meter and a client look at.
//! <https://platform.openai.com/docs/guides/websocket-mode>, <https://platform.openai.com/docs/guides/realtime>

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Collected};
use hyper::upgrade::OnUpgrade;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::dialect::convert::EventReader;
use crate::dialect::websocket::{ClientKind, ClientMessage, WebsocketApi, as_call, refusal, with_stream};
use crate::mock::answer::Body;
use crate::mock::connection::Connection;
use crate::mock::route::Provider;
use crate::mock::served_totals::{ServedAnswer, Sums};
use crate::mock::steering::{Fail, Steering};
use crate::websocket::{Message, Offer, Text, Unlimited, WebSocket, is_wanted};

const MESSAGE_MAX: usize = 256 * 1024 * 1024;
const SAID_MAX: usize = 16;

/// What is spoken over a WebSocket at a path, wherever the API's base is.
fn api(path: &str) -> Option<WebsocketApi> {
    if path.ends_with("/v1/responses") {
        Some(WebsocketApi::Responses)
    } else {
        path.ends_with("/v1/realtime").then_some(WebsocketApi::Realtime)
    }
}

/// Accepts a WebSocket, if that is what the request offers.
pub fn accept(
    provider: &Arc<Provider>,
    parts: &mut Parts,
    connection: &Arc<Connection>,
) -> Option<Response<Body>> {
    let api = api(parts.uri.path()).filter(|_| is_wanted(&parts.headers) && provider.takes(parts))?;
    let offer = Offer::read(&parts.method, &parts.headers).ok()?;
    connection.request_is_read();
    provider.note(parts, Bytes::new());
    let connection = Arc::clone(connection);
    let upgrade = parts.extensions.remove::<OnUpgrade>()?;
    let mut asked = parts.clone();
    asked.method = Method::POST;
    let (provider, parts) = (Arc::clone(provider), asked);
    let over = Arc::clone(&connection);
    over.go_on_with(Box::pin(async move {
        let Ok(io) = upgrade.await else { return };
        let socket = WebSocket::server(io, MESSAGE_MAX, Unlimited).await;
        let caller = Caller { provider, parts, connection };
        match api {
            WebsocketApi::Responses => responses(caller, socket).await,
            WebsocketApi::Realtime => realtime(caller, socket).await,
        }
    }));
    let mut response = Response::new(Body::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    offer.accept(response.headers_mut());
    response.headers_mut().insert("openai-version", HeaderValue::from_static("2020-10-01"));
    Some(response)
}

#[derive(Clone)]
struct Caller {
    provider: Arc<Provider>,
    /// The opening, as if each message were a call of its own.
    parts: Parts,
    connection: Arc<Connection>,
}

/// What comes of a message.
enum Said {
    Event(Text),
    /// A response is over: its id, by which it can be gone on from.
    Over(Option<String>),
    /// The connection ends here.
    Cut,
}

async fn responses(caller: Caller, mut socket: WebSocket) {
    let (said, mut to_say) = mpsc::channel(SAID_MAX);
    let mut under_way = FuturesUnordered::new();
    let mut known: HashSet<String> = HashSet::new();
    loop {
        tokio::select! {
            received = socket.receive() => match received {
                Some(Ok(Message::Text(text))) => {
                    caller.provider.note(&caller.parts, text.to_string().into());
                    let message = match ClientMessage::read(&text) {
                        Ok(message) if message.kind == ClientKind::Create => message,
                        Ok(_) => continue,
                        Err(wrong) => {
                            let told = told(400, "invalid_message", &wrong, None);
                            if socket.send(Message::Text(told)).await.is_err() { return }
                            continue;
                        }
                    };
                    if let Some(previous) = message.previous.as_ref().filter(|previous| !known.contains(*previous)) {
                        let wrong = format!("Previous response with id '{previous}' not found.");
                        let told = told(400, "previous_response_not_found", &wrong, message.stream.as_deref());
                        if socket.send(Message::Text(told)).await.is_err() { return }
                        continue;
                    }
                    under_way.push(caller.clone().respond(message, text, said.clone()));
                }
                Some(Ok(Message::Alive)) => {}
                _ => return,
            },
            Some(said) = to_say.recv() => match said {
                Said::Event(text) => if socket.send(Message::Text(text)).await.is_err() { return },
                Said::Over(id) => known.extend(id),
                Said::Cut => return,
            },
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
        }
    }
}

impl Caller {
    async fn respond(self, message: ClientMessage, text: Text, say: mpsc::Sender<Said>) {
        let body = as_call(&text).unwrap_or_default();
        let response = self.provider.respond(&self.parts, &body, message.generates, &self.connection).await;
        let Some(response) = response else { return drop(say.send(Said::Cut).await) };
        let stream = message.stream.as_deref();
        let (head, mut body) = response.into_parts();
        if !head.status.is_success() {
            let read = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
            let mut headers = Map::new();
            for name in [header::RETRY_AFTER.as_str(), "x-request-id"] {
                if let Some(value) = head.headers.get(name).and_then(|value| value.to_str().ok()) {
                    headers.insert(name.to_owned(), Value::from(value));
                }
            }
            let told = refusal(head.status.as_u16(), &read, headers, stream);
            return drop(say.send(Said::Event(told.into())).await);
        }
        let (mut reader, mut id) = (EventReader::default(), None);
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return drop(say.send(Said::Cut).await) };
            let mut events = Vec::new();
            let bytes = frame.into_data().unwrap_or_default();
            let _ = reader.read(&bytes, |event| {
                let event = event.data;
                events.push(stream.map_or_else(|| event.to_owned(), |stream| with_stream(event, stream)));
            });
            for event in events {
                if event.contains(r#""type":"response.completed""#) {
                    let read: Option<Value> = serde_json::from_str(&event).ok();
                    id = read.and_then(|event| Some(event["response"]["id"].as_str()?.to_owned()));
                }
                if say.send(Said::Event(event.into())).await.is_err() {
                    return;
                }
            }
        }
        let _ = say.send(Said::Over(id)).await;
    }
}

fn told(status: u16, code: &str, message: &str, stream: Option<&str>) -> Text {
    let error = json!({ "type": "invalid_request_error", "code": code, "message": message, "param": null });
    refusal(status, json!({ "error": error }).to_string().as_bytes(), Map::new(), stream).into()
}

/// The parts of a conversation that cost: responses that were asked for, and one for each `input_audio_buffer.commit`, as
/// the detection of speech makes them.
async fn realtime(caller: Caller, mut socket: WebSocket) {
    let query = caller.parts.uri.query().unwrap_or_default();
    let model = query.split('&').find_map(|pair| pair.strip_prefix("model=")).unwrap_or("mock-model");
    let session = json!({ "type": "realtime", "object": "realtime.session", "id": "sess_1", "model": model });
    let opened = json!({ "type": "session.created", "event_id": "event_0", "session": session });
    if socket.send(Message::Text(opened.to_string().into())).await.is_err() {
        return;
    }
    let mut number = 0_u64;
    while let Some(Ok(message)) = socket.receive().await {
        let Message::Text(text) = message else {
            if matches!(message, Message::Close(_)) {
                return;
            }
            continue;
        };
        caller.provider.note(&caller.parts, text.to_string().into());
        let asked: Value = serde_json::from_str(&text).unwrap_or_default();
        match asked["type"].as_str() {
            Some("response.create" | "input_audio_buffer.commit") => {}
            Some("response.cancel" | "input_audio_buffer.append" | "session.update") => continue,
            Some("conversation.item.create") => {
                let added = json!({ "type": "conversation.item.added", "item": asked["item"] });
                if socket.send(Message::Text(added.to_string().into())).await.is_err() {
                    return;
                }
                continue;
            }
            _ => {
                let told = told(400, "invalid_value", "Invalid event type.", None);
                if socket.send(Message::Text(told)).await.is_err() {
                    return;
                }
                continue;
            }
        }
        number += 1;
        let steering = caller.provider.steering(&caller.parts);
        let Ok(()) = speak(&caller, &mut socket, model, number, &steering).await else { return };
    }
}

/// One response of a conversation. An error: the connection ends.
async fn speak(
    caller: &Caller,
    socket: &mut WebSocket,
    model: &str,
    number: u64,
    steering: &Steering,
) -> Result<(), ()> {
    let (input, output) = (steering.input.unwrap_or(40), steering.output.unwrap_or(24));
    let id = format!("resp_{number}");
    let response = |status: &str, usage: Value| json!({ "object": "realtime.response", "id": id, "status": status, "output": [], "usage": usage });
    let mut events =
        vec![json!({ "type": "response.created", "response": response("in_progress", Value::Null) })];
    for _ in 0..steering.events.unwrap_or(3) {
        events.push(json!({ "type": "response.output_text.delta", "response_id": id, "delta": "lorem " }));
    }
    let details = json!({ "text_tokens": input - steering.cache_read.min(input), "cached_tokens": steering.cache_read });
    let usage = json!({
        "total_tokens": input + output, "input_tokens": input, "output_tokens": output,
        "input_token_details": details, "output_token_details": { "text_tokens": output, "audio_tokens": 0 },
    });
    events.push(json!({ "type": "response.done", "response": response("completed", usage) }));
    let cut = match steering.failure() {
        Some(Fail::Close(place) | Fail::Reset(place)) => Some(place.of(events.len())),
        _ => None,
    };
    let last = events.len();
    for (at, event) in events.into_iter().enumerate() {
        if Some(at) == cut {
            return Err(());
        }
        if !steering.delay.is_zero() {
            tokio::time::sleep(steering.delay).await;
        }
        if at + 1 == last {
            let sums = Sums { requests: 1, input, output, errors: 0 };
            caller.connection.answered(ServedAnswer { model: model.into(), sums });
        }
        socket.send(Message::Text(event.to_string().into())).await.map_err(|_| ())?;
    }
    Ok(())
}
