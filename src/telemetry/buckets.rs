//! Histograms by sets of labels that are met while counting, of a bounded number. For what is measured by option: it takes
//! a lock.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Histograms with `N` bounds for each set of labels. Cheap to clone: clones count together.
#[derive(Clone, Debug)]
pub struct NamedBuckets<L, const N: usize> {
    bounds: [u64; N],
    /// What one of what is counted is in the unit of the metric.
    unit: f64,
    max: usize,
    series: Arc<Mutex<HashMap<L, Counts>>>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    /// One more than there are bounds: the last has none.
    buckets: Vec<u64>,
    sum: u64,
}

impl<L: Clone + Eq + Hash, const N: usize> NamedBuckets<L, N> {
    /// `bounds` are upper bounds in ascending order, each `unit` of the metric's unit.
    #[must_use]
    pub fn new(bounds: [u64; N], unit: f64, max: usize) -> Self {
        Self { bounds, unit, max, series: Arc::default() }
    }

    /// Counts one value. Labels that find no room are made others, of which there are few, by `folded`.
    pub fn observe(&self, labels: L, folded: impl FnOnce(L) -> L, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        let mut series = self.series.lock();
        let is_full = series.len() >= self.max && !series.contains_key(&labels);
        let counts = series.entry(if is_full { folded(labels) } else { labels }).or_default();
        counts.buckets.resize(N + 1, 0);
        if let Some(bucket) = counts.buckets.get_mut(at) {
            *bucket += 1;
        }
        counts.sum = counts.sum.saturating_add(value);
    }
}

impl<L: EncodeLabelSet + Clone + Eq + Hash + Send + Sync, const N: usize> EncodeMetric for NamedBuckets<L, N>
where
    L: fmt::Debug + 'static,
{
    #[allow(clippy::cast_precision_loss, reason = "bounds are small, and the sum is a metric")]
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let series = self.series.lock().clone();
        for (labels, Counts { buckets, sum }) in &series {
            let bounds = self.bounds.iter().map(|bound| *bound as f64 * self.unit).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(buckets.iter().copied()).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let sum = *sum as f64 * self.unit;
            encoder.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
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
    fn each_set_of_labels_has_a_histogram_until_there_are_too_many() {
        let histograms = NamedBuckets::new([10, 100], 1e-3, 2);
        for (name, value) in [("a", 10), ("a", 11), ("b", 500), ("c", 1), ("d", 1)] {
            histograms.observe([("name", name)], |_| [("name", "other")], value);
        }
        let mut registry = Registry::default();
        registry.register("x_seconds", "Things", histograms);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "x_seconds_bucket{name=\"a\",le=\"0.01\"} 1\n",
            "x_seconds_bucket{name=\"a\",le=\"0.1\"} 2\n",
            "x_seconds_bucket{name=\"b\",le=\"+Inf\"} 1\n",
            "x_seconds_sum{name=\"b\"} 0.5\n",
            "x_seconds_count{name=\"other\"} 2\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("name=\"c\""), "{text}");
    }
}
