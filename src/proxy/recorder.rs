//! The recorder of one call, from its admission to the ledger. It cannot be forgotten: what is not settled when it
//! goes out of scope is settled as a caller that hung up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

use crate::cloud::hosting::Platform;
use crate::dialect::{Operation, Unknown};
use crate::domain::clock::Clock;
use crate::domain::ids::{NodeId, RequestId};
use crate::domain::price::PriceList;
use crate::domain::principal::Principal;
use crate::domain::provider::Provider;
use crate::domain::terms::Terms;
use crate::domain::tokens::Estimate;
use crate::domain::trace::TraceParent;
use crate::domain::usage::{Outcome, Part, TokenSource, Tokens, UsageRecord};
use crate::ledger::{ClampedRecord, Receipt, Reservation};
use crate::metering::{MeterResult, Step};
use crate::proxy::attempts::{Attempts, SoFar};
use crate::proxy::metrics::Metrics;
use crate::proxy::report::{CallFacts, Reports};
use crate::quota::Admission;
use crate::telemetry::genai;
use crate::upstream::Candidate;

/// The same for every call.
pub(super) struct RecorderContext {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) reports: Reports,
    pub(super) node: NodeId,
}

/// What is known of a call when it begins.
pub(super) struct CallInfo {
    pub(super) request_id: RequestId,
    pub(super) principal: Principal,
    pub(super) provider: Provider,
    pub(super) model: Arc<str>,
    pub(super) hints: Hints,
    pub(super) prices: Arc<PriceList>,
    /// Such as a service tier or a batch discount, as the caller asked for it.
    pub(super) terms: Terms,
    pub(super) operation: Operation,
    pub(super) started: Instant,
    /// For its body, and for a target.
    pub(super) waited: Duration,
}

/// A caller's own words about itself: kept as hints, bounded, never trusted.
#[derive(Default)]
#[allow(clippy::struct_field_names, reason = "the names of the columns")]
pub(super) struct Hints {
    session_id: Option<String>,
    agent_id: Option<String>,
    client_request_id: Option<String>,
    trace: Option<TraceParent>,
}

impl Hints {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self {
            session_id: hint(headers, &SESSION_ID),
            agent_id: hint(headers, &AGENT_ID),
            client_request_id: hint(headers, &CLIENT_REQUEST_ID),
            trace: headers.get(TRACE_PARENT).and_then(|value| TraceParent::parse(value.to_str().ok()?)),
        }
    }
}

