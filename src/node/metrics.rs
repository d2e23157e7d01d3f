//! Every metric of a node in one registry, which `/metrics` encodes. What a metric is called stands where it is counted.

use std::sync::Arc;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::backups::BackupMetrics;
use super::role::Role;
use super::shared_parts::SharedParts;
use crate::http::health::Readiness;
use crate::proxy::Gateway;
use crate::telemetry::log::LogMetrics;
use crate::telemetry::process::ProcessMetrics;

pub(super) fn registry(
    base: &SharedParts,
    gateway: &Gateway,
    role: &Role,
    readiness: &Readiness,
    backups: Option<&BackupMetrics>,
) -> Registry {
    let mut registry = Registry::default();
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("sproxy_build", "The version that runs", version);
    gateway.register_metrics(&mut registry);
    base.quota.register_metrics(&mut registry);
    role.register_metrics(&mut registry);
    registry.register_collector(Box::new(readiness.clone()));
    base.alerts.register_metrics(&mut registry);
    registry.register_collector(Box::new(LogMetrics));
    registry.register_collector(Box::new(ProcessMetrics));
    registry.register_collector(Box::new(base.ledger.clone()));
    registry.register_collector(Box::new(Arc::clone(&base.live)));
    if let Some(backups) = backups {
        registry.register_collector(Box::new(backups.clone()));
    }
    registry
}
