//! The control plane: every route on one screen.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tokio::sync::Semaphore;

use crate::domain::failure::Failure;
use crate::http::problem::ApiError;
use crate::http::{
    audit, auth, backup, groups, keys, me, openapi, peers, stats, targets, usage, usage_rejected, users,
};

pub use crate::http::state::{Cluster, ControlState, Relay};

/// Says that an answer is what this node knows, not what the cluster knows.
const SCOPE: HeaderName = HeaderName::from_static("x-sproxy-scope");

/// Every route of the control plane.
pub fn router(state: ControlState) -> Router {
    let backups = Arc::new(Semaphore::new(1));
    Router::new()
        .route("/auth/login", post(auth::login))
        .route("/auth/refresh", post(auth::refresh))
        .route("/auth/logout", post(auth::logout))
        .route("/me", get(me::show))
        .route("/me/usage", get(me::usage))
        .route("/me/quota", get(me::quota))
        .route("/me/keys", get(me::list_keys).post(me::create_key))
        .route("/me/keys/{id}", delete(me::revoke_key))
        .route("/admin/v1/users", get(users::list).post(users::create))
        .route("/admin/v1/users/{id}", get(users::show).patch(users::change).delete(users::remove))
        .route("/admin/v1/users/{id}/password", post(users::set_password))
        .route("/admin/v1/users/{id}/revoke", post(users::revoke))
        .route("/admin/v1/groups", get(groups::list).post(groups::create))
        .route("/admin/v1/groups/{id}", get(groups::show).patch(groups::change).delete(groups::remove))
        .route("/admin/v1/keys", get(keys::list).post(keys::create))
        .route("/admin/v1/keys/{id}", delete(keys::revoke))
        .route("/admin/v1/usage", get(usage::list))
        .route("/admin/v1/usage/retry-rejected", post(usage_rejected::retry_rejected))
        .route("/admin/v1/usage/dismiss-rejected", post(usage_rejected::dismiss_rejected))
        .route("/admin/v1/stats", get(stats::total))
        .route("/admin/v1/stats/users", get(stats::users))
        .route("/admin/v1/stats/groups", get(stats::groups))
        .route("/admin/v1/stats/models", get(stats::models))
        .route("/admin/v1/stats/nodes", get(stats::nodes))
        .route("/admin/v1/stats/days", get(stats::days))
        .route("/admin/v1/peers", get(peers::list))
        .route("/admin/v1/peers/{id}", delete(peers::forget))
        .route("/admin/v1/peers/{id}/drain", post(peers::drain))
        .route("/admin/v1/peers/{id}/undrain", post(peers::undrain))
        .route("/admin/v1/targets", get(targets::list))
        .route("/admin/v1/targets/{name}/drain", post(targets::drain))
        .route("/admin/v1/targets/{name}/undrain", post(targets::undrain))
        .route("/admin/v1/audit", get(audit::list))
        .route("/admin/v1/backup", get(move |state, admin| backup::download(state, admin, backups.clone())))
        .route("/admin/v1/openapi.json", get(openapi::document))
        .fallback(async || ApiError::not_found("there is no such resource"))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(from_fn_with_state(state.clone(), by_leader_or_here))
        .with_state(state)
}

/// A follower hands on what only the leader can answer, and says of everything else that it is the local view.
async fn by_leader_or_here(State(state): State<ControlState>, request: Request, next: Next) -> Response {
    let Some(relay) = &state.relay else { return next.run(request).await };
    if is_leaders(request.method(), request.uri().path()) {
        return relay(request).await;
    }
    let mut answer = next.run(request).await;
    if answer.status() == StatusCode::UNAUTHORIZED
        && let Some(reason) = state.cluster.no_accounts_yet()
    {
        answer = ApiError::from(Failure::not_yet(reason)).into_response();
    }
    answer.headers_mut().insert(SCOPE, HeaderValue::from_static("local"));
    answer
}

/// Logins, cluster-wide statistics and every change are the leader's, except to a node's own targets and debts.
fn is_leaders(method: &Method, path: &str) -> bool {
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    path.starts_with("/auth/")
        || path.starts_with("/admin/v1/stats")
        || (changes && !path.starts_with("/admin/v1/targets/") && !path.starts_with("/admin/v1/usage/"))
}
