//! What is told of a call when it is over, beside what is counted: a line in the log, a span, and by option a second set
//! of metrics. Nothing that a caller wrote is told but names that look like names.

use std::time::Duration;

use prometheus_client::registry::Registry;

use crate::dialect::Operation;
use crate::domain::plain_name::plain_name;
use crate::domain::trace::TraceParent;
use crate::domain::usage::{Outcome, UsageRecord};
use crate::telemetry::genai::{Called, Metrics};
use crate::telemetry::log::CALLS;
use crate::telemetry::spans::Spans;
use crate::telemetry::{CallSpan, CallSpanId};

/// Who is told.
#[derive(Debug, Default)]
pub struct Reports {
    /// Whoever collects spans.
    pub spans: Option<Spans>,
    /// OpenTelemetry's metrics for generative AI.
    pub genai: Option<Metrics>,
}

/// What a record does not say of its call.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallFacts {
    pub(super) operation: Operation,
    /// `gen_ai.provider.name`
    pub(super) provider: &'static str,
    /// The caller's span.
    pub(super) parent: Option<TraceParent>,
}

impl Reports {
    pub(super) fn register(&self, registry: &mut Registry) {
        if let Some(genai) = &self.genai {
            genai.register(registry);
        }
        if let Some(spans) = &self.spans {
            registry.register_collector(Box::new(spans.clone()));
        }
    }

    /// A call is in the books.
    pub(super) fn settled(&self, record: &UsageRecord, of: CallFacts) {
        let id = CallSpanId { request_id: record.request_id, parent: of.parent };
        let spans = self.spans.as_ref().filter(|spans| spans.samples(&id));
        log(record, spans.map(|_| id.trace_id()));
        if let Some(genai) = &self.genai {
            let error = if record.outcome == Outcome::Ok { "" } else { record.outcome.as_str() };
            let model = plain_name(&record.actual_model);
            let called = Called { operation: of.operation, provider: of.provider, model, error };
            let took = Duration::from_millis(record.duration_ms);
            genai.observe(called, record.tokens, took, record.ttfb_ms.map(Duration::from_millis));
        }
        if let Some(spans) = spans {
            let CallFacts { operation, provider, .. } = of;
            spans.call(Box::new(CallSpan { id, operation, provider, record: record.clone() }));
        }
    }
}

/// The line of a call.
pub(super) fn log(record: &UsageRecord, trace_id: Option<u128>) {
    if !tracing::enabled!(target: CALLS, tracing::Level::INFO) {
        return;
    }
    let tokens = record.tokens;
    tracing::info!(
        target: CALLS,
        request_id = %record.request_id,
        user = &*record.user,
        group = record.group.as_deref(),
        provider = record.provider.as_str(),
        model = plain_name(&record.model),
        actual_model = plain_name(&record.actual_model),
        target = &*record.target,
        outcome = record.outcome.as_str(),
        status = record.status_code,
        stream = record.is_streaming,
        duration_ms = record.duration_ms,
        ttfb_ms = record.ttfb_ms,
        input_tokens = tokens.input,
        output_tokens = tokens.output,
        cache_read_tokens = tokens.cache_read,
        cache_write_tokens = tokens.cache_write.saturating_add(tokens.cache_write_1h),
        reasoning_tokens = tokens.reasoning,
        token_source = record.token_source.as_str(),
        cost_nanousd = record.cost_nanousd,
        attempts = record.attempts.len(),
        session = record.session_id.as_deref().map(plain_name),
        trace_id = trace_id.map(|id| format!("{id:032x}")),
        "call"
    );
}
