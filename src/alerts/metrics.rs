//! What is counted of alerts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use crate::domain::alert::EventKind;
use crate::telemetry::{CounterArray, scrape};

type Label = (&'static str, &'static str);

/// Counters since the start of the process. Cheap to clone: clones count together.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    raised: CounterArray<[Label; 1]>,
    deliveries: CounterArray<[Label; 1]>,
    waiting: Arc<AtomicU64>,
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    /// A try failed; there will be another.
    Failed,
    /// There will be none: the receiver refuses it, or could not be reached for too long.
    GivenUp,
    /// Too many wait for the receiver already.
    Dropped,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Delivered, Self::Failed, Self::GivenUp, Self::Dropped];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
            Self::Dropped => "dropped",
        }
    }
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            raised: CounterArray::new(EventKind::ALL.map(|kind| [("event", kind.as_str())])),
            deliveries: CounterArray::new(Outcome::ALL.map(|outcome| [("outcome", outcome.as_str())])),
            waiting: Arc::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Events that were raised for receivers of alerts";
        registry.register("sproxy_alerts", help, self.raised.clone());
        let help = "Deliveries of events to receivers of alerts";
        registry.register("sproxy_alert_deliveries", help, self.deliveries.clone());
        registry.register_collector(Box::new(self.clone()));
    }

    pub(super) fn raised(&self, kind: EventKind) {
        if let Some(at) = EventKind::ALL.iter().position(|known| *known == kind) {
            self.raised.inc(at);
        }
    }

    pub(super) fn ended(&self, outcome: Outcome) {
        self.ended_by(outcome, 1);
    }

    pub(super) fn ended_by(&self, outcome: Outcome, count: u64) {
        self.deliveries.inc_by(outcome as usize, count);
    }

    pub(super) fn set_waiting(&self, waiting: u64) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }
}

impl Collector for Metrics {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Deliveries of events that receivers of alerts are still to be told.";
        scrape::gauge(&mut to, "sproxy_alerts_waiting", help, self.waiting.load(Ordering::Relaxed))
    }
}
