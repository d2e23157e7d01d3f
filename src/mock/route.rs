//! Which request gets which answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::dialect::request::BodyPeek;
use crate::domain::clock::{Clock, SystemClock};
use crate::mock::answer::{AnswerBody, Body, BodyEnd, FailedOnPurpose, PrebuiltAnswer};
use crate::mock::answer_spec::AnswerSpec;
use crate::mock::api::Api;
use crate::mock::errors::ErrorSpec;
use crate::mock::kind::{Call, Kind};
use crate::mock::options::Options;
use crate::mock::served_totals::{Connection, ServedAnswer, ServedTotals, Sums};
use crate::mock::steering::{Encoding, Fail, Steering};
use crate::mock::{cloud_bodies, compress, credentials, errors, headers, tools};

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
    error_event: bool,
}

/// The last request, as it came.
#[derive(Debug)]
struct LastRequest {
    parts: Parts,
    body: Bytes,
}

/// The mock: its sums, its cache of answers, and the last request.
#[derive(Debug, Default)]
pub struct Provider {
    served_totals: Arc<ServedTotals>,
    built: Mutex<HashMap<Key, Arc<PrebuiltAnswer>, foldhash::fast::RandomState>>,
    last: Mutex<Option<LastRequest>>,
    defaults: Mutex<Steering>,
    number: AtomicU64,
    options: Options,
}

impl Provider {
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    pub fn served_totals(&self) -> Arc<ServedTotals> {
        self.served_totals.clone()
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
        let (parts, incoming) = request.into_parts();
        let body = Limited::new(incoming, BODY_MAX).collect().await.map_err(|_| FailedOnPurpose)?.to_bytes();
        if let Some(answer) = self.control(&parts, &body) {
            return Ok(answer);
        }
        let steering = self.defaults.lock().clone().updated_from(parts.uri.query(), &parts.headers);
        let call = Call::of(&parts).with_body(&body);
        match steering.fail {
            Some(Fail::BeforeHeaders) => return Err(FailedOnPurpose),
            Some(Fail::Hang) => std::future::pending().await,
            _ => {}
        }
        let error = self.error(&call, &steering, &parts, &body);
        let answer = self.inference(&call, &steering, error, &body, connection).await;
        *self.last.lock() = Some(LastRequest { parts, body });
        Ok(answer)
    }

    /// The error that a request gets, if any, and in whose manner.
    fn error(
        &self,
        call: &Call,
        steering: &Steering,
        parts: &Parts,
        body: &[u8],
    ) -> Option<(Api, ErrorSpec)> {
        let api = call.kind.api();
        if call.kind != Kind::Root
            && let Err(wrong) = self.options.credentials.check(parts, body, SystemClock.now())
        {
            return Some(credentials::refusal(api, &wrong));
        }
        let asked = steering.status.map(|status| ErrorSpec::new(status, errors::ASKED));
        let error = asked
            .or_else(|| call.kind.error())
            .or_else(|| cloud_bodies::refusal(call.kind, &call.asked(body)));
        Some((api, error?))
    }

    async fn inference(
        &self,
        call: &Call,
        steering: &Steering,
        error: Option<(Api, ErrorSpec)>,
        body: &[u8],
        connection: Arc<Connection>,
    ) -> Response<Body> {
        let (model, spec) = spec(call, steering, &call.asked(body));
        let key = Key {
            kind: call.kind,
            spec,
            encoding: steering.encoding,
            error,
            error_event: steering.fail == Some(Fail::ErrorEvent),
        };
        let built = self.built(&key);
        if !built.is_stream && !steering.delay.is_zero() {
            tokio::time::sleep(steering.delay).await;
        }
        let end = match steering.fail {
            Some(Fail::MidStream) => BodyEnd::Cut,
            Some(Fail::HangMidStream) => BodyEnd::Hang,
            _ => BodyEnd::Complete,
        };
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
        let api = key.error.as_ref().map_or(call.kind.api(), |(api, _)| *api);
        headers::insert(headers, api, error, &key.spec, number);
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
            _ => None,
        }
    }
}

/// The model that is asked for, and the parameters of an answer: steered ones, else what the request asks for.
fn spec(call: &Call, steering: &Steering, body: &[u8]) -> (Arc<str>, AnswerSpec) {
    let asked = BodyPeek::read(body);
    let model = call.model.as_deref().or(asked.model.as_deref()).unwrap_or("mock-model");
    let cached = steering.cache_read + steering.cache_write + steering.cache_write_1h;
    let output = if call.kind.has_output() { steering.output.unwrap_or(OUTPUT_DEFAULT) } else { 0 };
    let spec = AnswerSpec {
        model: call.kind.answering_model(model).as_ref().into(),
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
    (model.into(), spec)
}

fn build(key: &Key) -> PrebuiltAnswer {
    let mut body = match &key.error {
        Some((api, error)) => errors::answer(*api, error),
        None => key.kind.answer(&key.spec),
    };
    let is_framed = key.kind.is_framed() && body.is_stream;
    if key.error_event && body.is_stream {
        body.frames.truncate(body.frames.len() / 2);
        body.frames.push(errors::event(key.kind.api(), None));
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
        None if key.error_event => Sums { errors: 1, ..Sums::default() },
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
