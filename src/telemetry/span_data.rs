//! What a span says of a call or a push. Nothing that a caller wrote is in it but names that look like names.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::Uri;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::genai::{self, attribute};
use crate::dialect::Operation;
use crate::domain::clock::Timestamp;
use crate::domain::ids::RequestId;
use crate::domain::plain_name::plain_name;
use crate::domain::trace::TraceParent;
use crate::domain::usage::{Attempt, Outcome, TokenSource, UsageRecord};

/// What the span of a call is known by.
#[derive(Clone, Copy, Debug)]
pub struct CallSpanId {
    pub request_id: RequestId,
    /// The caller's span.
    pub parent: Option<TraceParent>,
}

impl CallSpanId {
    /// The caller's trace, else one of the call's own, with the call's number.
    #[must_use]
    pub fn trace_id(&self) -> u128 {
        self.parent.map_or_else(|| self.request_id.0.as_u128(), |parent| parent.trace_id)
    }

    /// The end of the call's number.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the end of it")]
    pub fn span_id(&self) -> u64 {
        self.request_id.0.as_u128() as u64
    }
}

/// A call that is over.
#[derive(Clone, Debug)]
pub struct CallSpan {
    pub id: CallSpanId,
    pub operation: Operation,
    /// `gen_ai.provider.name`
    pub provider: &'static str,
    pub record: UsageRecord,
}

/// A push of usage logs to a leader that is over.
#[derive(Clone, Debug)]
pub struct PushSpan {
    pub leader: String,
    pub began: Timestamp,
    pub ended: Timestamp,
    pub records: u64,
    pub accepted: u64,
    pub duplicates: u64,
    pub rejected: u64,
    /// Why it failed.
    pub error: Option<String>,
}

/// Adds the span of a call, and those of its failed attempts.
pub(super) fn of_call(call: CallSpan, to: &mut Vec<SpanData>) {
    let CallSpan { id, operation, provider, record } = call;
    let ended = system_time(record.created_at);
    let began = before(ended, Duration::from_millis(record.duration_ms));
    let attributes = attributes(&record, operation, provider);
    let status = match record.outcome {
        Outcome::Ok | Outcome::ClientGone => Status::Unset,
        outcome => Status::error(outcome.as_str()),
    };
    let name = format!("{} {}", genai::operation_name(operation), plain_name(&record.model));
    let parent = id.parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.span_id));
    let trace = TraceId::from(id.trace_id());
    let own = SpanId::from(id.span_id());
    let mut began_attempt = began;
    for (number, attempt) in record.attempts.iter().enumerate() {
        let ended = began_attempt + Duration::from_millis(attempt.duration_ms);
        let span = SpanId::from(id.span_id().wrapping_add(number as u64 + 1));
        let times = (began_attempt, ended.min(system_time(record.created_at)));
        let attributes = of_attempt(attempt, operation, provider);
        let status = Status::error(attempt.reason.clone());
        let name = format!("attempt {}", attempt.target);
        to.push(span_data((trace, span, own), SpanKind::Client, name.into(), times, attributes, status));
        began_attempt = ended;
    }
    let mut span =
        span_data((trace, own, parent), SpanKind::Client, name.into(), (began, ended), attributes, status);
    span.parent_span_is_remote = id.parent.is_some();
    to.push(span);
}

