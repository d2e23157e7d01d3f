//! The responses of a conversation in Realtime as calls: each is admitted, metered and booked by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::frame::framed;
use super::proof::Proof;
use crate::config::Durability;
use crate::dialect::{self, Billing};
use crate::domain::clock::Moment;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::{RequestId, UserId};
use crate::domain::principal::Principal;
use crate::domain::provider::Provider;
use crate::domain::terms::Terms;
use crate::domain::tokens::Estimate;
use crate::domain::usage::Outcome;
use crate::ledger::Receipt;
use crate::metering::{self, AnswerHead, End, Meter};
use crate::proxy::credential;
use crate::proxy::gateway::Gateway;
use crate::proxy::recorder::{CallInfo, Hints, Recorder};
use crate::proxy::refusal_log::{self, RefusedCaller};
use crate::proxy::request_body::BodyPermit;
use crate::quota::QuotaRequest;
use crate::upstream::{Candidate, InFlight};

/// A conversation with one model of one target.
pub(super) struct Conversation {
    pub(super) gateway: Arc<Gateway>,
    pub(super) provider: Provider,
    pub(super) path: String,
    pub(super) proof: Proof,
    /// Without credentials.
    pub(super) headers: HeaderMap,
    pub(super) user: UserId,
    /// As the caller named it.
    pub(super) model: Arc<str>,
    pub(super) candidate: Candidate,
    /// What the last response took in: the next, which goes on from it, takes in about as much.
    pub(super) last_input: AtomicU64,
}

/// A response on its way into the books.
pub(super) struct Booking {
    recorder: Recorder,
    meter: Box<dyn Meter>,
    receipt: Option<Receipt>,
    durability: Durability,
    _in_flight: InFlight,
}

impl Conversation {
    pub(super) fn empty_permit(&self) -> BodyPermit {
        self.gateway.body_memory.empty_permit(self.user)
    }

    /// Begins a response of the conversation's model.
    ///
    /// # Errors
    /// As a call would be refused.
    pub(super) fn begin(&self, asked_bytes: usize) -> Result<Booking, Failure> {
        self.begin_for(&self.model, asked_bytes)
    }

    /// The same of another model, which has a part in it.
    ///
    /// # Errors
    /// As [`Self::begin`] says.
    pub(super) fn begin_for(&self, model: &str, asked_bytes: usize) -> Result<Booking, Failure> {
        let gateway = &self.gateway;
        let now = Moment { at: gateway.context.clock.now(), steady: Instant::now() };
        let principal = self.principal(now)?;
        gateway.check_fresh()?;
        let live = gateway.live.now();
        let model: Arc<str> = if *model == *self.model { Arc::clone(&self.model) } else { model.into() };
        let reservation = gateway.ledger.reserve(principal.user_id).map_err(Failure::from)?;
        let request = QuotaRequest {
            model: &model,
            max_tokens: None,
            model_is_ambiguous: false,
            max_tokens_is_ambiguous: false,
            is_open_ended: false,
        };
        let admission = gateway.quota.admit(&principal, &request, now).map_err(Failure::from)?;
        let is_own = *model == *self.model;
        let info = CallInfo {
            request_id: RequestId::new(),
            principal,
            provider: self.provider,
            model,
            hints: Hints::of(&self.headers),
            prices: Arc::clone(&live.prices),
            terms: Terms::default(),
            operation: dialect::operation(self.provider, &self.path),
            started: now.steady,
            waited: Duration::ZERO,
        };
        let mut recorder = Recorder::new(Arc::clone(&gateway.context), info, reservation, admission);
        let candidate = if is_own { self.candidate.clone() } else { self.candidate.for_other_model() };
        recorder.attempts().begin(&candidate);
        recorder.set_response(200, true);
        let estimate = Estimate {
            input: self.last_input.load(Ordering::Relaxed).max(asked_bytes as u64 / 4),
            ..Estimate::default()
        };
        let meter = metering::open(&AnswerHead {
            billing: Billing::Inference,
            status: 200,
            content_type: Some("text/event-stream"),
            content_encoding: None,
            estimate,
        });
        let (durability, in_flight) = (gateway.calls.durability, self.candidate.begin_over_websocket());
        Ok(Booking { recorder, meter, receipt: None, durability, _in_flight: in_flight })
    }

    /// Notes a refusal as one of a call; its code in the caller's dialect.
    pub(super) fn refused(&self, failure: &Failure) -> &'static str {
        let gateway = &self.gateway;
        let now = Moment { at: gateway.context.clock.now(), steady: Instant::now() };
        gateway.context.metrics.refused(failure.kind);
        if let Ok(principal) = self.principal(now) {
            let mut caller = RefusedCaller::of(&principal, now.steady);
            caller.model = Arc::clone(&self.model);
            let id = (RequestId::new(), self.provider);
            let prices = &gateway.live.now().prices;
            refusal_log::book(
                &gateway.context,
                prices,
                &gateway.refused,
                &gateway.ledger,
                id,
                caller,
                failure,
            );
        }
        match failure.kind {
            Kind::QuotaSpent => "insufficient_quota",
            Kind::RateLimited => "rate_limit_exceeded",
            Kind::Unauthenticated => "invalid_api_key",
            Kind::Forbidden => "permission_denied",
            _ => "refused",
        }
    }

    pub(super) fn note_input(&self, input: u64) {
        self.last_input.store(input, Ordering::Relaxed);
    }

    fn principal(&self, now: Moment) -> Result<Principal, Failure> {
        let (mut headers, mut query) =
            (self.proof.headers.clone(), self.proof.query.as_deref().map(Into::into));
        credential::authenticate(&self.gateway.accounts, &self.path, &mut headers, &mut query, now.at)
    }
}

impl Booking {
    /// An event of the response.
    pub(super) fn feed(&mut self, text: &str) {
        self.recorder.first_byte();
        self.meter.feed(&framed(text, false));
    }

    /// Books it as one that has come to its end; the input that it reports.
    pub(super) fn settle_whole(&mut self) -> Option<u64> {
        let result = self.meter.result(End::Body);
        let input = result.tokens.input;
        let outcome = if result.error_event { Outcome::UpstreamError } else { Outcome::Ok };
        self.receipt = self.recorder.settle(outcome, result);
        (input > 0).then_some(input)
    }

    /// Waits until it is in the database, where that is to be waited for.
    ///
    /// # Errors
    /// It is not.
    pub(super) async fn committed(mut self) -> Result<(), Failure> {
        let receipt = self.receipt.take().filter(|_| self.durability == Durability::Committed);
        if let Some(receipt) = receipt {
            receipt.committed().await.map_err(Failure::from)?;
        }
        self.recorder.released();
        Ok(())
    }

    /// Books it as far as it has come.
    pub(super) fn broken(mut self, outcome: Outcome, end: End) {
        let result = self.meter.result(end);
        self.recorder.settle(outcome, result);
    }

    /// Books that the provider has refused it.
    pub(super) fn failed(self) {
        let _ = self.recorder.failed(Outcome::UpstreamError, 400);
    }
}
