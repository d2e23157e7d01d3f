//! What is told of a call when it is over, beside what is counted: a line in the log, a span, and by option a second set
//! of metrics. Nothing that a caller wrote is told but names that look like names.

use std::time::Duration;

use prometheus_client::registry::Registry;

use crate::dialect::Operation;
use crate::domain::plain_name::plain_name;
use crate::domain::trace::TraceParent;
use crate::domain::usage::{Outcome, UsageRecord};
use crate::telemetry::genai::{Called, Metrics};
use crate::telemetry::spans::Spans;
use crate::telemetry::{CallSpan, CallSpanId, log_call};

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
        log_call(record, spans.map(|_| id.trace_id()));
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
