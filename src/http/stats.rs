//! `/admin/v1/stats`: sums over usage logs, of the whole cluster; for managers, of what was booked on their groups.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::permission::Scope;
use crate::domain::summary::{StatRow, StatsBy};
use crate::domain::usage::UsageFilter;
use crate::http::input::{PeopleReader, QueryParams};
use crate::http::paging::{List, limit};
use crate::http::problem::{ApiResult, ReadErrors};
use crate::http::state::ControlState;
use crate::http::sums::{self, StatsView, TotalsView};

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
    PeopleReader(scope): PeopleReader,
    QueryParams(params): QueryParams<WindowParams>,
) -> ApiResult<Json<StatsView>> {
    let filter = within(&scope, params.from, params.to);
    Ok(Json(sums::total_of(&state, &filter).await?))
}

/// Sums per user, the most tokens first.
#[utoipa::path(get, path = "/admin/v1/stats/users", tag = "stats", params(TopParams),
    responses((status = 200, description = "One page of sums", body = List<UserStatsView>), ReadErrors))]
pub async fn users(
    State(state): State<ControlState>,
    PeopleReader(scope): PeopleReader,
    QueryParams(params): QueryParams<TopParams>,
) -> ApiResult<Json<List<UserStatsView>>> {
    let view = |row: StatRow| UserStatsView { user_id: row.key, user: row.name, totals: row.totals.into() };
    page(&state, &scope, StatsBy::User, &params, view).await
}

/// Sums per group, the most tokens first.
#[utoipa::path(get, path = "/admin/v1/stats/groups", tag = "stats", params(TopParams),
    responses((status = 200, description = "One page of sums", body = List<GroupStatsView>), ReadErrors))]
pub async fn groups(
    State(state): State<ControlState>,
    PeopleReader(scope): PeopleReader,
    QueryParams(params): QueryParams<TopParams>,
) -> ApiResult<Json<List<GroupStatsView>>> {
    let view = |row: StatRow| GroupStatsView {
        group_id: row.key.parse().ok(),
        group: Some(row.name).filter(|_| !row.key.is_empty()),
        totals: row.totals.into(),
    };
    page(&state, &scope, StatsBy::Group, &params, view).await
}

/// Sums per model, the most tokens first.
#[utoipa::path(get, path = "/admin/v1/stats/models", tag = "stats", params(TopParams),
    responses((status = 200, description = "One page of sums", body = List<ModelStatsView>), ReadErrors))]
pub async fn models(
    State(state): State<ControlState>,
    PeopleReader(scope): PeopleReader,
    QueryParams(params): QueryParams<TopParams>,
) -> ApiResult<Json<List<ModelStatsView>>> {
    let view = |row: StatRow| ModelStatsView { model: row.key, totals: row.totals.into() };
    page(&state, &scope, StatsBy::Model, &params, view).await
}

/// Sums per node, the most tokens first.
#[utoipa::path(get, path = "/admin/v1/stats/nodes", tag = "stats", params(TopParams),
    responses((status = 200, description = "One page of sums", body = List<NodeStatsView>), ReadErrors))]
pub async fn nodes(
    State(state): State<ControlState>,
    PeopleReader(scope): PeopleReader,
    QueryParams(params): QueryParams<TopParams>,
) -> ApiResult<Json<List<NodeStatsView>>> {
    let view = |row: StatRow| NodeStatsView { node: row.key, totals: row.totals.into() };
    page(&state, &scope, StatsBy::Node, &params, view).await
}

/// Sums per UTC day, the latest first.
#[utoipa::path(get, path = "/admin/v1/stats/days", tag = "stats", params(TopParams),
    responses((status = 200, description = "One page of sums", body = List<DayStatsView>), ReadErrors))]
pub async fn days(
    State(state): State<ControlState>,
    PeopleReader(scope): PeopleReader,
    QueryParams(params): QueryParams<TopParams>,
) -> ApiResult<Json<List<DayStatsView>>> {
    let view = |row: StatRow| DayStatsView { day: row.key, totals: row.totals.into() };
    page(&state, &scope, StatsBy::Day, &params, view).await
}

async fn page<T>(
    state: &ControlState,
    scope: &Scope,
    by: StatsBy,
    params: &TopParams,
    view: impl FnMut(StatRow) -> T,
) -> ApiResult<Json<List<T>>> {
    let filter = within(scope, params.from, params.to);
    let page = sums::rows_of(state, by, &filter, limit(params.limit)?, params.cursor.as_deref()).await?;
    let items = page.items.into_iter().map(view).collect();
    Ok(Json(List { items, next_cursor: page.next_cursor }))
}

/// A window of what a scope reaches.
fn within(scope: &Scope, from: Option<Timestamp>, to: Option<Timestamp>) -> UsageFilter {
    UsageFilter { within: scope.groups().map(<[_]>::to_vec), from, to, ..UsageFilter::default() }
}
