//! The follower's metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::cluster::follower::push::{FollowerStore, PushTotals};
use crate::ledger::Ledger;

/// What became of the usage logs that a follower pushed, since the start of the process, and what it still owes.
#[derive(Debug, Default)]
pub(in crate::cluster) struct FollowerMetrics {
    accepted: Counter,
    duplicates: Counter,
    rejected: Counter,
    pub(in crate::cluster) failures: Counter,
    pub(in crate::cluster) registrations: Counter,
    unsynced: Gauge,
    set_aside: Gauge,
}

impl FollowerMetrics {
    pub(in crate::cluster) fn count(&self, pushed: PushTotals) {
        self.accepted.inc_by(pushed.accepted);
        self.duplicates.inc_by(pushed.duplicates);
        self.rejected.inc_by(pushed.rejected);
    }

    /// Looks up what is owed.
    pub(in crate::cluster) async fn update<B: FollowerStore>(&self, store: &B, ledger: &Ledger) {
        if let Ok(status) = store.sync_status().await {
            self.unsynced.set(i64::try_from(status.unsynced).unwrap_or(i64::MAX));
        }
        if let Ok(aside) = ledger.usage().set_aside_count().await {
            self.set_aside.set(i64::try_from(aside).unwrap_or(i64::MAX));
        }
    }

    pub(in crate::cluster) fn register(&self, registry: &mut Registry) {
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
