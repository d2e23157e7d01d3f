//! The data plane: the way of a request, from the caller to a provider and back, as one straight line in
//! [`Gateway::serve`].
//!
//! Read what is asked → admit → reserve room in the ledger → send → let the answer through the meter → book → release
//! its end. Every early return drops what it holds, which gives it back.

mod aborted;
mod body;
mod credential;
mod decode;
mod detach;
pub mod error_response;
mod headers;
mod housekeeping;
mod metered_body;
mod metered_stream;
mod metrics;
mod models;
mod other_dialect;
mod path;
mod readable_body;
mod recorder;
mod refusal_log;
mod request_body;

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body::Body as HttpBody;

use crate::accounts::Accounts;
use crate::config::{Durability, HangUp};
use crate::dialect::request::Peek;
use crate::dialect::route::Route;
use crate::dialect::usage_chunk::Remover;
use crate::dialect::{self, Billing};
use crate::domain::clock::{Clock, Moment};
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::{NodeId, RequestId};
use crate::domain::price::PriceList;
use crate::domain::tokens::Estimate;
use crate::domain::usage::Outcome;
use crate::ledger::Ledger;
use crate::metering::{self, AnswerHead};
use crate::quota::{Quota, QuotaRequest};
use crate::upstream::{
    ModelQuery, SendError, Target, TargetQuery, Upstream, UpstreamRequest, UpstreamResponse,
};

pub use aborted::Aborted;
pub use body::Body;
use detach::DetachOnDrop;
pub use detach::Drainer;
pub use headers::drop_hop_by_hop;
use metered_body::MeteredBody;
use metered_stream::MeteredStream;
pub use metrics::Metrics;
use models::ModelLists;
use readable_body::Readable;
use recorder::{Call, Hints, Recorder, RecorderContext};
pub use request_body::BodyMemory;
use request_body::BodyPermit;

const X_SPROXY_REQUEST_ID: HeaderName = HeaderName::from_static("x-sproxy-request-id");
const X_SPROXY_NODE: HeaderName = HeaderName::from_static("x-sproxy-node");

/// Everything the way of a request needs.
pub struct Gateway {
    accounts: Accounts,
    quota: Quota,
    ledger: Ledger,
    upstream: Arc<Upstream>,
    models: ModelLists,
    body_memory: Arc<BodyMemory>,
    drainer: Arc<Drainer>,
    context: Arc<RecorderContext>,
    durability: Durability,
    node_header: HeaderValue,
    is_stale: Option<StaleCheck>,
    no_accounts_yet: Option<NoAccountsYet>,
    refused: refusal_log::RefusalLog,
}

/// What a [`Gateway`] is made of.
pub struct Parts {
    /// Who may call.
    pub accounts: Accounts,
    /// How much.
    pub quota: Quota,
    /// Where it is booked.
    pub ledger: Ledger,
    /// Where it goes.
    pub upstream: Arc<Upstream>,
    /// The memory for request bodies.
    pub body_memory: Arc<BodyMemory>,
    /// Who reads the answers that nobody waits for.
    pub drainer: Arc<Drainer>,
    /// What it costs.
    pub prices: Arc<PriceList>,
    /// When the end of an answer is released.
    pub durability: Durability,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// This node.
    pub node: NodeId,
    /// Whether calls are to be refused because what this node knows is too old; none: never.
    pub is_stale: Option<StaleCheck>,
    /// Why no credential can be judged yet; none: it can.
    pub no_accounts_yet: Option<NoAccountsYet>,
}

/// Says why no credential can be judged yet, because the node has not been told of any users; none: it can.
pub type NoAccountsYet = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Says whether calls are to be refused because what the node knows of users and limits is too old.
pub type StaleCheck = Arc<dyn Fn() -> bool + Send + Sync>;

