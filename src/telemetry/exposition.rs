//! The Prometheus text format, version 0.0.4:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.

use std::fmt::{Display, Write};

use super::numbers::Histogram;

/// A text that metrics are written to. Each family is written once, with all its samples.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// A counter without labels; by convention its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(&[] as &[(&str, &str)], value)]);
    }

    /// A counter with a sample for each set of labels.
    pub fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (&'l [(&'l str, &'l str)], u64)>,
    ) {
        self.family(name, help, "counter");
        for (labels, value) in samples {
            self.sample(name, labels, value);
        }
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, help, "gauge");
        self.sample(name, &[], value);
    }

    /// A gauge with a sample for each set of labels.
    pub fn gauges<'l, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (&'l [(&'l str, &'l str)], V)>,
    ) {
        self.family(name, help, "gauge");
        for (labels, value) in samples {
            self.sample(name, labels, value);
        }
    }

    /// A histogram of durations in seconds.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        for (bound, at_most) in histogram.cumulative() {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            self.sample(&bucket, &[("le", &bound)], at_most);
            count = at_most;
        }
        self.sample(&format!("{name}_sum"), &[], histogram.sum_seconds());
        self.sample(&format!("{name}_count"), &[], count);
    }

    /// The whole text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }

    fn family(&mut self, name: &str, help: &str, kind: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        if labels.is_empty() {
            return self.line(format_args!("{name} {value}"));
        }
        let labels: Vec<String> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        self.line(format_args!("{name}{{{}}} {value}", labels.join(",")));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{text}");
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn labels_are_escaped_and_families_declared_once() {
        let mut text = Exposition::default();
        text.counters(
            "sproxy_x_total",
            "Things.",
            [(&[("who", "a\"b\\c\nd")] as &[_], 1), (&[("who", "e")] as &[_], 2)],
        );
        assert_eq!(
            text.into_text(),
            "# HELP sproxy_x_total Things.\n# TYPE sproxy_x_total counter\n\
             sproxy_x_total{who=\"a\\\"b\\\\c\\nd\"} 1\nsproxy_x_total{who=\"e\"} 2\n"
        );
    }

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let histogram = Histogram::default();
        for micros in [100, 101, 2_000_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut text = Exposition::default();
        text.histogram("sproxy_t_seconds", "Time.", &histogram);
        let text = text.into_text();
        for line in [
            "sproxy_t_seconds_bucket{le=\"0.0001\"} 1\n",
            "sproxy_t_seconds_bucket{le=\"0.00025\"} 2\n",
            "sproxy_t_seconds_bucket{le=\"600\"} 2\n",
            "sproxy_t_seconds_bucket{le=\"+Inf\"} 3\n",
            "sproxy_t_seconds_count 3\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
