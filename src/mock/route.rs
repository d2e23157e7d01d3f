//! Which request gets which answer.

use std::collections::HashMap;
use std::future::{self, Pending, Ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::Either;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::dialect::request::BodyPeek;
use crate::domain::clock::{Clock, SystemClock};
use crate::mock::answer::{Body, BodyEnd, FailedOnPurpose, PrebuiltAnswer};
use crate::mock::answer_body::AnswerBody;
use crate::mock::answer_spec::AnswerSpec;
use crate::mock::api::Api;
use crate::mock::connection::Connection;
use crate::mock::credentials::Credentials;
use crate::mock::errors::ErrorSpec;
use crate::mock::kind::{Call, Kind};
use crate::mock::options::Options;
use crate::mock::script::{ReadScript, Script};
use crate::mock::served_totals::{ServedAnswer, ServedTotals, Sums};
use crate::mock::steering::{Encoding, Fail, Place, Steering};
use crate::mock::step::{Action, CallView};
use crate::mock::{cloud_bodies, compress, credentials, errors, extras, headers, tools};

/// Largest request body that is read.
const BODY_MAX: usize = 256 * 1024 * 1024;
/// Size of the cache of answers, which is emptied when it is full.
const PREBUILT_MAX: usize = 512;
/// Default output tokens of an answer.
const OUTPUT_DEFAULT: u64 = 24;
const EVENTS_DEFAULT: usize = 12;

/// Everything that the bytes of an answer depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    spec: AnswerSpec,
    encoding: Option<Encoding>,
    /// An error answer, and in whose manner.
    error: Option<(Api, ErrorSpec)>,
    /// An error event, and where in the stream.
    error_event: Option<(Place, ErrorSpec)>,
}

/// The last request, as it came.
#[derive(Debug)]
struct LastRequest {
    parts: Parts,
    body: Bytes,
}

/// A request, and what is to be done with it.
struct Ask<'a> {
    call: &'a Call,
    parts: &'a Parts,
    body: &'a [u8],
    steering: &'a Steering,
    /// The script's.
    action: Option<&'a Action>,
}

impl Ask<'_> {
    fn scripted_error(&self) -> Option<ErrorSpec> {
        self.action?.error.clone()
    }
}

/// The mock: its sums, its cache of answers, and the last request.
#[derive(Debug, Default)]
pub struct Provider {
    served_totals: Arc<ServedTotals>,
    built: Mutex<HashMap<Key, Arc<PrebuiltAnswer>, foldhash::fast::RandomState>>,
    last: Mutex<Option<LastRequest>>,
    defaults: Mutex<Steering>,
    number: AtomicU64,
    credentials: Credentials,
    script: Arc<Script>,
}

impl Provider {
    pub fn new(options: Options) -> Self {
        Self {
            credentials: options.credentials,
            script: Arc::new(Script::new(options.script)),
            ..Self::default()
        }
    }

    /// The state of a new connection.
    pub fn connection(&self, is_http2: bool) -> Connection {
        Connection::new(self.served_totals.clone(), self.script.clone(), is_http2)
    }

