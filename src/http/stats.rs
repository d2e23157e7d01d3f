//! `/admin/v1/stats`: sums over usage logs, of the whole cluster.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::peer::Incomplete;
use crate::domain::summary::{StatRow, StatsBy, Totals};
use crate::http::input::{Admin, QueryParams};
use crate::http::paging::{List, limit};
use crate::http::problem::{ApiError, ApiResult, ReadErrors};
use crate::http::state::ControlState;
use crate::store::{StatsCursor, UsageRepo};

/// Sums.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct TotalsView {
    /// Input tokens.
    pub total_input: u64,
    /// Output tokens.
    pub total_output: u64,
    /// Both.
    pub total_tokens: u64,
    /// Usage logs.
    pub request_count: u64,
    /// Those that ended in an error.
    pub error_count: u64,
    /// Cost in nano-USD: 1 USD is 1,000,000,000.
    pub cost_nanousd: i64,
    /// Usage logs of models that the price list does not know, which cost its default.
    pub default_priced_requests: u64,
}

impl From<Totals> for TotalsView {
    fn from(totals: Totals) -> Self {
        Self {
            total_input: totals.total_input,
            total_output: totals.total_output,
            total_tokens: totals.total_tokens,
            request_count: totals.request_count,
            error_count: totals.error_count,
            cost_nanousd: totals.cost_nanousd,
            default_priced_requests: totals.default_priced_requests,
        }
    }
}

/// Sums of the whole cluster.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatsView {
    /// The sums.
    #[serde(flatten)]
    totals: TotalsView,
    /// Up to here every peer has said that it owes nothing: what the sums can be trusted for. A peer that died, is cut
    /// off or has left owing something holds it back.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    complete_through: Option<Timestamp>,
    /// Who holds that back.
    incomplete: Vec<IncompleteView>,
}

/// A node because of which sums are not known to be complete.
#[derive(Debug, Serialize, ToSchema)]
pub struct IncompleteView {
    /// The node.
    node: String,
    /// From here on some of its usage may be missing.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// How many usage logs it is known to owe.
    unsynced: u64,
}

impl From<Incomplete> for IncompleteView {
    fn from(incomplete: Incomplete) -> Self {
        Self { node: incomplete.node.to_string(), since: incomplete.since, unsynced: incomplete.unsynced }
    }
}

/// Sums of one user.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserStatsView {
    /// The user's id.
    user_id: String,
    /// The user's name.
    user: String,
    /// The sums.
    #[serde(flatten)]
    totals: TotalsView,
}

/// Sums of one group.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupStatsView {
    /// The group's id; null: users without a group.
    #[schema(required)]
    group_id: Option<Uuid>,
    /// The group's name; null: users without a group.
    #[schema(required)]
    group: Option<String>,
    /// The sums.
    #[serde(flatten)]
    totals: TotalsView,
}

/// Sums of one model.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelStatsView {
    /// The model that was asked for; empty: calls that name none.
    model: String,
    /// The sums.
    #[serde(flatten)]
    totals: TotalsView,
}

/// Sums of one node.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeStatsView {
    /// The node that served.
    node: String,
    /// The sums.
    #[serde(flatten)]
    totals: TotalsView,
}

/// Sums of one UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub struct DayStatsView {
    /// The day, such as `2026-11-22`.
    day: String,
    /// The sums.
    #[serde(flatten)]
    totals: TotalsView,
}

/// Which window.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WindowParams {
    /// Not before this moment (RFC 3339, or a UTC day); without it, from the beginning.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this moment; without it, until now.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
}

/// Which window, and how many rows of it.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TopParams {
    /// Not before this moment (RFC 3339, or a UTC day); without it, from the beginning.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this moment; without it, until now.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Rows of the page; 50 without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before. All pages are of the calls made before the first one was asked for.
    #[param(pattern = "^([0-9a-f]+-[0-9a-f]+-[A-Za-z0-9_-]*)?$")]
    cursor: Option<String>,
}

/// Sums of everything.
#[utoipa::path(get, path = "/admin/v1/stats", tag = "stats", params(WindowParams),
    responses((status = 200, description = "The sums", body = StatsView), ReadErrors))]
pub async fn total(
    State(state): State<ControlState>,
    _: Admin,
    QueryParams(params): QueryParams<WindowParams>,
) -> ApiResult<Json<StatsView>> {
    // Asked before the sums: what is complete now is in them.
    let complete_through = state.cluster.complete_through().await?;
    let incomplete = state.cluster.incomplete().into_iter().map(IncompleteView::from).collect();
    let (from, to) = window(params.from, params.to);
    let totals = UsageRepo::on(&state.store).global_sum_tokens(from, to).await?;
    Ok(Json(StatsView { totals: totals.into(), complete_through, incomplete }))
}

