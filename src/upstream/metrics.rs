//! What is told of each target.

use std::fmt;
use std::time::Instant;

use prometheus_client::encoding::DescriptorEncoder;

use super::Upstream;
use super::failure::FailureReason;
use super::target::Target;
use super::target_view::TargetView;
use crate::telemetry::scrape::{counters, gauges};

type Value = fn(&TargetView) -> u64;

const GAUGES: [(&str, &str, Value); 5] = [
    ("sproxy_target_healthy", "Whether calls and checks find the target up.", |v| u64::from(v.healthy)),
    ("sproxy_target_draining", "Whether the target gets no new calls.", |v| u64::from(v.draining)),
    ("sproxy_target_in_flight", "Calls that the target is answering.", |v| v.in_flight as u64),
    ("sproxy_target_waiting", "Calls that wait for a stream of HTTP/2 to the target.", |v| v.waiting as u64),
    ("sproxy_target_http2_connections", "Connections to the target that speak HTTP/2.", |v| {
        v.http2_connections as u64
    }),
];

const COUNTERS: [(&str, &str, Value); 2] = [
    ("sproxy_target_attempts", "Calls, checks and lists of models sent to the target.", |v| v.attempts),
    ("sproxy_target_failures", "Of these, those without an answer that is one.", |v| v.failures),
];

impl Upstream {
    /// Called by the collector that knows which configuration is in effect.
    pub fn encode_metrics(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let views: Vec<_> = self.targets().iter().map(|target| target.view()).collect();
        let samples = |value: Value| {
            let labels = |view: &TargetView| {
                [("target", view.name.clone()), ("provider", view.provider.as_str().to_owned())]
            };
            views.iter().map(move |view| (labels(view), value(view)))
        };
        for (name, help, value) in GAUGES {
            gauges(to, name, help, samples(value))?;
        }
        for (name, help, value) in COUNTERS {
            counters(to, name, help, samples(value))?;
        }
        let labels = |target: &Target, reason: FailureReason| {
            [("target", target.name().to_owned()), ("reason", reason.as_str().to_owned())]
        };
        let attempts = self.targets().iter().flat_map(|target| {
            let counted = target.state.failures_by_reason();
            counted.into_iter().map(move |(reason, count)| (labels(target, reason), count))
        });
        let help = "Attempts of calls that failed, whether or not another target was tried.";
        counters(to, "sproxy_upstream_attempts", help, attempts)?;
        let now = Instant::now();
        let cooling = self.targets().iter().flat_map(|target| {
            let cooling = target.state.cooldowns.cooling(now);
            FailureReason::ALL.into_iter().filter(|reason| reason.cools()).map(move |reason| {
                let count = cooling.iter().filter(|one| one.reason == reason).count() as u64;
                (labels(target, reason), count)
            })
        });
        let help = "Keys and models of the target that are left alone after failures.";
        gauges(to, "sproxy_target_cooling", help, cooling)
    }
}
