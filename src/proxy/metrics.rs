//! What the data plane counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::dialect::Unknown;
use crate::domain::failure::Kind;
use crate::domain::provider::Provider;
use crate::domain::usage::{Outcome, TokenSource, UsageRecord};
use crate::telemetry::{CounterArray, Histogram};

/// Names that are told apart where callers choose them; the rest is `other`.
const NAMES_MAX: usize = 32;
const OTHER: &str = "other";
/// Longest name in a label, bytes.
const NAME_MAX: usize = 128;

type Label = (&'static str, &'static str);

/// Counters of the data plane since the start of the process. Nothing here waits or allocates but for a model that the
/// price list does not know.
#[derive(Debug)]
pub(super) struct Metrics {
    requests: CounterArray<[Label; 2]>,
    refused: CounterArray<[Label; 1]>,
    refusals_unbooked: Counter,
    tokens: CounterArray<[Label; 1]>,
    cost_nanousd: Counter,
    unmetered: Counter,
    estimated: Counter,
    unpriced: NamedCounters,
    dropped: NamedCounters,
    duration: Histogram,
    first_byte: Histogram,
}

/// Indexes of `tokens`.
const INPUT: usize = 0;
const OUTPUT: usize = 1;

/// The index of `requests`.
fn request_index(provider: Provider, outcome: Outcome) -> usize {
    provider as usize * Outcome::ALL.len() + outcome as usize
}

impl Metrics {
    /// Counters at zero.
    pub(super) fn new() -> Self {
        let requests = Provider::ALL.into_iter().flat_map(|provider| {
            Outcome::ALL
                .iter()
                .map(move |outcome| [("provider", provider.as_str()), ("outcome", outcome.as_str())])
        });
        Self {
            requests: CounterArray::new(requests).without_zeros(),
            refused: CounterArray::new(Kind::ALL.map(|kind| [("reason", kind.as_str())])),
            refusals_unbooked: Counter::default(),
            tokens: CounterArray::new(["input", "output"].map(|class| [("class", class)])),
            cost_nanousd: Counter::default(),
            unmetered: Counter::default(),
            estimated: Counter::default(),
            unpriced: NamedCounters::of("model"),
            dropped: NamedCounters::of("field"),
            duration: Histogram::default(),
            first_byte: Histogram::default(),
        }
    }