    /// Answers one request.
    ///
    /// # Errors
    /// When the connection shall close without an answer.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Result<Response<Body>, FailedOnPurpose> {
        let stream = connection.begin_request();
        let (parts, incoming) = request.into_parts();
        let body = Limited::new(incoming, BODY_MAX).collect().await.map_err(|_| FailedOnPurpose::Closed)?;
        let body = body.to_bytes();
        connection.request_is_read();
        if let Some(answer) = self.control(&parts, &body) {
            return Ok(answer);
        }
        let call = Call::of(&parts).with_body(&body);
        let action = self.action(&call, &parts, &body);
        let steering = self.defaults.lock().clone();
        let steering = action.iter().fold(steering, |steering, action| action.steered(steering));
        let steering = steering.updated_from(parts.uri.query(), &parts.headers);
        let answer = if let Some(failure) = before_head(steering.failure(), &connection, stream) {
            failure.await
        } else {
            let (steering, action) = (&steering, action.as_ref());
            let ask = Ask { call: &call, parts: &parts, body: &body, steering, action };
            Ok(self.inference(&ask, connection).await)
        };
        *self.last.lock() = Some(LastRequest { parts, body });
        answer
    }

    /// Remembers what was asked last.
    pub fn note(&self, parts: &Parts, body: Bytes) {
        *self.last.lock() = Some(LastRequest { parts: parts.clone(), body });
    }

    /// Whether a request proves itself, and nothing else is to happen to it.
    pub fn takes(&self, parts: &Parts) -> bool {
        self.steering(parts).status.is_none() && self.credentials.check(parts, &[], SystemClock.now()).is_ok()
    }

    /// How a request is to be answered, as far as its head and the defaults say so.
    pub fn steering(&self, parts: &Parts) -> Steering {
        self.defaults.lock().clone().updated_from(parts.uri.query(), &parts.headers)
    }

    /// Answers a call of Responses that came over a WebSocket, in a stream. `None`: the connection shall end.
    pub async fn respond(
        &self,
        parts: &Parts,
        body: &Bytes,
        generates: bool,
        connection: &Arc<Connection>,
    ) -> Option<Response<Body>> {
        let call = Call { kind: Kind::Responses { stream: true }, model: None };
        let action = self.action(&call, parts, body);
        let steering = self.defaults.lock().clone();
        let steering = action.iter().fold(steering, |steering, action| action.steered(steering));
        let mut steering = steering.updated_from(parts.uri.query(), &parts.headers);
        if !generates {
            steering = Steering { input: Some(0), output: Some(0), ..steering };
        }
        if let Some(failure) = before_head(steering.failure(), connection, 0) {
            failure.await.ok()?;
        }
        let ask = Ask { call: &call, parts, body, steering: &steering, action: action.as_ref() };
        Some(self.inference(&ask, Arc::clone(connection)).await)
    }

    /// What the script has for a call.
    fn action(&self, call: &Call, parts: &Parts, body: &[u8]) -> Option<Action> {
        if self.script.is_empty() {
            return None;
        }
        let body = call.asked(body);
        self.script.play(&CallView {
            kind: call.kind,
            path: parts.uri.path(),
            model: &call.model(&body),
            keys: credentials::presented(parts),
            betas: extras::betas(&parts.headers, &body),
            body: &body,
        })
    }

    /// The error that a request gets, if any, and in whose manner.
    fn error(&self, ask: &Ask<'_>) -> Option<(Api, ErrorSpec)> {
        let kind = ask.call.kind;
        let api = kind.api();
        if kind != Kind::Root
            && let Err(wrong) = self.credentials.check(ask.parts, ask.body, SystemClock.now())
        {
            return Some(credentials::refusal(api, &wrong));
        }
        let status = ask.steering.status.map(|status| ErrorSpec::new(status, errors::ASKED));
        let asked = ask.scripted_error().or(status);
        let asked = match ask.steering.failure() {
            // A stream reports it in an event.
            Some(Fail::ErrorEvent(_)) if kind.is_stream() => None,
            Some(Fail::ErrorEvent(_)) => Some(asked.unwrap_or_else(|| errors::usual_event(api))),
            _ => asked,
        };
        let error =
            asked.or_else(|| kind.error()).or_else(|| cloud_bodies::refusal(kind, &ask.call.asked(ask.body)));
        Some((api, error?))
    }

    async fn inference(&self, ask: &Ask<'_>, connection: Arc<Connection>) -> Response<Body> {
        let (kind, steering) = (ask.call.kind, ask.steering);
        let (model, spec) = spec(ask.call, steering, &ask.call.asked(ask.body));
        let failure = steering.failure();
        let error_event = match failure {
            Some(Fail::ErrorEvent(place)) => {
                let error = ask.scripted_error();
                Some((place, error.unwrap_or_else(|| errors::usual_event(kind.api()))))
            }
            _ => None,
        };
        let key = Key { kind, spec, encoding: steering.encoding, error: self.error(ask), error_event };
        let built = self.built(&key);
        if !built.is_stream && !steering.delay.is_zero() {
            tokio::time::sleep(steering.delay).await;
        }
        let end = match failure {
            Some(Fail::Close(place)) => BodyEnd::Cut(place),
            Some(Fail::Reset(place)) => BodyEnd::Reset(place),
            Some(Fail::Stall(place)) => BodyEnd::Hang(place),
            _ => BodyEnd::Complete,
        };
        if failure == Some(Fail::CloseAfter) {
            connection.close_after_answer();
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let served = ServedAnswer { model, sums: sums(&key) };
        let mut response =
            Response::new(Body::new(&built, number, steering.delay, end, (served, connection)));
        let error = key.error.as_ref().map(|(_, error)| error);
        if let Some(status) = error.and_then(|error| StatusCode::from_u16(error.status).ok()) {
            *response.status_mut() = status;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(built.content_type));
        if let Some(encoding) = key.encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
        }
        let api = key.error.as_ref().map_or(kind.api(), |(api, _)| *api);
        headers::insert(headers, api, error, &key.spec, number);
        if let Some(action) = ask.action {
            headers::change(headers, &action.headers, SystemClock.now());
        }
        response
    }

    /// The bytes for `key`, from the cache or newly made.
    fn built(&self, key: &Key) -> Arc<PrebuiltAnswer> {
        if let Some(built) = self.built.lock().get(key) {
            return built.clone();
        }
        let built = Arc::new(build(key));
        let mut ready = self.built.lock();
        if ready.len() >= PREBUILT_MAX {
            ready.clear();
        }
        ready.insert(key.clone(), built.clone());
        built
    }

    fn control(&self, parts: &Parts, body: &Bytes) -> Option<Response<Body>> {
        match (&parts.method, parts.uri.path()) {
            (&Method::GET, "/mock/served") => Some(json(&self.served_totals.per_model())),
            (&Method::GET, "/mock/last") => Some(json(&self.last.lock().as_ref().map(LastRequest::describe))),
            (&Method::GET, "/mock/last/body") => {
                let body = self.last.lock().as_ref().map(|last| last.body.clone()).unwrap_or_default();
                Some(Response::new(Body::full(body)))
            }
            (&Method::POST, "/mock/defaults") => {
                *self.defaults.lock() = Steering::default().updated_from(parts.uri.query(), &parts.headers);
                Some(Response::new(Body::full(body.slice(..0))))
            }
            (&Method::GET, "/mock/script") => Some(json(&self.script.played())),
            (&Method::POST, "/mock/script") => Some(match ReadScript::read(body) {
                Ok(script) => {
                    self.script.replace(script);
                    Response::new(Body::full(body.slice(..0)))
                }
                Err(wrong) => {
                    let mut answer = Response::new(Body::full(wrong));
                    *answer.status_mut() = StatusCode::BAD_REQUEST;
                    answer
                }
            }),
            _ => None,
        }
    }
}

