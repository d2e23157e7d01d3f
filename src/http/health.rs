//! What the world around a node asks: is it alive, may it take traffic, how is it doing. No credential is asked for, and
//! no name of a user, key or prompt is answered.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::proxy::{Gateway, Live};
use crate::quota::Quota;
use crate::store::DatabaseLock;
use crate::telemetry::{Exposition, log};

/// What can be said about a node's health.
pub struct Health {
    /// The data plane.
    pub gateway: Arc<Gateway>,
    /// The ledger.
    pub ledger: Ledger,
    /// The targets.
    pub live: Arc<Live>,
    /// The limits.
    pub quota: Quota,
    /// This process's right to its database.
    pub lock: Arc<DatabaseLock>,
    /// Done when the node is leaving.
    pub leaving: CancellationToken,
    /// What the cluster's side has to say: why this node should get no traffic, if it should not, and metrics.
    pub cluster: Arc<dyn ClusterHealth>,
}

/// The cluster's part of a node's health: a leader's or a follower's.
pub trait ClusterHealth: Send + Sync {
    /// Why this node should get no traffic; none: it may.
    fn not_ready(&self) -> Option<String>;
    /// Writes its metrics.
    fn expose(&self, to: &mut Exposition);
}

/// The routes.
pub fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// Is the node alive?
#[utoipa::path(get, path = "/healthz", tag = "health", security(()),
    responses((status = 200, description = "The node is alive", body = Object)))]
pub async fn alive() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// May the node take traffic?
#[utoipa::path(get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, description = "It may", body = Object), (status = 503, description = "It may not, with the reasons", body = Object)))]
pub async fn ready(State(health): State<Arc<Health>>) -> Response {
    let mut reasons = Vec::new();
    if health.leaving.is_cancelled() {
        reasons.push("the node is leaving".to_owned());
    }
    let ledger = health.ledger.stats();
    if ledger.taken >= ledger.capacity {
        reasons.push("the ledger is full".to_owned());
    }
    reasons.extend(health.ledger.write_failure().map(|why| format!("the ledger cannot be written: {why}")));
    reasons.extend(health.lock.rival());
    reasons.extend(health.live.now().upstream.not_usable());
    reasons.extend(health.cluster.not_ready());
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if reasons.is_empty() { "ready" } else { "not ready" };
    (status, Json(json!({ "status": word, "reasons": reasons }))).into_response()
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", security(()),
    responses((status = 200, description = "Metrics", content_type = "text/plain", body = String)))]
pub async fn metrics(State(health): State<Arc<Health>>) -> Response {
    let mut text = Exposition::default();
    text.gauges(
        "sproxy_build_info",
        "The version that runs.",
        [(&[("version", env!("CARGO_PKG_VERSION"))] as &[_], 1)],
    );
    text.counter("sproxy_log_failures_total", "Lines of the log that could not be written.", log::failures());
    health.gateway.metrics().expose(&mut text);
    health.ledger.stats().expose(&mut text);
    health.quota.expose(&mut text);
    health.live.now().upstream.expose(&mut text);
    health.cluster.expose(&mut text);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.into_text()).into_response()
}