/// Claude Code's name of a conversation.
const SESSION_ID: HeaderName = HeaderName::from_static("x-claude-code-session-id");
const AGENT_ID: HeaderName = HeaderName::from_static("x-claude-code-agent-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

fn hint(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    const HINT_MAX: usize = 128;
    let text = headers.get(name)?.to_str().ok()?;
    Some(text.chars().take(HINT_MAX).collect())
}

/// A recorder whose call is under way.
pub(super) struct Recorder {
    context: Arc<RecorderContext>,
    /// None once it is settled. In a box: a recorder changes hands often on its way.
    pending: Option<Box<Pending>>,
    /// Of an answered call that is settled and not released: the gateway's own time before the first attempt, and when
    /// the upstream's answer ended.
    unreleased: Option<(Duration, Instant)>,
}

struct Pending {
    call: CallInfo,
    reservation: Reservation,
    admission: Admission,
    attempts: Attempts,
    status: u16,
    is_streaming: bool,
    ttfb: Option<Duration>,
    /// What is booked if nothing more is heard.
    fallback: MeterResult,
}

impl Recorder {
    pub(super) fn new(
        context: Arc<RecorderContext>,
        call: CallInfo,
        reservation: Reservation,
        admission: Admission,
    ) -> Self {
        let pending = Pending {
            call,
            reservation,
            admission,
            attempts: Attempts::default(),
            status: STATUS_CLIENT_GONE,
            is_streaming: false,
            ttfb: None,
            fallback: MeterResult::nothing(),
        };
        Self { context, pending: Some(Box::new(pending)), unreleased: None }
    }

    /// Where the attempts of the call are noted.
    pub(super) fn attempts(&self) -> Attempts {
        self.pending.as_ref().map_or_else(Attempts::default, |pending| pending.attempts.clone())
    }

    /// These were left out of the call.
    pub(super) fn count_dropped(&self, dropped: &[Unknown]) {
        for unknown in dropped {
            self.context.metrics.dropped(unknown);
        }
    }

    /// The head of the answer is there.
    pub(super) fn set_response(&mut self, status: u16, is_streaming: bool) {
        if let Some(pending) = &mut self.pending {
            pending.status = status;
            pending.is_streaming = is_streaming;
        }
    }

    /// The answer's stream came to its end; `is_empty`: without an event.
    pub(super) fn stream_ended(&self, is_empty: bool) {
        if let Some(last) = self.pending.as_ref().and_then(|pending| pending.attempts.last()) {
            last.target().stream_ended(is_empty);
        }
    }

    /// The first byte of the answer's body is there.
    pub(super) fn first_byte(&mut self) {
        if let Some(pending) = &mut self.pending
            && pending.ttfb.is_none()
        {
            pending.ttfb = Some(pending.call.started.elapsed());
        }
    }

    /// What to book if the caller is gone before the upstream says anything.
    pub(super) fn set_fallback(&mut self, estimate: Estimate) {
        if let Some(pending) = &mut self.pending {
            let output = if estimate.is_deferred { estimate.output_later } else { 0 };
            let tokens = Tokens { input: estimate.input, output, ..Tokens::default() };
            pending.fallback =
                MeterResult { tokens, source: TokenSource::Estimated, ..MeterResult::nothing() };
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_none()
    }

    /// Books a call that got no answer.
    pub(super) fn failed(mut self, outcome: Outcome, status: u16) -> Option<Receipt> {
        if let Some(pending) = &mut self.pending {
            pending.status = status;
        }
        self.settle(outcome, MeterResult::nothing())
    }

    /// Hands the record to the ledger. Nothing can be refused here: the room was reserved before the call went out.
    pub(super) fn settle(&mut self, outcome: Outcome, result: MeterResult) -> Option<Receipt> {
        let pending = self.pending.take()?;
        let ended = Instant::now();
        self.unreleased = pending.own_time().map(|before| (before, ended));
        let (readable, facts) = (result.readable, pending.facts());
        let (record, reservation, admission) = pending.into_record(&self.context, outcome, result);
        // Limits count what the ledger will hold.
        let record = ClampedRecord::from(record);
        self.context.metrics.settled(&record, readable);
        self.context.reports.settled(&record, facts);
        admission.settle(record.tokens.total(), record.cost_nanousd, self.context.clock.now());
        Some(reservation.record(record))
    }
}

impl Recorder {
    /// The end of the answer may go to its caller.
    pub(super) fn released(&mut self) {
        if let Some((before, ended)) = self.unreleased.take() {
            self.context.metrics.released(before + ended.elapsed());
        }
    }
}

/// nginx's word for it: the caller closed the connection before there was an answer.
const STATUS_CLIENT_GONE: u16 = 499;

impl Pending {
    /// From the call's arrival to its first attempt, without what it waited for; none if nothing was sent.
    fn own_time(&self) -> Option<Duration> {
        let sent = self.attempts.first_begun()?;
        Some(sent.saturating_duration_since(self.call.started).saturating_sub(self.call.waited))
    }

    fn facts(&self) -> CallFacts {
        let last = self.attempts.last();
        let platform = last.as_ref().map_or(Platform::Provider, |last| last.target().platform());
        let converted = last.as_ref().and_then(Candidate::conversion);
        let provider = converted.map_or(self.call.provider, |conversion| conversion.apis.to.dialect());
        CallFacts {
            operation: self.call.operation,
            provider: genai::provider_name(provider, platform),
            parent: self.call.hints.trace,
        }
    }

    fn into_record(
        self: Box<Self>,
        context: &RecorderContext,
        outcome: Outcome,
        result: MeterResult,
    ) -> (UsageRecord, Reservation, Admission) {
        let CallInfo { request_id, principal, provider, model, hints, prices, terms, started, .. } =
            self.call;
        let last = self.attempts.last();
        let sent = last.as_ref().and_then(Candidate::other_model).unwrap_or(&model);
        let actual_model = match result.model {
            Some(answered) if *answered != **sent => Arc::from(answered),
            _ => Arc::clone(sent),
        };
        // What answered is what is charged; its name is often more exact than what was asked for.
        let entry = prices.known(&actual_model).unwrap_or_else(|| prices.find(sent));
        let asked_terms = terms.clone();
        let terms = result.terms.or(&terms);
        let price = entry.price_for(&terms);
        let of_step = |step: &Step| match &step.model {
            Some(name) if **name != *actual_model => {
                Part::new(name, step.tokens, &prices.find(name).price_for(&terms))
            }
            _ => Part::new(&actual_model, step.tokens, &price),
        };
        let parts: Vec<_> = result.steps.iter().map(of_step).collect();
        let own_cost = match &*parts {
            [] => price.cost_nanousd(result.tokens),
            parts => parts.iter().fold(0_i64, |sum, part| sum.saturating_add(part.cost_nanousd)),
        };
        let converted = last.as_ref().and_then(Candidate::conversion).map(|conversion| conversion.apis);
        let attempts = self.attempts.take(&prices, &asked_terms);
        let cost_nanousd =
            attempts.iter().fold(own_cost, |sum, attempt| sum.saturating_add(attempt.cost_nanousd));
        let (target, upstream_url) = last.as_ref().map_or_else(
            || (Arc::from(""), Arc::from("")),
            |last| (last.target().shared_name(), last.target().url()),
        );
        let (group_id, group) = principal.group.unzip();
        let record = UsageRecord {
            request_id,
            user_id: principal.user_id,
            user: principal.user,
            group_id,
            group,
            model,
            actual_model,
            provider: converted.map_or(provider, |apis| apis.to.dialect()),
            converted_from: converted.map(|apis| apis.from.as_str().to_owned()),
            target,
            upstream_url,
            tokens: result.tokens,
            token_source: result.source,
            outcome,
            is_streaming: self.is_streaming,
            status_code: self.status,
            duration_ms: millis(started.elapsed()),
            ttfb_ms: self.ttfb.map(millis),
            cost_nanousd,
            price,
            parts,
            attempts,
            session_id: hints.session_id,
            agent_id: hints.agent_id,
            client_request_id: hints.client_request_id,
            source_node: context.node.clone(),
            created_at: context.clock.now(),
        };
        (record, self.reservation, self.admission)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(pending) = &self.pending {
            let fallback = match pending.attempts.so_far() {
                SoFar::Sent => pending.fallback.clone(),
                SoFar::Failed => MeterResult::nothing(),
                SoFar::Begun(result) => result,
            };
            self.settle(Outcome::ClientGone, fallback);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
