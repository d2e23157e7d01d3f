//! A histogram for the way of a request: relaxed atomics, where `prometheus_client::metrics::histogram::Histogram` takes a
//! lock for each observation.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Upper bounds of the buckets, microseconds: 100 µs to 10 minutes, about three per decade.
const BOUNDS_US: [u64; 20] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
];

/// Durations, exposed in seconds. Cheap to clone: clones count together.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    /// One more than there are bounds: the last bucket has none.
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration, in the first bucket whose bound it does not exceed.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_US.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.0.counts.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.0.sum_us.fetch_add(micros, Ordering::Relaxed);
    }
}

impl EncodeMetric for Histogram {
    #[allow(clippy::cast_precision_loss, reason = "bounds are small, and the sum is a metric")]
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let seconds = |micros: u64| micros as f64 / 1e6;
        let bounds = BOUNDS_US.iter().map(|micros| seconds(*micros)).chain([f64::INFINITY]);
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.0.sum_us.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let histogram = Histogram::default();
        for micros in [100, 101, 2_000_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut registry = Registry::default();
        registry.register("sproxy_t_seconds", "Time", histogram);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "sproxy_t_seconds_bucket{le=\"0.0001\"} 1\n",
            "sproxy_t_seconds_bucket{le=\"0.00025\"} 2\n",
            "sproxy_t_seconds_bucket{le=\"600\"} 2\n",
            "sproxy_t_seconds_bucket{le=\"+Inf\"} 3\n",
            "sproxy_t_seconds_sum 2000.000201\n",
            "sproxy_t_seconds_count 3\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
