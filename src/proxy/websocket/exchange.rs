//! One response of a caller's connection: the call that its message asks for, and the call's answer as messages.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value};

use super::continuation::made_ready;
use super::proof::Proof;
use super::sockets::{AskedOver, Sockets};
use crate::dialect;
use crate::dialect::convert::{EventReader, TooLarge};
use crate::dialect::route::Route;
use crate::dialect::websocket::{
    ClientMessage, ServerEvent, ServerKind, own_refusal, refusal, whole, with_stream,
};
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::UserId;
use crate::domain::provider::Provider;
use crate::proxy::buffered_request::Head;
use crate::proxy::gateway::Gateway;
use crate::proxy::response_body::Body;
use crate::websocket::Text;

/// More than any refusal has, and than any answer.
const REFUSAL_MAX: usize = 64 * 1024;
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Headers of a refusal that its caller goes by.
const TOLD: [&str; 4] = ["retry-after", "retry-after-ms", "x-should-retry", "x-sproxy-request-id"];

/// What a response comes to.
pub(super) enum Say {
    Event(Text),
    /// It is over, and the next of its stream may begin.
    Over(Option<String>),
}

/// What an exchange needs of its connection.
#[derive(Clone)]
pub(super) struct ExchangeContext {
    pub(super) gateway: Arc<Gateway>,
    pub(super) provider: Provider,
    pub(super) path: Arc<str>,
    pub(super) proof: Arc<Proof>,
    pub(super) sockets: Arc<Sockets>,
    pub(super) user: UserId,
}

/// A message that asks for a response.
pub(super) struct Asked {
    pub(super) message: ClientMessage,
    pub(super) text: Text,
    pub(super) call: Bytes,
}

pub(super) type Exchange = Pin<Box<dyn Stream<Item = Say> + Send>>;

enum State {
    Begin(ExchangeContext, Asked),
    /// These are all that there is to say.
    Saying {
        events: VecDeque<Text>,
        stream: Option<String>,
    },
    Answering {
        answer: Box<Answering>,
        stream: Option<String>,
    },
    Over(Option<String>),
    Done,
}

struct Answering {
    body: Body,
    reader: EventReader,
    events: VecDeque<Text>,
    posted: Posted,
    /// The event has come that ends a response that was posted. Over a WebSocket, whoever reads it sees to that.
    has_ended: bool,
}

/// A call that may have been posted; then what it comes to is kept here for those that go on from it.
struct Posted {
    is: Arc<AtomicBool>,
    context: ExchangeContext,
    call: Bytes,
    stream: Option<String>,
}

impl Posted {
    fn is(&self) -> bool {
        self.is.load(Ordering::Relaxed)
    }

    /// An event as the caller gets it. One of a call says nothing of streams.
    fn passed_on(&self, event: &str) -> Text {
        if !self.is() {
            return Text::from(event);
        }
        if event.contains("\"response.completed\"") {
            let ExchangeContext { gateway, sockets, user, .. } = &self.context;
            let permit = gateway.body_memory.empty_permit(*user);
            sockets.continuations.keep(self.stream.as_deref(), &self.call, event, permit);
        }
        match &self.stream {
            Some(stream) => with_stream(event, stream).into(),
            None => Text::from(event),
        }
    }
}

impl Answering {
    /// Finds the events in what has come.
    fn read(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        let Self { reader, events, posted, has_ended, .. } = self;
        reader.read(bytes, |event| {
            // What ends a stream of events ends no WebSocket.
            if event.data != "[DONE]" {
                *has_ended = *has_ended || !posted.is() || ends(event.data);
                events.push_back(posted.passed_on(event.data));
            }
        })
    }

    /// The answer is over: takes the event that no empty line has ended, if there is one.
    fn finish(&mut self) -> bool {
        // An empty line that nobody has sent.
        let _ = self.read(b"\n\n");
        !self.events.is_empty()
    }
}

fn ends(event: &str) -> bool {
    matches!(ServerEvent::read(event).kind, ServerKind::Ended | ServerKind::Error)
}

/// The response as what is said of it.
pub(super) fn exchange(context: ExchangeContext, asked: Asked) -> Exchange {
    Box::pin(unfold(State::Begin(context, asked), next))
}

