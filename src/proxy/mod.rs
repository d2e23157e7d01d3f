//! The data plane: the way of a request, from the caller to a provider and back, as one straight line in
//! [`Gateway::serve`].
//!
//! Read what is asked → reserve room in the ledger → admit → send → let the answer through the meter → book → release
//! its end. Every early return drops what it holds, which gives it back.

mod aborted;
mod admin_paths;
mod asked;
mod attempts;
mod available_models;
mod buffered_request;
mod call;
mod converted;
mod converter;
mod credential;
mod decode;
mod detach;
pub mod error_response;
mod gateway;
mod headers;
mod held;
mod hosted;
mod live;
mod metered_stream;
mod metrics;
mod models;
mod other_dialect;
mod outgoing;
mod path;
mod read_rest;
mod readable_body;
mod recorder;
mod refusal_log;
mod report;
mod request_body;
mod response_body;
mod send;
mod sightings;
mod usage_metrics;
mod websocket;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderValue, Method, Response};
use http_body::Body as HttpBody;

use crate::dialect::route::Route;
use crate::dialect::{self, Billing};
use crate::domain::clock::Moment;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::RequestId;
use crate::domain::principal::Principal;
use crate::domain::tokens::Estimate;
use crate::upstream::Upstream;
use crate::websocket::is_wanted;

pub use aborted::Aborted;
use asked::Asked;
use attempts::Attempts;
pub use available_models::{AvailableModel, ReachedIn};
use buffered_request::BufferedRequest;
pub use buffered_request::Head;
use call::Call;
pub use detach::Drainer;
use gateway::plan;
pub use gateway::{Gateway, NoAccountsYet, Parts, StaleCheck};
pub use headers::drop_hop_by_hop;
pub use live::{Live, Snapshot};
pub use models::ModelLists;
use recorder::{CallInfo, Recorder};
use refusal_log::RefusedCaller;
pub use report::Reports;
pub use request_body::BodyMemory;
pub use response_body::Body;
use send::{MeterConfig, send};
pub use sightings::{Seen, Sightings};
use websocket::Proof;

const X_SPROXY_REQUEST_ID: HeaderName = HeaderName::from_static("x-sproxy-request-id");
const X_SPROXY_NODE: HeaderName = HeaderName::from_static("x-sproxy-node");

