//! What is told of a follower's pushes: metrics, and a span for each round of them.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::cluster::follower::push::{FollowerStore, PushTotals};
use crate::domain::clock::{Clock, Timestamp};
use crate::ledger::Ledger;
use crate::telemetry::PushSpan;
use crate::telemetry::scrape::gauge;
use crate::telemetry::spans::Spans;

/// What became of the usage logs that a follower pushed, since the start of the process, and what it still owes.
pub(in crate::cluster) struct FollowerMetrics {
    accepted: Counter,
    duplicates: Counter,
    rejected: Counter,
    failures: Counter,
    pub(in crate::cluster) registrations: Counter,
    unsynced: Gauge,
    set_aside: Gauge,
    oldest: Arc<Mutex<Option<Timestamp>>>,
    spans: Option<Spans>,
    clock: Arc<dyn Clock>,
}

/// When a round of pushing began.
pub(in crate::cluster) struct Round(Timestamp);

impl FollowerMetrics {
    pub(in crate::cluster) fn new(spans: Option<Spans>, clock: Arc<dyn Clock>) -> Self {
        Self {
            accepted: Counter::default(),
            duplicates: Counter::default(),
            rejected: Counter::default(),
            failures: Counter::default(),
            registrations: Counter::default(),
            unsynced: Gauge::default(),
            set_aside: Gauge::default(),
            oldest: Arc::default(),
            spans,
            clock,
        }
    }

    /// A round of pushing begins.
    pub(in crate::cluster) fn round(&self) -> Round {
        Round(self.clock.now())
    }

    /// A round of pushing to `leader` is over.
    pub(in crate::cluster) fn pushed<E: fmt::Display>(
        &self,
        Round(began): Round,
        leader: impl FnOnce() -> String,
        pushed: Result<PushTotals, &E>,
    ) {
        let (totals, error) = match pushed {
            Ok(totals) => (totals, None),
            Err(error) => (PushTotals::default(), Some(error.to_string())),
        };
        let PushTotals { accepted, duplicates, rejected } = totals;
        self.accepted.inc_by(accepted);
        self.duplicates.inc_by(duplicates);
        self.rejected.inc_by(rejected);
        self.failures.inc_by(u64::from(error.is_some()));
        let Some(spans) = self.spans.as_ref().filter(|_| totals.total() > 0 || error.is_some()) else {
            return;
        };
        spans.push(PushSpan {
            leader: leader(),
            began,
            ended: self.clock.now(),
            records: totals.total(),
            accepted,
            duplicates,
            rejected,
            error,
        });
    }

    /// Looks up what is owed.
    pub(in crate::cluster) async fn update<B: FollowerStore>(&self, store: &B, ledger: &Ledger) {
        if let Ok(status) = store.sync_status().await {
            self.unsynced.set(i64::try_from(status.unsynced).unwrap_or(i64::MAX));
            *self.oldest.lock() = status.oldest;
        }
        if let Ok(aside) = ledger.usage().set_aside_count().await {
            self.set_aside.set(i64::try_from(aside).unwrap_or(i64::MAX));
        }
    }

    pub(in crate::cluster) fn register(&self, registry: &mut Registry) {
        let (oldest, clock) = (Arc::clone(&self.oldest), Arc::clone(&self.clock));
        registry.register_collector(Box::new(UnsyncedAge { oldest, clock }));
        registry.register(
            "sproxy_sync_accepted",
            "Usage logs that were new to the leader",
            self.accepted.clone(),
        );
        registry.register(
            "sproxy_sync_duplicates",
            "Usage logs that the leader had already",
            self.duplicates.clone(),
        );
        registry.register(
            "sproxy_sync_rejected",
            "Usage logs that the leader rejects; they are set aside",
            self.rejected.clone(),
        );
        registry.register("sproxy_sync_failures", "Rounds of pushing that failed", self.failures.clone());
        registry.register(
            "sproxy_cluster_registrations",
            "Times this node registered",
            self.registrations.clone(),
        );
        registry.register(
            "sproxy_sync_unsynced",
            "Usage logs that the leader has not acknowledged, those set aside included",
            self.unsynced.clone(),
        );
        registry.register(
            "sproxy_sync_set_aside",
            "Usage logs that the leader refused. `sproxy usage retry-rejected` offers them again, dismiss-rejected gives them up",
            self.set_aside.clone(),
        );
    }
}

/// Grows while nothing is looked up.
struct UnsyncedAge {
    oldest: Arc<Mutex<Option<Timestamp>>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for UnsyncedAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnsyncedAge")
    }
}

impl Collector for UnsyncedAge {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let oldest = *self.oldest.lock();
        let age = oldest.map_or(0.0, |oldest| self.clock.now().since(oldest).as_secs_f64());
        let help = "How old the oldest usage log is that the leader has not acknowledged; 0: there is none.";
        gauge(&mut to, "sproxy_cluster_unsynced_age_seconds", help, age)
    }
}