async fn next(state: State) -> Option<(Say, State)> {
    let mut state = state;
    loop {
        match state {
            State::Begin(context, asked) => {
                let stream = asked.message.stream.clone();
                if !asked.message.generates && !context.may_make_ready(&asked.message) {
                    let events = make_ready(&context, &asked);
                    state = State::Saying { events, stream };
                    continue;
                }
                let (response, posted) = begin(context, asked).await;
                if response.status() == StatusCode::OK && is_stream(&response) {
                    let (reader, events) = (EventReader::default(), VecDeque::new());
                    let answer = Box::new(Answering {
                        body: response.into_body(),
                        reader,
                        events,
                        posted,
                        has_ended: false,
                    });
                    state = State::Answering { answer, stream };
                } else {
                    let told = told(response, &posted).await;
                    return Some((Say::Event(told), State::Over(stream)));
                }
            }
            State::Saying { mut events, stream } => match events.pop_front() {
                Some(event) => return Some((Say::Event(event), State::Saying { events, stream })),
                None => state = State::Over(stream),
            },
            State::Answering { mut answer, stream } => {
                if let Some(event) = answer.events.pop_front() {
                    return Some((Say::Event(event), State::Answering { answer, stream }));
                }
                match answer.body.frame().await {
                    None if answer.finish() => state = State::Answering { answer, stream },
                    None if !answer.has_ended => {
                        // Nothing else would tell: the connection stays.
                        let why = "the provider's answer ended before its last event";
                        let said = broke_off(&Failure::new(Kind::Upstream, why), stream.as_deref());
                        return Some((said, State::Over(stream)));
                    }
                    None => state = State::Over(stream),
                    Some(Ok(frame)) => {
                        if answer.read(&frame.into_data().unwrap_or_default()).is_err() {
                            let failure = Failure::new(Kind::Upstream, "an event of the answer is too large");
                            return Some((broke_off(&failure, stream.as_deref()), State::Over(stream)));
                        }
                        state = State::Answering { answer, stream };
                    }
                    Some(Err(aborted)) => {
                        let said = broke_off(&Failure::from(aborted), stream.as_deref());
                        return Some((said, State::Over(stream)));
                    }
                }
            }
            State::Over(stream) => return Some((Say::Over(stream), State::Done)),
            State::Done => return None,
        }
    }
}

impl ExchangeContext {
    /// Whether a target may have a WebSocket over which something can be made ready.
    fn may_make_ready(&self, asked: &ClientMessage) -> bool {
        let live = self.gateway.live.now();
        asked.model.as_deref().is_none_or(|model| live.upstream.has_websocket_for(self.provider, model))
    }
}

/// Answers a call that only makes ready where nothing can be: what it says is kept here for those that go on from it.
fn make_ready(context: &ExchangeContext, asked: &Asked) -> VecDeque<Text> {
    let events = made_ready(&asked.message);
    let continuations = &context.sockets.continuations;
    let call = continuations.whole(&asked.message, &asked.call).unwrap_or_else(|| asked.call.clone());
    for event in &events {
        let permit = context.gateway.body_memory.empty_permit(context.user);
        continuations.keep(asked.message.stream.as_deref(), &call, event, permit);
    }
    events.into_iter().map(Text::from).collect()
}

/// Has the call answered that the message asks for.
async fn begin(context: ExchangeContext, asked: Asked) -> (Response<Body>, Posted) {
    let Asked { message, text, call } = asked;
    let (call, text) = match context.sockets.continuations.whole(&message, &call) {
        Some(whole) => (whole, None),
        None => (call, Some(text)),
    };
    let stream = message.stream.clone();
    let is_posted = Arc::<AtomicBool>::default();
    let ExchangeContext { gateway, provider, path, proof, sockets, .. } = &context;
    let mut head = Head {
        method: Method::POST,
        query: proof.query.clone().map(Into::into),
        headers: proof.headers.clone(),
        upgrade: None,
    };
    let over = AskedOver {
        sockets: Arc::clone(sockets),
        asked: message,
        message: text,
        is_posted: Arc::clone(&is_posted),
    };
    let billing = dialect::billing(*provider, &Method::POST, path);
    let route = Route { provider: *provider, path, billing, lists_models: false };
    let body = Full::new(call.clone());
    let response = gateway.serve_asked(route, &mut head, body, Some(Box::new(over))).await;
    (response, Posted { is: is_posted, context, call, stream })
}

fn is_stream(response: &Response<Body>) -> bool {
    let kind = response.headers().get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// An answer that is no stream as an event: a refusal, or the whole answer of a server that knows no streams.
async fn told(response: Response<Body>, posted: &Posted) -> Text {
    let (head, mut body) = response.into_parts();
    let most = if head.status.is_success() { ANSWER_MAX } else { REFUSAL_MAX };
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data().unwrap_or_default()) {
            Ok(bytes) if read.len() + bytes.len() <= most => read.extend_from_slice(&bytes),
            _ => break,
        }
    }
    if head.status.is_success()
        && let Some(whole) = whole(&read)
    {
        return posted.passed_on(&whole);
    }
    let status = if head.status.is_success() { StatusCode::BAD_GATEWAY } else { head.status };
    refusal(status.as_u16(), &read, told_headers(&head.headers), posted.stream.as_deref()).into()
}

fn told_headers(headers: &HeaderMap) -> Map<String, Value> {
    let named = TOLD.iter().filter_map(|name| Some((*name, headers.get(*name)?.to_str().ok()?)));
    named.map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

fn broke_off(failure: &Failure, stream: Option<&str>) -> Say {
    Say::Event(own_refusal("response_broke_off", failure, stream).into())
}