fn attributes(record: &UsageRecord, operation: Operation, provider: &'static str) -> Vec<KeyValue> {
    let name = |name: &str| plain_name(name).to_owned();
    let mut attributes = vec![
        KeyValue::new(attribute::OPERATION, genai::operation_name(operation)),
        KeyValue::new(attribute::PROVIDER, provider),
        KeyValue::new(attribute::REQUEST_MODEL, name(&record.model)),
        KeyValue::new(attribute::REQUEST_STREAM, record.is_streaming),
        KeyValue::new(attribute::RESPONSE_MODEL, name(&record.actual_model)),
        KeyValue::new(attribute::STATUS_CODE, i64::from(record.status_code)),
    ];
    let tokens = record.tokens;
    let cache_write = tokens.cache_write.saturating_add(tokens.cache_write_1h);
    // Where nothing is known, nothing is said.
    let is_known = record.token_source != TokenSource::None;
    for (key, count, is_told) in [
        (attribute::INPUT_TOKENS, tokens.input, is_known),
        (attribute::OUTPUT_TOKENS, tokens.output, is_known),
        (attribute::CACHE_READ_TOKENS, tokens.cache_read, tokens.cache_read > 0),
        (attribute::CACHE_WRITE_TOKENS, cache_write, cache_write > 0),
        (attribute::REASONING_TOKENS, tokens.reasoning, tokens.reasoning > 0),
    ] {
        attributes.extend(is_told.then(|| KeyValue::new(key, integer(count))));
    }
    if let Some(ttfb) = record.ttfb_ms {
        attributes.push(KeyValue::new(attribute::TIME_TO_FIRST_CHUNK, seconds(ttfb)));
    }
    if let Some(session) = &record.session_id {
        attributes.push(KeyValue::new(attribute::CONVERSATION, name(session)));
    }
    let uri = record.upstream_url.parse::<Uri>().ok();
    if let Some(authority) = uri.as_ref().and_then(Uri::authority) {
        let known = if uri.as_ref().and_then(Uri::scheme_str) == Some("https") { 443 } else { 80 };
        attributes.push(KeyValue::new(attribute::SERVER_ADDRESS, authority.host().to_owned()));
        let port = i64::from(authority.port_u16().unwrap_or(known));
        attributes.push(KeyValue::new(attribute::SERVER_PORT, port));
    }
    if record.outcome != Outcome::Ok {
        attributes.push(KeyValue::new(attribute::ERROR_TYPE, record.outcome.as_str()));
    }
    attributes.extend([
        KeyValue::new("sproxy.request_id", record.request_id.to_string()),
        KeyValue::new("sproxy.user", record.user.to_string()),
        KeyValue::new("sproxy.target", record.target.to_string()),
        KeyValue::new("sproxy.node", record.source_node.as_str().to_owned()),
        KeyValue::new("sproxy.outcome", record.outcome.as_str()),
        KeyValue::new("sproxy.token_source", record.token_source.as_str()),
        KeyValue::new("sproxy.cost_nanousd", record.cost_nanousd),
    ]);
    attributes.extend(record.group.as_ref().map(|group| KeyValue::new("sproxy.group", group.to_string())));
    attributes
}

fn of_attempt(attempt: &Attempt, operation: Operation, provider: &'static str) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(attribute::OPERATION, genai::operation_name(operation)),
        KeyValue::new(attribute::PROVIDER, provider),
        KeyValue::new(attribute::REQUEST_MODEL, plain_name(&attempt.model).to_owned()),
        KeyValue::new(attribute::ERROR_TYPE, attempt.reason.clone()),
        KeyValue::new("sproxy.target", attempt.target.clone()),
        KeyValue::new("sproxy.cost_nanousd", attempt.cost_nanousd),
    ];
    attributes.extend((!attempt.key.is_empty()).then(|| KeyValue::new("sproxy.key", attempt.key.clone())));
    let status = attempt.status_code.map(|status| KeyValue::new(attribute::STATUS_CODE, i64::from(status)));
    attributes.extend(status);
    attributes
}

pub(super) fn of_push(push: PushSpan) -> SpanData {
    let id = uuid::Uuid::now_v7().as_u128();
    let counted = |name: &'static str, count: u64| KeyValue::new(name, integer(count));
    let mut attributes = vec![
        KeyValue::new("sproxy.leader", push.leader),
        counted("sproxy.push.records", push.records),
        counted("sproxy.push.accepted", push.accepted),
        counted("sproxy.push.duplicates", push.duplicates),
        counted("sproxy.push.rejected", push.rejected),
    ];
    let status = match push.error {
        Some(error) => {
            attributes.push(KeyValue::new(attribute::ERROR_TYPE, "push_failed"));
            Status::error(error)
        }
        None => Status::Unset,
    };
    #[allow(clippy::cast_possible_truncation, reason = "the end of it")]
    let ids = (TraceId::from(id), SpanId::from(id as u64), SpanId::INVALID);
    span_data(
        ids,
        SpanKind::Client,
        "push usage".into(),
        (system_time(push.began), system_time(push.ended)),
        attributes,
        status,
    )
}

fn span_data(
    (trace, span, parent): (TraceId, SpanId, SpanId),
    span_kind: SpanKind,
    name: Cow<'static, str>,
    (start_time, end_time): (SystemTime, SystemTime),
    attributes: Vec<KeyValue>,
    status: Status,
) -> SpanData {
    SpanData {
        span_context: SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind,
        name,
        start_time,
        end_time,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: scope(),
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("sproxy")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(genai::SCHEMA_URL)
        .build()
}

fn system_time(at: Timestamp) -> SystemTime {
    let micros = u64::try_from(at.as_micros()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

fn before(at: SystemTime, by: Duration) -> SystemTime {
    at.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "durations are far below 2^52 ms")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1_000.0
}
