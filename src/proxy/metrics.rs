//! What the data plane counts.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::dialect::Unknown;
use crate::domain::failure::Kind;
use crate::domain::plain_name::plain_name;
use crate::domain::provider::Provider;
use crate::domain::usage::{Outcome, TokenSource, UsageRecord};
use crate::proxy::sightings::Sightings;
use crate::proxy::usage_metrics::UsageMetrics;
use crate::telemetry::{CounterArray, Histogram, NamedCounters};

/// Names that are told apart where callers choose them; the rest is `other`.
const NAMES_MAX: usize = 32;

type Label = (&'static str, &'static str);

/// Counters of the data plane since the start of the process. Nothing here waits or allocates but for a model that the
/// price list does not know.
#[derive(Debug)]
pub(super) struct Metrics {
    requests: CounterArray<[Label; 2]>,
    refused: CounterArray<[Label; 1]>,
    refusals_unbooked: Counter,
    usage: UsageMetrics,
    unmetered: Counter,
    estimated: Counter,
    unpriced: ByName,
    dropped: ByName,
    duration: Histogram,
    first_byte: Histogram,
    overhead: Histogram,
    /// What an operator is to be told of.
    pub(super) sightings: Sightings,
}

/// The index of `requests`.
fn request_index(provider: Provider, outcome: Outcome) -> usize {
    provider as usize * Outcome::ALL.len() + outcome as usize
}

impl Metrics {
    /// Counters at zero; with `users`, usage is counted by user, too.
    pub(super) fn new(users: bool) -> Self {
        let requests = Provider::ALL.into_iter().flat_map(|provider| {
            Outcome::ALL
                .iter()
                .map(move |outcome| [("provider", provider.as_str()), ("outcome", outcome.as_str())])
        });
        Self {
            requests: CounterArray::new(requests).without_zeros(),
            refused: CounterArray::new(Kind::ALL.map(|kind| [("reason", kind.as_str())])),
            refusals_unbooked: Counter::default(),
            usage: UsageMetrics::new(users),
            unmetered: Counter::default(),
            estimated: Counter::default(),
            unpriced: ByName::of("model"),
            dropped: ByName::of("field"),
            duration: Histogram::default(),
            first_byte: Histogram::default(),
            overhead: Histogram::default(),
            sightings: Sightings::default(),
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
        self.usage.register(registry);
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
        registry.register(
            "sproxy_overhead_seconds",
            "The gateway's own time of a call that was answered: from its arrival to its first attempt, without the wait \
             for its body and for a target that cools down, and from the end of the upstream's answer to the commit",
            self.overhead.clone(),
        );
    }

    /// The end of an answer may go to its caller; the gateway itself took so long.
    pub(super) fn released(&self, overhead: Duration) {
        self.overhead.observe(overhead);
    }

    /// A call came to its end and is in the books.
    pub(super) fn settled(&self, record: &UsageRecord, readable: bool) {
        self.requests.inc(request_index(record.provider, record.outcome));
        self.usage.settled(record);
        if !readable {
            self.unmetered.inc();
            self.sightings.unmetered(&record.target, &record.actual_model);
        }
        if record.token_source == TokenSource::Estimated {
            self.estimated.inc();
        }
        if record.tokens.total() > 0 {
            let parts = record.parts.iter().map(|part| (&*part.model, &part.price));
            let whole = record.parts.is_empty().then(|| (&*record.actual_model, &*record.price));
            let unknown = parts.chain(whole).filter(|(_, price)| price.is_default());
            unknown.for_each(|(model, _)| {
                self.unpriced.inc(plain_name(model));
                self.sightings.unpriced(model);
            });
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

/// Counters by a name that callers choose.
#[derive(Clone, Debug)]
struct ByName {
    label: &'static str,
    counts: NamedCounters<1>,
}

impl ByName {
    fn of(label: &'static str) -> Self {
        Self { label, counts: NamedCounters::of_at_most(NAMES_MAX) }
    }

    fn inc(&self, name: &str) {
        self.counts.add(name, [1]);
    }
}

impl EncodeMetric for ByName {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.counts.now().iter().try_for_each(|(name, [count])| {
            let labels = [(self.label, &**name)];
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
            let metrics = Metrics::new(false);
            metrics.refused(kind);
            let counted = format!("\nsproxy_refused_total{{reason=\"{kind}\"}} 1\n", kind = kind.as_str());
            assert!(text(&metrics).contains(&counted), "{counted}");
        }
        for provider in Provider::ALL {
            for outcome in Outcome::ALL.iter().copied() {
                let metrics = Metrics::new(false);
                metrics.requests.inc(request_index(provider, outcome));
                let labels = format!("provider=\"{}\",outcome=\"{}\"", provider.as_str(), outcome.as_str());
                let text = text(&metrics);
                let samples: Vec<_> =
                    text.lines().filter(|line| line.starts_with("sproxy_requests_total")).collect();
                assert_eq!(samples, [format!("sproxy_requests_total{{{labels}}} 1")]);
            }
        }
    }
}
