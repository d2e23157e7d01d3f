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
use crate::proxy::Gateway;
use crate::quota::Quota;
use crate::store::DatabaseLock;
use crate::telemetry::{Exposition, log};
use crate::upstream::Upstream;

/// What can be said about a node's health.
pub struct Health {
    /// The data plane.
    pub gateway: Arc<Gateway>,
    /// The ledger.
    pub ledger: Ledger,
    /// The targets.
    pub upstream: Arc<Upstream>,
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
    let books = health.ledger.gauges();
    if books.taken >= books.capacity {
        reasons.push("the ledger is full".to_owned());
    }
    reasons.extend(health.ledger.trouble().map(|why| format!("the ledger cannot be written: {why}")));
    reasons.extend(health.lock.rival());
    reasons.extend(health.upstream.not_usable());
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
    ledger(&health.ledger, &mut text);
    limits(&health.quota, &mut text);
    targets(&health.upstream, &mut text);
    health.cluster.expose(&mut text);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.into_text()).into_response()
}

fn ledger(ledger: &Ledger, text: &mut Exposition) {
    let books = ledger.gauges();
    text.gauge(
        "sproxy_ledger_capacity",
        "Records that may be reserved, waiting or being written.",
        books.capacity,
    );
    text.gauge("sproxy_ledger_taken", "Records that are reserved, waiting or being written.", books.taken);
    text.gauge("sproxy_ledger_queued", "Records that are waiting or being written.", books.queued);
    text.gauge(
        "sproxy_ledger_failing",
        "Whether the database takes no records; calls are refused meanwhile.",
        u64::from(books.is_failing),
    );
    text.counter("sproxy_ledger_committed_total", "Records committed.", books.committed_total);
    text.counter("sproxy_ledger_batches_total", "Transactions committed.", books.batches_total);
    text.counter(
        "sproxy_ledger_retries_total",
        "Transactions that failed and were tried again.",
        books.retries_total,
    );
    text.counter(
        "sproxy_ledger_refused_total",
        "Calls refused because the ledger was full, for all or for one user, or could not be written.",
        books.refused_total,
    );
    text.counter(
        "sproxy_ledger_lost_total",
        "Records that could not be written at the end.",
        books.lost_total,
    );
}

fn limits(quota: &Quota, text: &mut Exposition) {
    text.gauge("sproxy_limit_subjects", "Users and groups whose use is counted.", quota.subjects());
    let refused: Vec<_> =
        quota.refused().map(|(limit, count)| ([("limit", limit.as_str())], count)).collect();
    text.counters(
        "sproxy_limit_refusals_total",
        "Calls refused by a limit of their user or group.",
        refused.iter().map(|(labels, count)| (labels.as_slice(), *count)),
    );
}

fn targets(upstream: &Upstream, text: &mut Exposition) {
    let views: Vec<_> = upstream.targets().iter().map(|target| target.view()).collect();
    let labels: Vec<_> = views
        .iter()
        .map(|view| [("target", view.name.as_str()), ("provider", view.provider.as_str())])
        .collect();
    let gauge =
        |text: &mut Exposition, name: &str, help: &str, of: fn(&crate::upstream::TargetView) -> u64| {
            text.gauges(
                name,
                help,
                labels.iter().zip(&views).map(|(labels, view)| (labels.as_slice(), of(view))),
            );
        };
    gauge(text, "sproxy_target_healthy", "Whether calls and checks find the target up.", |v| {
        u64::from(v.healthy)
    });
    gauge(text, "sproxy_target_draining", "Whether the target gets no new calls.", |v| u64::from(v.draining));
    gauge(text, "sproxy_target_in_flight", "Calls that the target is answering.", |v| v.in_flight as u64);
    gauge(text, "sproxy_target_waiting", "Calls that wait for a stream of HTTP/2 to the target.", |v| {
        v.waiting as u64
    });
    gauge(text, "sproxy_target_http2_connections", "Connections to the target that speak HTTP/2.", |v| {
        v.http2_connections as u64
    });
    let counter =
        |text: &mut Exposition, name: &str, help: &str, of: fn(&crate::upstream::TargetView) -> u64| {
            text.counters(
                name,
                help,
                labels.iter().zip(&views).map(|(labels, view)| (labels.as_slice(), of(view))),
            );
        };
    counter(
        text,
        "sproxy_target_attempts_total",
        "Calls, checks and lists of models sent to the target.",
        |v| v.attempts,
    );
    counter(text, "sproxy_target_failures_total", "Of these, those without an answer that is one.", |v| {
        v.failures
    });
}
