//! Every metric of a node in one registry, which `/metrics` encodes. What a metric is called stands where it is counted.

use std::sync::Arc;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::backups::BackupMetrics;
use super::role::Role;
use crate::ledger::Ledger;
use crate::proxy::{Gateway, Live};
use crate::quota::Quota;
use crate::telemetry::log::LogMetrics;
use crate::telemetry::process::ProcessMetrics;

pub(super) fn registry(
    gateway: &Gateway,
    quota: &Quota,
    ledger: &Ledger,
    live: &Arc<Live>,
    role: &Role,
    backups: Option<&BackupMetrics>,
) -> Registry {
    let mut registry = Registry::default();
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("sproxy_build", "The version that runs", version);
    gateway.register_metrics(&mut registry);
    quota.register_metrics(&mut registry);
    role.register_metrics(&mut registry);
    registry.register_collector(Box::new(LogMetrics));
    registry.register_collector(Box::new(ProcessMetrics));
    registry.register_collector(Box::new(ledger.clone()));
    registry.register_collector(Box::new(Arc::clone(live)));
    if let Some(backups) = backups {
        registry.register_collector(Box::new(backups.clone()));
    }
    registry
}
