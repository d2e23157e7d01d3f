//! `/admin/v1/reload`: takes over another configuration while the node runs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::json;

use crate::accounts::Actor;
use crate::http::input::Admin;
use crate::http::problem::{ApiResult, WriteErrors};
use crate::http::reload::Reloaded;
use crate::http::state::ControlState;

/// Read this node's configuration again and take over targets, models, prices, receivers of alerts, the log's level, certificates and secrets,
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
