//! `/admin/v1/usage/retry-rejected` and `…/dismiss-rejected`: what the leader refused of a follower's usage, offered once
//! more or given up.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use crate::accounts::Actor;
use crate::domain::price::usd_text;
use crate::domain::summary::Dismissed;
use crate::http::input::{Admin, QueryParams};
use crate::http::problem::{ApiResult, WriteErrors};
use crate::http::state::ControlState;

/// What is offered again.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetriedView {
    /// The node whose usage logs they are: the one that was asked.
    pub node: String,
    /// How many were set aside.
    pub retried: u64,
}

/// Offer the leader again what it refused of this node's usage, such as after its clock was set right. What it refuses
/// once more is set aside again. A leader owes nobody, and has none.
#[utoipa::path(post, path = "/admin/v1/usage/retry-rejected", tag = "usage",
    responses((status = 200, description = "How many are offered", body = RetriedView), WriteErrors))]
pub async fn retry_rejected(
    State(state): State<ControlState>,
    Admin(admin): Admin,
) -> ApiResult<Json<RetriedView>> {
    let retried = state.cluster.retry_rejected().await?;
    if retried > 0 {
        let subject = format!("usage of {}", state.node);
        let (before, after) = (json!({ "set_aside": retried }), json!({ "set_aside": 0 }));
        state.accounts.note(&Actor::from(&admin), "usage.retry_rejected", subject, before, after).await?;
    }
    Ok(Json(RetriedView { node: state.node.to_string(), retried }))
}

/// Whether to give anything up.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DismissParams {
    /// Only say what would be given up.
    #[param(required = false)]
    dry_run: bool,
}

/// What is given up.
#[derive(Debug, Serialize, ToSchema)]
pub struct DismissedView {
    /// The node whose usage logs they are: the one that was asked.
    pub node: String,
    /// How many; with `dry_run`, how many there are.
    pub dismissed: u64,
    /// Their input tokens.
    pub input_tokens: u64,
    /// Their output tokens.
    pub output_tokens: u64,
    /// Both.
    pub total_tokens: u64,
    /// What they cost in nano-USD: 1 USD is 1,000,000,000.
    pub cost_nanousd: i64,
    /// The same in USD: an exact decimal number, with 9 decimals at most.
    pub cost_usd: String,
    /// Nothing was given up: that was not asked for.
    pub dry_run: bool,
}

impl DismissedView {
    fn of(state: &ControlState, sum: &Dismissed, dry_run: bool) -> Self {
        Self {
            node: state.node.to_string(),
            dismissed: sum.logs,
            input_tokens: sum.input_tokens,
            output_tokens: sum.output_tokens,
            total_tokens: sum.input_tokens.saturating_add(sum.output_tokens),
            cost_nanousd: sum.cost_nanousd,
            cost_usd: usd_text(sum.cost_nanousd),
            dry_run,
        }
    }
}

/// Give up what the leader refused of this node's usage and will never take. It stays in this node's usage log, marked as
/// dismissed; it is owed no more, never pushed again, and in no total. There is no way back. Refused on a leader, which
/// owes nobody.
#[utoipa::path(post, path = "/admin/v1/usage/dismiss-rejected", tag = "usage", params(DismissParams),
    responses((status = 200, description = "What is given up, added up", body = DismissedView), WriteErrors))]
pub async fn dismiss_rejected(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    QueryParams(DismissParams { dry_run }): QueryParams<DismissParams>,
) -> ApiResult<Json<DismissedView>> {
    if dry_run {
        let sum = state.cluster.rejected().await?;
        return Ok(Json(DismissedView::of(&state, &sum, dry_run)));
    }
    let mut sum = Dismissed::default();
    let done = state.cluster.dismiss_rejected(&mut sum).await;
    let view = DismissedView::of(&state, &sum, dry_run);
    if sum.logs > 0 {
        let subject = format!("usage of {}", state.node);
        let (before, after) = (json!({ "set_aside": sum.logs }), json!({ "dismissed": view }));
        state.accounts.note(&Actor::from(&admin), "usage.dismiss_rejected", subject, before, after).await?;
    }
    done?;
    Ok(Json(view))
}
