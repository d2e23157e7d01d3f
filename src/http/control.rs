//! The control plane: every route on one screen.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use tokio::sync::Semaphore;

use crate::cluster::leader::announcer::PATH;
use crate::http::problem::ApiError;
use crate::http::routes::local;
use crate::http::{
    alerts, audit, auth, backup, client_telemetry, config, groups, import, keys, leadership, me, my_models,
    oauth, openapi, peers, scim, signing_keys, stats, targets, usage, usage_rejected, users,
};

pub use crate::http::routes::{Routes, here, leader};
pub use crate::http::state::{Cluster, ControlState, Promotion, Relay};

/// Every route of the control plane.
pub fn router(state: ControlState) -> Router {
    let backups = Arc::new(Semaphore::new(1));
    let provisioning = scim::router(state.clone());
    Routes::new(state)
        .route("/auth/login", leader(post(auth::login)))
        .route("/auth/refresh", leader(post(auth::refresh)))
        .route("/auth/logout", leader(post(auth::logout)))
        .route("/.well-known/oauth-authorization-server", here(get(oauth::metadata)))
        .route("/oauth/device_authorization", leader(post(oauth::device_authorization)))
        .route("/oauth/token", leader(post(oauth::token)))
        .route("/v1/metrics", here(post(client_telemetry::take)))
        .route("/v1/logs", here(post(client_telemetry::take)))
        .route("/v1/traces", here(post(client_telemetry::take)))
        .route("/me", here(get(me::show)))
        .route("/me/usage", here(get(me::usage)))
        .route("/me/quota", here(get(me::quota)))
        .route("/me/nodes", here(get(me::nodes)))
        .route("/me/models", here(get(my_models::list)))
        .route("/me/keys", here(get(me::list_keys)).and(leader(post(me::create_key))))
        .route("/me/keys/{id}", leader(delete(me::revoke_key)))
        .route("/me/keys/{id}/reissue", leader(post(me::reissue_key)))
        .route("/admin/v1/users", here(get(users::list)).and(leader(post(users::create))))
        .route("/admin/v1/users/import", leader(post(import::import)))
        .route(
            "/admin/v1/users/{id}",
            here(get(users::show)).and(leader(patch(users::change).delete(users::remove))),
        )
        .route("/admin/v1/users/{id}/password", leader(post(users::set_password)))
        .route("/admin/v1/users/{id}/revoke", leader(post(users::revoke)))
        .route("/admin/v1/groups", here(get(groups::list)).and(leader(post(groups::create))))
        .route(
            "/admin/v1/groups/{id}",
            here(get(groups::show)).and(leader(patch(groups::change).delete(groups::remove))),
        )
        .route("/admin/v1/keys", here(get(keys::list)).and(leader(post(keys::create))))
        .route("/admin/v1/keys/{id}", leader(delete(keys::revoke)))
        .route("/admin/v1/keys/{id}/reissue", leader(post(keys::reissue)))
        .route("/admin/v1/signing-keys", leader(get(signing_keys::list)))
        .route("/admin/v1/signing-keys/rotate", leader(post(signing_keys::rotate)))
        .route("/admin/v1/usage", here(get(usage::list)))
        .route("/admin/v1/usage/retry-rejected", here(post(usage_rejected::retry_rejected)))
        .route("/admin/v1/usage/dismiss-rejected", here(post(usage_rejected::dismiss_rejected)))
        .route("/admin/v1/stats", leader(get(stats::total)))
        .route("/admin/v1/stats/users", leader(get(stats::users)))
        .route("/admin/v1/stats/groups", leader(get(stats::groups)))
        .route("/admin/v1/stats/models", leader(get(stats::models)))
        .route("/admin/v1/stats/nodes", leader(get(stats::nodes)))
        .route("/admin/v1/stats/days", leader(get(stats::days)))
        .route("/admin/v1/peers", here(get(peers::list)))
        .route("/admin/v1/peers/{id}", leader(delete(peers::forget)))
        .route("/admin/v1/peers/{id}/drain", leader(post(peers::drain)))
        .route("/admin/v1/peers/{id}/undrain", leader(post(peers::undrain)))
        .route("/admin/v1/leadership", here(get(leadership::show)))
        .route("/admin/v1/promote", here(post(leadership::promote)))
        .route(PATH, here(post(leadership::hear)))
        .route("/admin/v1/targets", here(get(targets::list)))
        .route("/admin/v1/targets/{name}/drain", here(post(targets::drain)))
        .route("/admin/v1/targets/{name}/undrain", here(post(targets::undrain)))
        .route("/admin/v1/alerts", here(get(alerts::list)))
        .route("/admin/v1/alerts/events", here(get(alerts::events)))
        .route("/admin/v1/alerts/test", here(post(alerts::test)))
        .route("/admin/v1/reload", here(post(config::reload)))
        .route("/admin/v1/audit", here(get(audit::list)))
        .route(
            "/admin/v1/backup",
            here(get(move |state, admin| backup::download(state, admin, backups.clone()))),
        )
        .route("/admin/v1/openapi.json", here(get(openapi::document)))
        .with_fallback(unknown)
        .merge(provisioning)
}

/// A change that this node does not know may be one that its leader, of a newer version, does.
async fn unknown(State(state): State<ControlState>, request: Request) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let not_found = || ApiError::not_found("there is no such resource").into_response();
    match &state.relay {
        Some(relay) if changes => relay(request).await,
        Some(_) => local(not_found()),
        None => not_found(),
    }
}