    /// Names them all.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "sproxy_requests",
            "Calls on the data plane that are in the books",
            self.requests.clone(),
        );
        registry.register(
            "sproxy_refused",
            "Calls that the gateway itself refused or could not get an answer for",
            self.refused.clone(),
        );
        registry.register(
            "sproxy_refusals_unbooked",
            "Refusals without a row: their user had many this minute, or the ledger had no room",
            self.refusals_unbooked.clone(),
        );
        registry.register("sproxy_tokens", "Tokens in the books", self.tokens.clone());
        registry.register("sproxy_cost_nanousd", "Cost in the books, in nano-USD", self.cost_nanousd.clone());
        registry.register(
            "sproxy_unmetered",
            "Successful answers that the meter could not read; they are booked without tokens",
            self.unmetered.clone(),
        );
        registry.register("sproxy_estimated", "Records whose tokens are an estimate", self.estimated.clone());
        registry.register(
            "sproxy_price_unknown",
            "Calls of models that the price list does not know, which cost its default",
            self.unpriced.clone(),
        );
        registry.register(
            "sproxy_dropped_fields",
            "Fields and betas left out of calls, because the target's host does not know them",
            self.dropped.clone(),
        );
        registry.register(
            "sproxy_request_duration_seconds",
            "From a call's arrival to its answer's end",
            self.duration.clone(),
        );
        registry.register(
            "sproxy_first_byte_seconds",
            "From a call's arrival to the first byte of its answer's body",
            self.first_byte.clone(),
        );
    }

    /// A call came to its end and is in the books.
    pub(super) fn settled(&self, record: &UsageRecord, readable: bool) {
        self.requests.inc(request_index(record.provider, record.outcome));
        self.tokens.inc_by(INPUT, record.tokens.input);
        self.tokens.inc_by(OUTPUT, record.tokens.output);
        self.cost_nanousd.inc_by(u64::try_from(record.cost_nanousd).unwrap_or(0));
        if !readable {
            self.unmetered.inc();
        }
        if record.token_source == TokenSource::Estimated {
            self.estimated.inc();
        }
        if record.tokens.total() > 0 {
            let parts = record.parts.iter().map(|part| (&*part.model, &part.price));
            let whole = record.parts.is_empty().then(|| (&*record.actual_model, &*record.price));
            let unknown = parts.chain(whole).filter(|(_, price)| price.is_default());
            unknown.for_each(|(model, _)| self.unpriced.inc(model));
        }
        self.duration.observe(Duration::from_millis(record.duration_ms));
        if let Some(ttfb) = record.ttfb_ms {
            self.first_byte.observe(Duration::from_millis(ttfb));
        }
    }

    /// This was left out of a call.
    pub(super) fn dropped(&self, unknown: &Unknown) {
        // Where in a list it stood tells nothing.
        let name = unknown.to_string();
        let keys: Vec<&str> = name.split('.').filter(|key| *key != "*").collect();
        self.dropped.inc(&keys.join("."));
    }

    /// A call was refused by the gateway itself.
    pub(super) fn refused(&self, kind: Kind) {
        self.refused.inc(kind as usize);
    }

    /// A refusal has a row in the books.
    pub(super) fn refusal_logged(&self, provider: Provider) {
        self.requests.inc(request_index(provider, Outcome::Refused));
    }

    /// A refusal has none: its user had too many, or the ledger has no room.
    pub(super) fn refusal_not_logged(&self) {
        self.refusals_unbooked.inc();
    }
}

/// Counters by a name that callers choose, of a bounded number of names. Cheap to clone: clones count together.
#[derive(Clone, Debug)]
struct NamedCounters {
    label: &'static str,
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl NamedCounters {
    fn of(label: &'static str) -> Self {
        Self { label, counts: Arc::default() }
    }

    fn inc(&self, name: &str) {
        let mut counts = self.counts.lock();
        let name = name.get(..name.floor_char_boundary(NAME_MAX)).unwrap_or_default();
        let name = if counts.len() < NAMES_MAX || counts.contains_key(name) { name } else { OTHER };
        *counts.entry(name.to_owned()).or_default() += 1;
    }
}

impl EncodeMetric for NamedCounters {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let counts = self.counts.lock().clone();
        counts.iter().try_for_each(|(name, count)| {
            let labels = [(self.label, name.as_str())];
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text::encode;

    use super::*;

    fn text(metrics: &Metrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn what_is_counted_by_index_has_its_own_labels() {
        for kind in Kind::ALL {
            let metrics = Metrics::new();
            metrics.refused(kind);
            let counted = format!("\nsproxy_refused_total{{reason=\"{kind}\"}} 1\n", kind = kind.as_str());
            assert!(text(&metrics).contains(&counted), "{counted}");
        }
        for provider in Provider::ALL {
            for outcome in Outcome::ALL.iter().copied() {
                let metrics = Metrics::new();
                metrics.requests.inc(request_index(provider, outcome));
                let labels = format!("provider=\"{}\",outcome=\"{}\"", provider.as_str(), outcome.as_str());
                let text = text(&metrics);
                let samples: Vec<_> =
                    text.lines().filter(|line| line.starts_with("sproxy_requests_total")).collect();
                assert_eq!(samples, [format!("sproxy_requests_total{{{labels}}} 1")]);
            }
        }
    }

    #[test]
    fn models_beyond_a_number_share_a_label() {
        let models = NamedCounters::of("model");
        for number in 0..100 {
            models.inc(&format!("model-{number}"));
        }
        models.inc("model-0");
        let models = models.counts.lock();
        assert_eq!((models.len(), models["model-0"], models[OTHER]), (NAMES_MAX + 1, 2, 68));
    }
}
