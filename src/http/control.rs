//! The control plane: every route on one screen.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{delete, get, post};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::accounts::Accounts;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::failure::Failure;
use crate::domain::ids::NodeId;
use crate::domain::peer::Peer;
use crate::http::problem::Refused;
use crate::http::{audit, auth, backup, groups, keys, me, openapi, peers, stats, targets, usage, users};
use crate::quota::Quota;
use crate::store::Store;
use crate::upstream::Upstream;

/// Says that an answer is what this node knows, not what the cluster knows.
const SCOPE: HeaderName = HeaderName::from_static("x-sproxy-scope");

/// What the handlers work on.
#[derive(Clone)]
pub struct ControlState {
    /// Users, groups and keys.
    pub accounts: Accounts,
    /// What users and groups have used of what.
    pub quota: Quota,
    /// Lists, usage and statistics.
    pub store: Store,
    /// This node's targets.
    pub targets: Arc<Upstream>,
    /// The other nodes.
    pub cluster: Arc<dyn Cluster>,
    /// On a follower: how a request gets to the leader. None on the leader.
    pub relay: Option<Relay>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// This node.
    pub node: NodeId,
    /// Where a backup is put together.
    pub data_dir: PathBuf,
}

/// Takes a request to the leader and brings its answer back. What goes wrong on the way is a problem as well.
pub type Relay = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

/// The cluster as this node sees it: a leader its registry, a follower what it was told.
pub trait Cluster: Send + Sync {
    /// Every peer, by id.
    fn peers(&self) -> Vec<Peer>;

    /// Up to here every active peer has said that it owes nothing.
    fn complete_through(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Failure>>;

    /// Sets whether a peer should get new traffic. Only a leader is asked.
    fn drain<'a>(&'a self, id: &'a NodeId, draining: bool) -> BoxFuture<'a, Result<Peer, Failure>>;

    /// Forgets a peer. Only a leader is asked.
    fn forget<'a>(&'a self, id: &'a NodeId) -> BoxFuture<'a, Result<(), Failure>>;
}

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
        .fallback(async || Refused::not_found("there is no such resource"))
        .method_not_allowed_fallback(async || Refused::method_not_allowed())
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
    answer.headers_mut().insert(SCOPE, HeaderValue::from_static("local"));
    answer
}

/// Logins, cluster-wide statistics and every change are the leader's, except to a node's own targets.
fn is_leaders(method: &Method, path: &str) -> bool {
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    path.starts_with("/auth/")
        || path.starts_with("/admin/v1/stats")
        || (changes && !path.starts_with("/admin/v1/targets/"))
}
