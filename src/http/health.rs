//! What the world around a node asks: is it alive, may it take traffic, how is it doing. No credential is asked for,
//! and no name of a user, key or prompt is answered.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::proxy::Live;
use crate::store::DatabaseLock;
use crate::telemetry::scrape::gauge;

/// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What health and metrics are read from.
pub struct Health {
    /// What `/metrics` encodes.
    pub metrics: Registry,
    pub readiness: Readiness,
}

/// What decides whether the node may take traffic. Cheap to clone.
#[derive(Clone)]
pub struct Readiness {
    pub ledger: Ledger,
    pub live: Arc<Live>,
    /// The lock on the database.
    pub lock: Arc<DatabaseLock>,
    /// Cancelled when the node is leaving.
    pub leaving: CancellationToken,
    pub cluster: Arc<dyn ClusterHealth>,
}

/// The cluster's part of a node's health: a leader's or a follower's.
pub trait ClusterHealth: Send + Sync {
    /// Why this node should get no traffic; `None` if it may.
    fn not_ready(&self) -> Option<String>;
}

impl Readiness {
    /// Why the node should get no traffic; empty if it may.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.leaving.is_cancelled() {
            reasons.push("the node is leaving".to_owned());
        }
        let ledger = self.ledger.stats();
        if ledger.taken >= ledger.capacity {
            reasons.push("the ledger is full".to_owned());
        }
        reasons.extend(self.ledger.write_failure().map(|why| format!("the ledger cannot be written: {why}")));
        reasons.extend(self.lock.rival());
        reasons.extend(self.live.now().upstream.not_usable());
        reasons.extend(self.cluster.not_ready());
        reasons
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readiness")
    }
}

impl Collector for Readiness {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Whether the node may take traffic, as /readyz says.";
        gauge(&mut to, "sproxy_ready", help, u64::from(self.reasons().is_empty()))
    }
}

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
    let reasons = health.readiness.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if reasons.is_empty() { "ready" } else { "not ready" };
    (status, Json(json!({ "status": word, "reasons": reasons }))).into_response()
}

/// Metrics in the text format of Prometheus, or as `OpenMetrics` where `Accept` asks for that.
#[utoipa::path(get, path = "/metrics", tag = "health", security(()),
    responses((status = 200, description = "Metrics", content_type = "text/plain", body = String)))]
pub async fn metrics(State(health): State<Arc<Health>>, headers: HeaderMap) -> Response {
    let mut text = String::new();
    let (content_type, encoded) = if wants_open_metrics(&headers) {
        (OPEN_METRICS, text::encode(&mut text, &health.metrics))
    } else {
        (prometheus_text::CONTENT_TYPE, prometheus_text::encode(&mut text, &health.metrics))
    };
    match encoded {
        Ok(()) => ([(CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Prometheus names `OpenMetrics` whenever it takes it. How much it prefers what (`q`) is not weighed: both say the
/// same.
fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let media_type = range.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("application/openmetrics-text")
    })
}
