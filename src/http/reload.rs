//! `/admin/v1/reload`: takes over another configuration while the node runs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::accounts::Actor;
use crate::domain::failure::Failure;
use crate::http::input::Admin;
use crate::http::problem::{ApiResult, WriteErrors};
use crate::http::state::ControlState;

/// What came of reading the configuration again.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Reloaded {
    /// The targets that are in effect now.
    pub targets: Vec<String>,
    /// Settings that have changed and take effect only when the node starts again.
    pub needs_restart: Vec<String>,
}

/// Reads the configuration again.
pub trait Reload: Send + Sync {
    /// Takes over all of what can be, or nothing.
    fn reload(self: Arc<Self>) -> BoxFuture<'static, Result<Reloaded, Failure>>;
}

/// Read this node's configuration again and take over targets, models, prices, the log's level, certificates and secrets,
/// all or nothing. Calls under way end on what they began with.
#[utoipa::path(post, path = "/admin/v1/reload", tag = "node",
    responses((status = 200, description = "It is in effect", body = Reloaded), WriteErrors))]
pub async fn reload(State(state): State<ControlState>, Admin(admin): Admin) -> ApiResult<Json<Reloaded>> {
    let reloaded = Arc::clone(&state.reload).reload().await?;
    let after = json!({ "targets": reloaded.targets, "needs_restart": reloaded.needs_restart });
    let subject = format!("configuration of {}", state.node);
    state.accounts.note(&Actor::from(&admin), "config.reload", subject, json!(null), after).await?;
    Ok(Json(reloaded))
}