/// A request's head, as far as it matters here.
#[derive(Debug)]
pub struct Head<'q> {
    /// Its method.
    pub method: Method,
    /// What stands behind the `?`.
    pub query: Option<Cow<'q, str>>,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Gateway {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let node_header = HeaderValue::from_str(parts.node.as_str()).unwrap_or(HeaderValue::from_static("-"));
        let context = Arc::new(RecorderContext {
            prices: parts.prices,
            clock: parts.clock,
            metrics: Arc::new(Metrics::default()),
            node: parts.node,
        });
        Self {
            accounts: parts.accounts,
            quota: parts.quota,
            ledger: parts.ledger,
            models: ModelLists::default(),
            upstream: parts.upstream,
            body_memory: parts.body_memory,
            drainer: parts.drainer,
            context,
            durability: parts.durability,
            node_header,
            is_stale: parts.is_stale,
            no_accounts_yet: parts.no_accounts_yet,
            refused: refusal_log::RefusalLog::default(),
        }
    }

    /// What the data plane counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.context.metrics
    }

    /// Answers one call on the data plane. `route` is what `dialect::route::find` made of its path.
    pub async fn serve<B>(&self, route: Route<'_>, head: &mut Head<'_>, body: B) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let request_id = RequestId::new();
        let (provider, mut caller) = (route.provider, None);
        let mut response =
            self.answer(request_id, route, head, body, &mut caller).await.unwrap_or_else(|failure| {
                let failure = self.judged(failure);
                self.context.metrics.refused(failure.kind);
                if let Some(caller) = caller.take() {
                    refusal_log::book(
                        &self.context,
                        &self.refused,
                        &self.ledger,
                        (request_id, provider),
                        caller,
                        &failure,
                    );
                }
                tracing::debug!(%request_id, provider = %route.provider, reason = %failure, "refused");
                error_response::response(route.provider, &failure, request_id)
            });
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = request_id.0.hyphenated().encode_lower(&mut text);
        if let Ok(value) = HeaderValue::from_str(text) {
            response.headers_mut().insert(X_SPROXY_REQUEST_ID, value);
        }
        response.headers_mut().insert(X_SPROXY_NODE, self.node_header.clone());
        response
    }

    /// A node that knows nobody yet cannot say of a credential that it is wrong.
    fn judged(&self, failure: Failure) -> Failure {
        let unknown = self.no_accounts_yet.as_ref().filter(|_| failure.kind == Kind::Unauthenticated);
        unknown.and_then(|reason| reason()).map_or(failure, Failure::not_yet)
    }

    async fn answer<B>(
        &self,
        request_id: RequestId,
        route: Route<'_>,
        head: &mut Head<'_>,
        body: B,
        caller: &mut Option<refusal_log::RefusedCaller>,
    ) -> Result<Response<Body>, Failure>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let started = Instant::now();
        let now = self.context.clock.now();
        let principal =
            credential::redeem(&self.accounts, route.path, &mut head.headers, &mut head.query, now)?;
        // What is free is in no book, refused or not.
        if route.billing != Billing::Untracked && !route.lists_models {
            *caller = Some(refusal_log::RefusedCaller::of(&principal, started));
        }
        if self.is_stale.as_ref().is_some_and(|is_stale| is_stale()) {
            return Err(stale());
        }
        if wants_websocket(&head.headers) {
            return Ok(error_response::upgrade(route.provider, request_id));
        }
        if matches!(head.method, Method::TRACE | Method::CONNECT) {
            return Err(method_not_allowed(&head.method));
        }
        path::check(route.path)?;
        let is_housekeeping = housekeeping::is_housekeeping(route.provider, &head.method, route.path);
        if is_housekeeping && !self.upstream.takes_admin_paths(route.provider) {
            return Err(housekeeping::refused());
        }
        if route.lists_models {
            return Ok(Box::pin(self.models.list(&self.upstream, &principal, route.provider)).await);
        }
        let (body, mut share) = self.body_memory.read(body, principal.user_id).await?;
        let readable = Readable::of(&body, &head.headers, self.body_memory.share(principal.user_id)).await?;
        let peek = Peek::new(&route, &head.headers, readable.peek(&body), readable.is_exact());
        let model = Arc::clone(&peek.model);
        if let Some(caller) = caller {
            caller.model = Arc::clone(&model);
        }
        let query = TargetQuery {
            provider: route.provider,
            model: model_query(&route, &peek, !body.is_empty()),
            is_housekeeping,
            affinity: head.headers.get(recorder::SESSION_ID).map(affinity),
        };
        // Nothing is admitted, reserved or sent for a model that nobody serves.
        let first = self.upstream.choose(&query);
        let first = first
            .map_err(|none| other_dialect::refused(&none, &self.upstream, &principal, (&route, &query)))?;
        let hints = Hints::of(&head.headers);
        let upstream_request = upstream_request(route, head, &body, readable.text(&body), &peek);
        if let Some(body_with_usage) = &upstream_request.body_with_usage {
            share.grow(body_with_usage.len())?;
        }
        drop(readable);
        if route.billing == Billing::Untracked {
            let sent = self.upstream.send(first, &query, &upstream_request).await;
            return Ok(models::passed_through(sent.map_err(|e| Failure::from(&e))?));
        }
        // The room first: it is given back if the call is not admitted, while a call that counts against a limit
        // must be one that is really made.
        let reservation = self.ledger.reserve(principal.user_id).map_err(Failure::from)?;
        let at = Moment { at: now, steady: started };
        let admission = self.quota.admit(&principal, &quota_request(&peek), at).map_err(Failure::from)?;
        let (provider, terms, estimate) = (route.provider, peek.terms, peek.estimate);
        let call = Call { request_id, principal, provider, model, hints, terms, started };
        let mut recorder = Recorder::new(Arc::clone(&self.context), call, reservation, admission);
        recorder.set_target(&first);
        // From here on the recorder books it.
        *caller = None;
        let usage_asked = upstream_request.body_with_usage.is_some();
        let metered = MeterContext { billing: route.billing, estimate, usage_asked };
        if route.billing == Billing::Inference {
            recorder.set_fallback(estimate);
        }
        let (sent, mut recorder) = match first.on_hangup() {
            HangUp::Cancel => {
                let sent = self.upstream.send(first, &query, &upstream_request).await;
                drop((upstream_request, share));
                (sent, recorder)
            }
            HangUp::Drain => {
                let holding = (upstream_request, share);
                self.send_detached(first, query, holding, recorder, metered).await
            }
        };
        match sent {
            Ok(answer) => {
                let (head, body, has_length) = self.metered_body(answer, recorder, metered);
                respond(head, body, has_length).await
            }
            Err(error) => {
                let failure = Failure::from(&error);
                tracing::warn!(%request_id, %error, "no answer from upstream");
                if let Some(target) = error.target().and_then(|name| self.upstream.find(name)) {
                    recorder.set_target(target);
                }
                let receipt = recorder.failed(outcome(&error), failure.kind.http_status().as_u16());
                if let Some(receipt) = receipt.filter(|_| self.durability == Durability::Committed) {
                    receipt.committed().await.map_err(Failure::from)?;
                }
                Err(failure)
            }
        }
    }

    /// Sends a call that is carried on if its caller leaves before there is an answer.
    fn send_detached(
        &self,
        first: Arc<Target>,
        query: TargetQuery,
        (upstream_request, share): (UpstreamRequest, BodyPermit),
        recorder: Recorder,
        metered: MeterContext,
    ) -> DetachOnDrop {
        let upstream = Arc::clone(&self.upstream);
        let sending = Box::pin(async move {
            let sent = upstream.send(first, &query, &upstream_request).await;
            drop((upstream_request, share));
            sent
        });
        let attach_meter = Box::new(move |answer, recorder| attach_meter(answer, recorder, metered).1);
        DetachOnDrop::new(sending, recorder, Arc::clone(&self.drainer), attach_meter)
    }

    /// The answer's head as the caller gets it, its body, and whether it has announced a length that may not be kept.
    fn metered_body(
        &self,
        answer: UpstreamResponse,
        recorder: Recorder,
        metered: MeterContext,
    ) -> (http::response::Parts, Box<MeteredBody>, bool) {
        let target = Arc::clone(&answer.target);
        let (mut head, stream) = attach_meter(answer, recorder, metered);
        headers::for_caller(&mut head.headers);
        let usage_asked = metered.usage_asked && target.include_usage();
        // A caller that asked for no stream is not here. What is coded cannot be read, and goes as it comes.
        let in_clear = head.headers.get(CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
        let may_remove = usage_asked && in_clear && head.status.is_success() && stream.left != Some(0);
        let remover = may_remove.then(Remover::default);
        let has_length = may_remove && head.headers.contains_key(CONTENT_LENGTH);
        let drainer = Arc::clone(&self.drainer);
        let body = MeteredBody::new(stream, remover, self.durability, target.on_hangup(), drainer);
        (head, Box::new(body), has_length)
    }
}

