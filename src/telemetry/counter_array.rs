//! A family of counters for the way of a request. `prometheus_client::metrics::family::Family` takes a lock and looks the
//! labels up in a map whenever it counts; here the place of each set of labels is known beforehand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Counters that differ in their labels, addressed by index. Cheap to clone: clones count together.
#[derive(Debug)]
pub struct CounterArray<L> {
    counters: Arc<[(L, AtomicU64)]>,
    shows_zeros: bool,
}

impl<L> CounterArray<L> {
    /// A counter for each set of labels, at zero.
    #[must_use]
    pub fn new(labels: impl IntoIterator<Item = L>) -> Self {
        let counters = labels.into_iter().map(|labels| (labels, AtomicU64::new(0))).collect();
        Self { counters, shows_zeros: true }
    }

    /// Leaves out of the text what has never been counted: where most sets of labels never occur.
    #[must_use]
    pub fn without_zeros(self) -> Self {
        Self { shows_zeros: false, ..self }
    }

    /// Adds one to the counter of the labels at `index`, which has to be one of those that were given.
    pub fn inc(&self, index: usize) {
        self.inc_by(index, 1);
    }

    /// Adds `by` to the counter of the labels at `index`, which has to be one of those that were given.
    pub fn inc_by(&self, index: usize, by: u64) {
        self.counters[index].1.fetch_add(by, Ordering::Relaxed);
    }

    /// What was counted for the labels at `index`, which has to be one of those that were given.
    #[must_use]
    pub fn get(&self, index: usize) -> u64 {
        self.counters[index].1.load(Ordering::Relaxed)
    }
}

impl<L> Clone for CounterArray<L> {
    fn clone(&self) -> Self {
        Self { counters: Arc::clone(&self.counters), shows_zeros: self.shows_zeros }
    }
}

impl<L: EncodeLabelSet> EncodeMetric for CounterArray<L> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, counter) in self.counters.iter() {
            let value = counter.load(Ordering::Relaxed);
            if value > 0 || self.shows_zeros {
                encoder.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn text(counters: CounterArray<[(&'static str, &'static str); 1]>) -> String {
        let mut registry = Registry::default();
        registry.register("sproxy_x", "Things", counters);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn each_index_counts_for_its_labels() {
        let counters = CounterArray::new([[("who", "a\"b\\c\nd")], [("who", "e")]]);
        counters.inc(0);
        counters.clone().inc_by(0, 2);
        let declared = "# HELP sproxy_x_total Things.\n# TYPE sproxy_x_total counter\n";
        let counted = "sproxy_x_total{who=\"a\\\"b\\\\c\\nd\"} 3\n";
        assert_eq!(text(counters.clone()), format!("{declared}{counted}sproxy_x_total{{who=\"e\"}} 0\n"));
        assert_eq!(text(counters.without_zeros()), format!("{declared}{counted}"));
    }
}
