//! `/admin/v1/usage/retry-rejected`: what the leader refused of a follower's usage, offered once more.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::accounts::Actor;
use crate::http::input::Admin;
use crate::http::problem::{Answer, Changing};
use crate::http::state::ControlState;

/// What is offered again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Retried {
    /// The node whose usage logs they are: the one that was asked.
    pub node: String,
    /// How many were set aside.
    pub retried: u64,
}

/// Offer the leader again what it refused of this node's usage, such as after its clock was set right. What it refuses
/// once more is set aside again. A leader owes nobody, and has none.
#[utoipa::path(post, path = "/admin/v1/usage/retry-rejected", tag = "usage",
    responses((status = 200, description = "How many are offered", body = Retried), Changing))]
pub async fn retry_rejected(State(state): State<ControlState>, Admin(admin): Admin) -> Answer<Json<Retried>> {
    let retried = state.cluster.retry_rejected().await?;
    if retried > 0 {
        let subject = format!("usage of {}", state.node);
        let (before, after) = (json!({ "set_aside": retried }), json!({ "set_aside": 0 }));
        state.accounts.note(&Actor::from(&admin), "usage.retry_rejected", subject, before, after).await?;
    }
    Ok(Json(Retried { node: state.node.to_string(), retried }))
}