/// Sums per user, the most tokens first.
#[utoipa::path(get, path = "/admin/v1/stats/users", tag = "stats", params(TopParams),
    responses((status = 200, description = "One page of sums", body = List<UserStatsView>), ReadErrors))]
pub async fn users(
    State(state): State<ControlState>,
    _: Admin,
    QueryParams(params): QueryParams<TopParams>,
) -> ApiResult<Json<List<UserStatsView>>> {
    let view = |row: StatRow| UserStatsView { user_id: row.key, user: row.name, totals: row.totals.into() };
    page(&state, StatsBy::User, &params, view).await
}

/// Sums per group, the most tokens first.
#[utoipa::path(get, path = "/admin/v1/stats/groups", tag = "stats", params(TopParams),
    responses((status = 200, description = "One page of sums", body = List<GroupStatsView>), ReadErrors))]
pub async fn groups(
    State(state): State<ControlState>,
    _: Admin,
    QueryParams(params): QueryParams<TopParams>,
) -> ApiResult<Json<List<GroupStatsView>>> {
    let view = |row: StatRow| GroupStatsView {
        group_id: row.key.parse().ok(),
        group: Some(row.name).filter(|_| !row.key.is_empty()),
        totals: row.totals.into(),
    };
    page(&state, StatsBy::Group, &params, view).await
}

/// Sums per model, the most tokens first.
#[utoipa::path(get, path = "/admin/v1/stats/models", tag = "stats", params(TopParams),
    responses((status = 200, description = "One page of sums", body = List<ModelStatsView>), ReadErrors))]
pub async fn models(
    State(state): State<ControlState>,
    _: Admin,
    QueryParams(params): QueryParams<TopParams>,
) -> ApiResult<Json<List<ModelStatsView>>> {
    let view = |row: StatRow| ModelStatsView { model: row.key, totals: row.totals.into() };
    page(&state, StatsBy::Model, &params, view).await
}

/// Sums per node, the most tokens first.
#[utoipa::path(get, path = "/admin/v1/stats/nodes", tag = "stats", params(TopParams),
    responses((status = 200, description = "One page of sums", body = List<NodeStatsView>), ReadErrors))]
pub async fn nodes(
    State(state): State<ControlState>,
    _: Admin,
    QueryParams(params): QueryParams<TopParams>,
) -> ApiResult<Json<List<NodeStatsView>>> {
    let view = |row: StatRow| NodeStatsView { node: row.key, totals: row.totals.into() };
    page(&state, StatsBy::Node, &params, view).await
}

/// Sums per UTC day, the latest first.
#[utoipa::path(get, path = "/admin/v1/stats/days", tag = "stats", params(TopParams),
    responses((status = 200, description = "One page of sums", body = List<DayStatsView>), ReadErrors))]
pub async fn days(
    State(state): State<ControlState>,
    _: Admin,
    QueryParams(params): QueryParams<TopParams>,
) -> ApiResult<Json<List<DayStatsView>>> {
    let view = |row: StatRow| DayStatsView { day: row.key, totals: row.totals.into() };
    page(&state, StatsBy::Day, &params, view).await
}

async fn page<T>(
    state: &ControlState,
    by: StatsBy,
    params: &TopParams,
    view: impl FnMut(StatRow) -> T,
) -> ApiResult<Json<List<T>>> {
    let window = window(params.from, params.to);
    let after = params.cursor.as_deref().filter(|cursor| !cursor.is_empty());
    let after = after.map(|cursor| StatsCursor::read(by, cursor)).transpose();
    let after = after.map_err(|error| ApiError::invalid(error.to_string()))?;
    let (usage, limit, now) = (UsageRepo::on(&state.store), limit(params.limit)?, state.clock.now());
    let page = usage.stats_page(by, window, limit, after.as_ref(), now).await?;
    let next_cursor = page.next.map(|cursor| cursor.to_string());
    Ok(Json(List { items: page.items.into_iter().map(view).collect(), next_cursor }))
}

fn window(from: Option<Timestamp>, to: Option<Timestamp>) -> (Timestamp, Timestamp) {
    (from.unwrap_or(Timestamp::MIN), to.unwrap_or(Timestamp::MAX))
}
