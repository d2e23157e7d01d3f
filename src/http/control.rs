//! The control plane: every route on one screen.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use tokio::sync::Semaphore;

use crate::cluster::leader::announcer::PATH;
use crate::domain::failure::{Failure, Kind};
use crate::http::problem::ApiError;
use crate::http::{
    alerts, audit, auth, backup, client_telemetry, config, groups, import, keys, leadership, me, oauth,
    openapi, peers, signing_keys, stats, targets, usage, usage_rejected, users,
};

pub use crate::http::state::{Cluster, ControlState, Promotion, Relay};

/// Marks an answer that covers this node only, not the cluster.
const SCOPE: HeaderName = HeaderName::from_static("x-sproxy-scope");

/// Every route of the control plane.
pub fn router(state: ControlState) -> Router {
    let backups = Arc::new(Semaphore::new(1));
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
        .done()
}

/// A route, and where each of its methods is answered. There is no other way into [`Routes`].
#[derive(Default)]
pub struct Located {
    here: Option<MethodRouter<ControlState>>,
    leader: Option<MethodRouter<ControlState>>,
}

/// Answered by the node that is asked, with what it knows.
#[must_use]
pub fn here(methods: MethodRouter<ControlState>) -> Located {
    Located { here: Some(methods), ..Located::default() }
}

/// Answered by the leader, whichever node is asked: logins, what is about the whole cluster, and changes to it.
#[must_use]
pub fn leader(methods: MethodRouter<ControlState>) -> Located {
    Located { leader: Some(methods), ..Located::default() }
}

impl Located {
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let both = |one: Option<MethodRouter<ControlState>>, other| match (one, other) {
            (Some(one), Some(other)) => Some(one.merge(other)),
            (one, other) => one.or(other),
        };
        Self { here: both(self.here, other.here), leader: both(self.leader, other.leader) }
    }
}

/// The routes so far.
pub struct Routes {
    state: ControlState,
    router: Router<ControlState>,
}

impl Routes {
    #[must_use]
    pub fn new(state: ControlState) -> Self {
        Self { state, router: Router::new() }
    }

    #[must_use]
    pub fn route(mut self, path: &str, located: Located) -> Self {
        let here = located
            .here
            .map(|methods| methods.route_layer(from_fn_with_state(self.state.clone(), answer_here)));
        let leader = located
            .leader
            .map(|methods| methods.route_layer(from_fn_with_state(self.state.clone(), answer_by_leader)));
        for methods in here.into_iter().chain(leader) {
            self.router = self.router.route(path, methods);
        }
        self
    }

    fn done(self) -> Router {
        let unknown = self.router.fallback(unknown);
        Self { router: unknown, ..self }.without_fallback()
    }

    /// These routes alone, to be merged with others.
    pub fn without_fallback(self) -> Router {
        self.router
            .method_not_allowed_fallback(async || ApiError::method_not_allowed())
            .with_state(self.state)
    }
}

/// Answers locally; a follower marks the answer as its local view.
async fn answer_here(State(state): State<ControlState>, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    if state.relay.is_none() {
        return answer;
    }
    let not_yet = (answer.status() == StatusCode::UNAUTHORIZED).then(|| state.cluster.no_accounts_yet());
    local(match not_yet.flatten() {
        Some(reason) => ApiError::from(Failure::not_yet(reason)).into_response(),
        None => answer,
    })
}

/// Answers on the leader; a follower relays the call.
async fn answer_by_leader(State(state): State<ControlState>, request: Request, next: Next) -> Response {
    let changes = !request.method().is_safe();
    match &state.relay {
        Some(relay) => relay(request).await,
        None => match state.promotion.superseded().filter(|_| changes) {
            Some(reason) => ApiError::from(Failure::new(Kind::Unavailable, reason)).into_response(),
            None => next.run(request).await,
        },
    }
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

fn local(mut answer: Response) -> Response {
    answer.headers_mut().insert(SCOPE, HeaderValue::from_static("local"));
    answer
}
