//! `/admin/v1/targets`: the upstream addresses of this node.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::accounts::Actor;
use crate::domain::clock::Timestamp;
use crate::domain::provider::Provider;
use crate::http::input::{Admin, Caller, ClusterReader, PathParam};
use crate::http::paging::List;
use crate::http::problem::{ApiError, ApiResult, ReadErrors, WriteErrors};
use crate::http::schema;
use crate::http::state::ControlState;
use crate::upstream::credentials::CredentialStatus;
use crate::upstream::{KeyView, TargetView};

/// One upstream address. Never its key.
#[derive(Debug, Serialize, ToSchema)]
pub struct UpstreamTargetView {
    /// Its name.
    pub name: String,
    /// Its dialect.
    #[schema(schema_with = schema::provider)]
    pub provider: Provider,
    /// Its base URL.
    pub url: String,
    /// Targets of a lower tier are used first.
    pub tier: u32,
    /// Its share of calls relative to the others of its tier that serve the same model.
    pub weight: u32,
    /// Globs of the models it serves.
    pub models: Vec<String>,
    /// Whether calls and checks find it up, and nothing of it cools down.
    pub healthy: bool,
    /// When the last of what is left alone after failures gets calls again; `null` also if that is not known.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub cooling_until: Option<Timestamp>,
    /// Why it is not healthy, or gets no calls.
    #[schema(required)]
    pub reason: Option<String>,
    /// Calls that went to it from this node, checks and lists of models among them.
    pub attempts: u64,
    /// Of these, those that got no answer or one that says that the target cannot answer.
    pub failures: u64,
    /// What the last failure was.
    #[schema(required)]
    pub last_error: Option<String>,
    /// When it was.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub last_error_at: Option<Timestamp>,
    /// Whether it gets no new calls.
    pub draining: bool,
    /// Calls it is answering now, from this node.
    pub in_flight: usize,
    /// Of these, calls that wait for a stream of HTTP/2.
    pub waiting: usize,
    /// Connections that speak HTTP/2.
    pub http2_connections: usize,
    /// Whether it has a key.
    pub has_key: bool,
    /// Of credentials of a cloud, which are exchanged while the node runs; `null` where there are none such.
    #[schema(required)]
    pub credentials: Option<CredentialsView>,
    /// Its keys, where it has several. Never the keys themselves.
    pub keys: Vec<TargetKeyView>,
}

/// One of several keys of a target.
#[derive(Debug, Serialize, ToSchema)]
pub struct TargetKeyView {
    /// Its name.
    pub name: String,
    /// Its share of the target's calls.
    pub weight: u32,
    /// Whether nothing of it cools down.
    pub healthy: bool,
    /// When the last of what cools down gets calls again; `null` also if that is not known.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub cooling_until: Option<Timestamp>,
    /// What cools down, and why.
    #[schema(required)]
    pub reason: Option<String>,
    /// Calls it is used for now, from this node.
    pub in_flight: usize,
    /// Calls it was used for.
    pub attempts: u64,
    /// Of these, failed attempts.
    pub failures: u64,
    /// Of credentials of a cloud, which are exchanged while the node runs; `null` where there are none such.
    #[schema(required)]
    pub credentials: Option<CredentialsView>,
}

/// How credentials are that are exchanged while the node runs. Never the credentials themselves.
#[derive(Debug, Serialize, ToSchema)]
pub struct CredentialsView {
    /// Whether there are some that can be sent.
    available: bool,
    /// When they end; `null` also if they do not.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    expires_at: Option<Timestamp>,
    /// Exchanges that failed, in a row.
    failures: u32,
    /// Why the last one did.
    #[schema(required)]
    last_error: Option<String>,
    /// When the next may be tried.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    retry_at: Option<Timestamp>,
}

impl From<CredentialStatus> for CredentialsView {
    fn from(status: CredentialStatus) -> Self {
        Self {
            available: status.is_available,
            expires_at: status.expires_at,
            failures: status.failures,
            last_error: status.last_error,
            retry_at: status.retry_at,
        }
    }
}

impl From<KeyView> for TargetKeyView {
    fn from(key: KeyView) -> Self {
        Self {
            name: key.name,
            weight: key.weight,
            healthy: key.healthy,
            cooling_until: key.cooling_until,
            reason: key.reason,
            in_flight: key.in_flight,
            attempts: key.attempts,
            failures: key.failures,
            credentials: key.credentials.map(Into::into),
        }
    }
}

impl From<TargetView> for UpstreamTargetView {
    fn from(target: TargetView) -> Self {
        Self {
            name: target.name,
            provider: target.provider,
            url: target.url,
            tier: target.tier,
            weight: target.weight,
            models: target.models,
            healthy: target.healthy,
            cooling_until: target.cooling_until,
            reason: target.reason,
            attempts: target.attempts,
            failures: target.failures,
            last_error: target.last_error,
            last_error_at: target.last_error_at,
            draining: target.draining,
            in_flight: target.in_flight,
            waiting: target.waiting,
            http2_connections: target.http2_connections,
            has_key: target.has_key,
            credentials: target.credentials.map(Into::into),
            keys: target.keys.into_iter().map(Into::into).collect(),
        }
    }
}

/// List this node's targets, in the order of the configuration.
#[utoipa::path(get, path = "/admin/v1/targets", tag = "targets",
    responses((status = 200, description = "Every target of this node", body = List<UpstreamTargetView>), ReadErrors))]
pub async fn list(
    State(state): State<ControlState>,
    _: ClusterReader,
) -> ApiResult<Json<List<UpstreamTargetView>>> {
    Ok(Json(List::whole(all(&state))))
}

/// Every target of this node.
#[must_use]
pub fn all(state: &ControlState) -> Vec<UpstreamTargetView> {
    let live = state.live.now();
    live.upstream.targets().iter().map(|target| target.view().into()).collect()
}

/// Give a target no new calls from this node, until it is undrained or the node starts again.
#[utoipa::path(post, path = "/admin/v1/targets/{name}/drain", tag = "targets",
    params(("name" = String, Path, description = "The target's name")),
    responses((status = 200, description = "The target", body = UpstreamTargetView), WriteErrors))]
pub async fn drain(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    PathParam(name): PathParam<String>,
) -> ApiResult<Json<UpstreamTargetView>> {
    set_draining(&state, &admin, &name, true).await
}

/// Give a target calls again.
#[utoipa::path(post, path = "/admin/v1/targets/{name}/undrain", tag = "targets",
    params(("name" = String, Path, description = "The target's name")),
    responses((status = 200, description = "The target", body = UpstreamTargetView), WriteErrors))]
pub async fn undrain(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    PathParam(name): PathParam<String>,
) -> ApiResult<Json<UpstreamTargetView>> {
    set_draining(&state, &admin, &name, false).await
}

/// Gives a target no new calls, or calls again.
///
/// # Errors
/// 404; what the database says.
pub async fn set_draining(
    state: &ControlState,
    admin: &Caller,
    name: &str,
    draining: bool,
) -> ApiResult<Json<UpstreamTargetView>> {
    let missing = || ApiError::not_found(format!("no such target: {name}"));
    let live = state.live.now();
    let target = live.upstream.find(name).ok_or_else(missing)?;
    if target.set_draining(draining) {
        let action = if draining { "target.drain" } else { "target.undrain" };
        let subject = format!("target {name} of {}", state.node);
        let (before, after) = (json!({"draining": !draining}), json!({"draining": draining}));
        state.accounts.note(&Actor::from(admin), action, subject, before, after).await?;
    }
    Ok(Json(target.view().into()))
}