async fn respond(
    mut head: http::response::Parts,
    mut body: Box<MeteredBody>,
    has_length: bool,
) -> Result<Response<Body>, Failure> {
    body.begin(has_length).await?;
    if has_length && body.exact_len().is_none() {
        head.headers.remove(CONTENT_LENGTH);
    }
    Ok(Response::from_parts(head, Body::Metered(body)))
}

/// What decides how an answer is metered, beside the answer itself.
#[derive(Clone, Copy)]
struct MeterContext {
    billing: Billing,
    estimate: Estimate,
    /// Targets that are to be asked were asked for usage on the caller's behalf.
    usage_asked: bool,
}

/// Makes of an answer a stream with the meter that fits what it is.
fn attach_meter(
    answer: UpstreamResponse,
    mut recorder: Recorder,
    metered: MeterContext,
) -> (http::response::Parts, MeteredStream) {
    let UpstreamResponse { head, body, target } = answer;
    let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let answer_head = AnswerHead {
        billing: metered.billing,
        status: head.status.as_u16(),
        content_type: text(CONTENT_TYPE),
        content_encoding: text(CONTENT_ENCODING),
        estimate: metered.estimate,
    };
    let is_streaming = is_stream(answer_head.content_type);
    let meter = metering::open(&answer_head);
    recorder.set_response(&target, head.status.as_u16(), is_streaming);
    let left = body.exact_len();
    let stream = MeteredStream { body, meter, recorder, status: head.status, is_streaming, left };
    (head, stream)
}