/// A failure that leaves a request without the head of an answer.
fn before_head(
    failure: Option<Fail>,
    connection: &Connection,
    stream: u32,
) -> Option<Either<Ready<Unanswered>, Pending<Unanswered>>> {
    let fails = |error| Some(Either::Left(future::ready(Err(error))));
    match failure? {
        Fail::Reset(Place::BeforeHead) => {
            connection.abort();
            fails(FailedOnPurpose::Closed)
        }
        Fail::Stall(Place::BeforeHead) => Some(Either::Right(future::pending())),
        Fail::Goaway if connection.is_http2() => {
            connection.go_away_before(stream);
            Some(Either::Right(future::pending()))
        }
        Fail::RefusedStream if connection.is_http2() => fails(FailedOnPurpose::refused_stream()),
        Fail::Close(Place::BeforeHead) | Fail::Goaway | Fail::RefusedStream | Fail::CloseUnread => {
            fails(FailedOnPurpose::Closed)
        }
        Fail::Close(_) | Fail::Reset(_) | Fail::Stall(_) | Fail::ErrorEvent(_) | Fail::CloseAfter => None,
    }
}

type Unanswered = Result<Response<Body>, FailedOnPurpose>;

/// The model that is asked for, and the parameters of an answer: steered ones, else what the request asks for.
fn spec(call: &Call, steering: &Steering, body: &[u8]) -> (Arc<str>, AnswerSpec) {
    let asked = BodyPeek::read(body);
    let model = call.model(body);
    let cached = steering.cache_read + steering.cache_write + steering.cache_write_1h;
    let output = if call.kind.has_output() { steering.output.unwrap_or(OUTPUT_DEFAULT) } else { 0 };
    let spec = AnswerSpec {
        model: call.kind.answering_model(&model).as_ref().into(),
        input: steering.input.unwrap_or_else(|| asked.input_tokens_estimate()).max(cached),
        output,
        cache_read: steering.cache_read,
        cache_write: steering.cache_write,
        cache_write_1h: steering.cache_write_1h,
        reasoning: steering.reasoning.min(output),
        events: steering.events.unwrap_or(if output == 0 { 0 } else { EVENTS_DEFAULT }),
        wants_usage: asked.usage_option.is_set(),
        tool: if output == 0 { None } else { tools::call(steering.tool.as_deref(), body) },
    };
    (model.as_ref().into(), spec)
}

fn build(key: &Key) -> PrebuiltAnswer {
    let mut body = match &key.error {
        Some((api, error)) => errors::answer(*api, error),
        None => key.kind.answer(&key.spec),
    };
    let is_framed = key.kind.is_framed() && body.is_stream;
    if let Some((place, error)) = key.error_event.as_ref().filter(|_| body.is_stream) {
        body.frames.truncate(place.of(body.frames.len()));
        let event = key.kind.error_event(&key.spec, error, body.frames.len());
        body.frames.push(event);
    }
    let compressed = key.encoding.and_then(|encoding| compress::compress(encoding, &body.frames).ok());
    match compressed {
        Some(frames) => PrebuiltAnswer::new(&AnswerBody { frames, ..body }, false),
        None => PrebuiltAnswer::new(&body, !is_framed),
    }
}

/// What an answer adds to the books; free calls add nothing.
fn sums(key: &Key) -> Sums {
    match &key.error {
        _ if !key.kind.is_inference() => Sums::default(),
        Some(_) => Sums { errors: 1, ..Sums::default() },
        None if key.error_event.is_some() => Sums { errors: 1, ..Sums::default() },
        None => Sums { requests: 1, input: key.spec.input, output: key.spec.output, errors: 0 },
    }
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    let mut response = Response::new(Body::full(serde_json::to_vec(value).unwrap_or_default()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl LastRequest {
    fn describe(&self) -> serde_json::Value {
        serde_json::json!({
            "method": self.parts.method.as_str(),
            "path": self.parts.uri.path(),
            "query": self.parts.uri.query(),
            "version": format!("{:?}", self.parts.version),
            "headers": readable(&self.parts.headers),
            "body_length": self.body.len(),
        })
    }
}

/// Header lines by name; what is no text is shown as lossy text.
fn readable(headers: &HeaderMap) -> HashMap<&str, Vec<String>> {
    let mut lines: HashMap<&str, Vec<String>> = HashMap::new();
    for (name, value) in headers {
        lines.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    lines
}
