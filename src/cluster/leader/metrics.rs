//! The leader's metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Records that came from followers, by what became of them, since the start of the process.
#[derive(Debug, Default)]
pub struct LeaderMetrics {
    /// New and committed.
    pub accepted: Counter,
    /// Held already.
    pub duplicates: Counter,
    /// Never to be taken.
    pub rejected: Counter,
    /// As old as what retention has removed.
    pub below_floor: Counter,
}

impl LeaderMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "sproxy_cluster_usage_accepted",
            "Usage logs taken from followers",
            self.accepted.clone(),
        );
        registry.register(
            "sproxy_cluster_usage_duplicates",
            "Usage logs that followers pushed again",
            self.duplicates.clone(),
        );
        registry.register(
            "sproxy_cluster_usage_rejected",
            "Usage logs of followers that can never be taken",
            self.rejected.clone(),
        );
        registry.register(
            "sproxy_cluster_usage_below_floor",
            "Usage logs of followers that are as old as what retention has removed: not counted (again)",
            self.below_floor.clone(),
        );
    }
}