fn is_stream(content_type: Option<&str>) -> bool {
    const EVENTS: &str = "text/event-stream";
    content_type.is_some_and(|kind| {
        kind.get(..EVENTS.len()).is_some_and(|start| start.eq_ignore_ascii_case(EVENTS))
            || kind.to_ascii_lowercase().contains("ndjson")
    })
}

/// What a call says of its model; of one that spends nothing it does not matter what cannot be read.
fn model_query(route: &Route<'_>, peek: &Peek, has_body: bool) -> ModelQuery {
    let may_name = matches!(route.billing, Billing::Inference | Billing::Untracked);
    match () {
        () if !peek.model.is_empty() => ModelQuery::Named(Arc::clone(&peek.model)),
        () if has_body && may_name && peek.hides_model => ModelQuery::Unread,
        () => ModelQuery::Nameless { has_body },
    }
}

fn quota_request(peek: &Peek) -> QuotaRequest<'_> {
    QuotaRequest {
        model: &peek.model,
        max_tokens: peek.max_tokens,
        model_is_ambiguous: peek.ambiguous.model,
        max_tokens_is_ambiguous: peek.ambiguous.max_tokens,
        is_open_ended: peek.is_background && peek.max_tokens.is_none(),
    }
}

/// `text` is the body as a provider reads it.
fn upstream_request(
    route: Route<'_>,
    head: &mut Head<'_>,
    body: &Bytes,
    text: &[u8],
    peek: &Peek,
) -> UpstreamRequest {
    let path_and_query = match &head.query {
        Some(query) => format!("{}?{query}", route.path),
        None => route.path.to_owned(),
    };
    let mut headers = std::mem::take(&mut head.headers);
    headers::for_upstream(&mut headers);
    let may_ask =
        route.billing == Billing::Inference && dialect::has_usage_option(route.provider, route.path);
    let body_with_usage = if may_ask { peek.with_usage(text) } else { None };
    let counts_for_health = route.billing != Billing::Untracked;
    UpstreamRequest {
        method: head.method.clone(),
        path_and_query,
        headers,
        body: body.clone(),
        body_with_usage,
        counts_for_health,
    }
}

fn affinity(session: &HeaderValue) -> u64 {
    let mut hasher = foldhash::fast::FixedState::with_seed(0).build_hasher();
    hasher.write(session.as_bytes());
    hasher.finish()
}

fn outcome(error: &SendError) -> Outcome {
    match error {
        SendError::Unread { .. }
        | SendError::Nameless { .. }
        | SendError::NoTarget { .. }
        | SendError::NoneHealthy { .. }
        | SendError::Busy { .. } => Outcome::Refused,
        SendError::Connect { .. } => Outcome::UpstreamUnreachable,
        SendError::Broken { .. } => Outcome::UpstreamCut,
        SendError::Timeout { .. } => Outcome::UpstreamTimeout,
    }
}

fn stale() -> Failure {
    Failure::new(
        Kind::Unavailable,
        "this node has not heard from its leader for longer than cluster.max_staleness",
    )
    .retry_after(Duration::from_secs(5))
}

/// Other upgrades are the caller's offer, which nobody has to take: without an answer to it the call is plain HTTP.
fn wants_websocket(headers: &HeaderMap) -> bool {
    headers
        .get_all(UPGRADE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|offered| offered.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket")))
}

/// A server that answers TRACE sends back what it was sent: the provider's key.
fn method_not_allowed(method: &Method) -> Failure {
    Failure::new(Kind::Invalid, format!("{method} is not for calls to a provider: use POST or GET"))
}
