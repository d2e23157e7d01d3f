//! What is told of each target.

use super::Upstream;
use super::target::TargetView;
use crate::telemetry::Exposition;

type Of = fn(&TargetView) -> u64;

impl Upstream {
    /// Writes the targets' metrics.
    pub fn expose(&self, to: &mut Exposition) {
        let gauges: [(&str, &str, Of); 5] = [
            ("sproxy_target_healthy", "Whether calls and checks find the target up.", |v| {
                u64::from(v.healthy)
            }),
            ("sproxy_target_draining", "Whether the target gets no new calls.", |v| u64::from(v.draining)),
            ("sproxy_target_in_flight", "Calls that the target is answering.", |v| v.in_flight as u64),
            ("sproxy_target_waiting", "Calls that wait for a stream of HTTP/2 to the target.", |v| {
                v.waiting as u64
            }),
            ("sproxy_target_http2_connections", "Connections to the target that speak HTTP/2.", |v| {
                v.http2_connections as u64
            }),
        ];
        let counters: [(&str, &str, Of); 2] = [
            ("sproxy_target_attempts_total", "Calls, checks and lists of models sent to the target.", |v| {
                v.attempts
            }),
            ("sproxy_target_failures_total", "Of these, those without an answer that is one.", |v| {
                v.failures
            }),
        ];
        let views: Vec<_> = self.targets().iter().map(|target| target.view()).collect();
        let labels =
            |view: &'_ TargetView| [("target", view.name.clone()), ("provider", view.provider.to_string())];
        let labels: Vec<_> = views.iter().map(labels).collect();
        let labels: Vec<_> =
            labels.iter().map(|pair| pair.each_ref().map(|(name, text)| (*name, text.as_str()))).collect();
        let samples =
            |of: Of| labels.iter().zip(&views).map(move |(labels, view)| (labels.as_slice(), of(view)));
        for (name, help, of) in gauges {
            to.gauges(name, help, samples(of));
        }
        for (name, help, of) in counters {
            to.counters(name, help, samples(of));
        }
    }
}
