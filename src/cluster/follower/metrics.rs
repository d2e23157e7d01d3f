//! The follower's metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What became of the usage logs that a follower pushed, since the start of the process, and what it still owes.
#[derive(Debug, Default)]
pub(super) struct FollowerMetrics {
    pub(super) accepted: Counter,
    pub(super) duplicates: Counter,
    pub(super) rejected: Counter,
    pub(super) failures: Counter,
    pub(super) registrations: Counter,
    pub(super) unsynced: Gauge,
    pub(super) set_aside: Gauge,
}

impl FollowerMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
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