impl Gateway {
    /// Answers one call on the data plane. `route` is what `dialect::route::find` made of its path.
    pub async fn serve<B>(self: &Arc<Self>, route: Route<'_>, head: &mut Head<'_>, body: B) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        self.serve_asked(route, head, body, None).await
    }

    /// The same for one that may have been asked over a WebSocket.
    async fn serve_asked<B>(
        self: &Arc<Self>,
        route: Route<'_>,
        head: &mut Head<'_>,
        body: B,
        asked: Option<Box<dyn Asked>>,
    ) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let request_id = RequestId::new();
        let (provider, mut caller) = (route.provider, None);
        let mut response = self
            .answer(request_id, route, head, (body, asked), &mut caller)
            .await
            .unwrap_or_else(|failure| {
                let failure = self.unavailable_until_synced(failure);
                self.context.metrics.refused(failure.kind);
                if let Some(caller) = caller.take() {
                    refusal_log::book(
                        &self.context,
                        &self.live.now().prices,
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

    /// A node that knows no users yet cannot call a credential wrong.
    fn unavailable_until_synced(&self, failure: Failure) -> Failure {
        let unknown = self.no_accounts_yet.as_ref().filter(|_| failure.kind == Kind::Unauthenticated);
        unknown.and_then(|reason| reason()).map_or(failure, Failure::not_yet)
    }

    async fn answer<B>(
        self: &Arc<Self>,
        request_id: RequestId,
        route: Route<'_>,
        head: &mut Head<'_>,
        (body, asked): (B, Option<Box<dyn Asked>>),
        caller: &mut Option<RefusedCaller>,
    ) -> Result<Response<Body>, Failure>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let now = Moment { at: self.context.clock.now(), steady: Instant::now() };
        // Whoever asks over it later proves itself again.
        let proof = head.upgrade.as_ref().map(|_| (head.headers.clone(), head.query.clone()));
        let principal =
            credential::authenticate(&self.accounts, route.path, &mut head.headers, &mut head.query, now.at)?;
        // Untracked calls are never logged, refused or not.
        if route.billing != Billing::Untracked && !route.lists_models {
            *caller = Some(RefusedCaller::of(&principal, now.steady));
        }
        self.check_fresh()?;
        if is_wanted(&head.headers) {
            let proof = proof.map(Proof::from);
            return Box::pin(self.open_websocket(request_id, &route, head, (principal, proof))).await;
        }
        let live = self.live.now();
        let is_admin = classify_path(&live.upstream, &route, &head.method)?;
        if route.lists_models {
            let models = self.models.list(&live.upstream, &principal, route.provider);
            return Ok(Box::pin(models).await);
        }
        let memory = &self.body_memory;
        let mut request =
            BufferedRequest::read(memory, &route, head, body, (principal.user_id, now.at), is_admin).await?;
        if let Some(asked) = asked {
            // What a conversation has left with a provider is where its connection goes.
            request.query.affinity = Some(asked.affinity());
            request.asked = Some(asked);
        }
        if let Some(caller) = caller {
            caller.model = Arc::clone(&request.peek.model);
        }
        // Nothing is admitted, reserved or sent for a model that nobody serves, or without the memory for it.
        if route.billing == Billing::Inference && live.upstream.may_have_choice(&request.query) {
            request.read_conversation();
        }
        let planning = Instant::now();
        let plan = plan(&live.upstream, &route, &request.query, &principal).await?;
        // For a target that cools down; without that it takes no time to speak of.
        request.waited += planning.elapsed();
        request.prepare_for(plan.current().target())?;
        if !plan.may_rewrite() {
            request.drop_copy();
        }
        if route.billing == Billing::Untracked {
            let metering = MeterConfig { billing: route.billing, estimate: request.peek.estimate };
            let sent = send(plan, request, metering, Attempts::default(), &*self.context.clock).await;
            return Box::pin(models::passed_through(sent.map_err(|error| Failure::from(&error))?)).await;
        }
        let call = self.begin(request_id, &route, &mut request, principal, &live, now)?;
        // From here on its recorder books it.
        *caller = None;
        call.complete(plan, request).await
    }

    /// Reserves room in the ledger and admits the call.
    fn begin(
        &self,
        request_id: RequestId,
        route: &Route<'_>,
        request: &mut BufferedRequest,
        principal: Principal,
        live: &Snapshot,
        now: Moment,
    ) -> Result<Call<'_>, Failure> {
        // Reserved before it is admitted: room is given back if the call is not admitted, while a call that counts
        // against a limit must be one that is really made.
        let reservation = self.ledger.reserve(principal.user_id).map_err(Failure::from)?;
        let admission = self.quota.admit(&principal, &request.quota_request(), now).map_err(Failure::from)?;
        let info = CallInfo {
            request_id,
            principal,
            provider: route.provider,
            model: Arc::clone(&request.peek.model),
            hints: std::mem::take(&mut request.hints),
            prices: Arc::clone(&live.prices),
            terms: request.peek.terms.clone(),
            operation: dialect::operation(route.provider, route.path),
            started: now.steady,
            waited: request.waited,
        };
        // What only makes ready costs what the provider says, and nothing where it does not.
        let is_counted = request.asked.as_ref().is_none_or(|asked| asked.generates());
        let estimate = if is_counted { request.peek.estimate } else { Estimate::default() };
        let mut recorder = Recorder::new(Arc::clone(&self.context), info, reservation, admission);
        if route.billing == Billing::Inference {
            recorder.set_fallback(estimate);
        }
        let metering = MeterConfig { billing: route.billing, estimate };
        Ok(Call { context: &self.calls, request_id, recorder, metering })
    }
}

/// Whether the call administers the provider's account. Refuses paths and methods that are for no provider.
fn classify_path(upstream: &Upstream, route: &Route<'_>, method: &Method) -> Result<bool, Failure> {
    if matches!(*method, Method::TRACE | Method::CONNECT) {
        return Err(method_not_allowed(method));
    }
    path::check(route.path)?;
    let is_admin = admin_paths::is_admin(route.provider, method, route.path);
    if is_admin && !upstream.takes_admin_paths(route.provider) {
        return Err(admin_paths::refused());
    }
    Ok(is_admin)
}

/// A server that answers TRACE sends back what it was sent: the provider's key.
fn method_not_allowed(method: &Method) -> Failure {
    Failure::new(Kind::Invalid, format!("{method} is not for calls to a provider: use POST or GET"))
}
