//! `/admin/v1/groups`: users who share limits.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::accounts::{Actor, GroupChange, NewGroup};
use crate::domain::clock::Timestamp;
use crate::domain::group::Group;
use crate::http::input::{Admin, JsonBody, PathParam, PeopleReader, QueryParams};
use crate::http::limits::{LimitsView, input_with_limits};
use crate::http::paging::{List, PageParams, limit, place};
use crate::http::problem::{ApiResult, ReadErrors, WriteErrors};
use crate::http::state::ControlState;
use crate::store::GroupRepo;

/// A group.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupView {
    /// Never changes.
    pub id: Uuid,
    /// Unique among groups.
    pub name: String,
    /// What the members may use together.
    #[serde(flatten)]
    pub limits: LimitsView,
    /// When the group was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the group last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl From<&Group> for GroupView {
    fn from(group: &Group) -> Self {
        Self {
            id: group.id.0,
            name: group.name.clone(),
            limits: LimitsView::from(&group.limits),
            created_at: group.created_at,
            updated_at: group.updated_at,
        }
    }
}

input_with_limits! {
    /// A group to be created. Limits that are absent are unlimited.
    NewGroupInput {
        /// Unique among groups: 1 to 128 characters, no slash, not in the form of an id.
        #[schema(min_length = 1, max_length = 128)]
        name: String,
    }
}

input_with_limits! {
    /// What to change of a group. What is absent stays as it is.
    GroupChangeInput {
        /// A new name.
        #[serde(default)]
        #[schema(min_length = 1, max_length = 128)]
        name: Option<String>,
    }
}

/// How to remove a group.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RemoveParams {
    /// Remove it although it has members, who are in no group then.
    #[serde(default)]
    force: Option<bool>,
}

/// What went with a removed group.
#[derive(Debug, Serialize, ToSchema)]
pub struct RemovedGroupView {
    /// The group's id; usage logs keep it.
    id: Uuid,
    /// The group's name; usage logs keep it.
    name: String,
    /// Users who are in no group now, and held to their own limits only.
    members_left: u64,
    /// Always true: what the group used stays in the books.
    usage_kept: bool,
}

/// List groups, newest first: all, or those that one manages.
#[utoipa::path(get, path = "/admin/v1/groups", tag = "groups", params(PageParams),
    responses((status = 200, description = "One page of groups", body = List<GroupView>), ReadErrors))]
pub async fn list(
    State(state): State<ControlState>,
    PeopleReader(scope): PeopleReader,
    QueryParams(params): QueryParams<PageParams>,
) -> ApiResult<Json<List<GroupView>>> {
    let (limit, place) = (limit(params.limit)?, place(params.cursor.as_deref())?);
    let page = GroupRepo::on(&state.store).list(scope.groups(), limit, place).await?;
    Ok(Json(List::of(page, |group| GroupView::from(&group))))
}

/// Create a group.
#[utoipa::path(post, path = "/admin/v1/groups", tag = "groups", request_body = NewGroupInput,
    responses((status = 201, description = "The new group", body = GroupView), WriteErrors))]
pub async fn create(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    JsonBody(input): JsonBody<NewGroupInput>,
) -> ApiResult<(StatusCode, Json<GroupView>)> {
    let new = NewGroup { limits: input.limits()?, name: input.name };
    let group = state.accounts.create_group(&Actor::from(&admin), new).await?;
    Ok((StatusCode::CREATED, Json(GroupView::from(&group))))
}

/// Show a group.
#[utoipa::path(get, path = "/admin/v1/groups/{id}", tag = "groups",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, description = "The group", body = GroupView), ReadErrors))]
pub async fn show(
    State(state): State<ControlState>,
    PeopleReader(scope): PeopleReader,
    PathParam(named): PathParam<String>,
) -> ApiResult<Json<GroupView>> {
    Ok(Json(GroupView::from(&state.accounts.group_within(&scope, &named).await?)))
}

/// Change a group's name or limits. They hold from the next request on.
#[utoipa::path(patch, path = "/admin/v1/groups/{id}", tag = "groups", request_body = GroupChangeInput,
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, description = "The group", body = GroupView), WriteErrors))]
pub async fn change(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    PathParam(named): PathParam<String>,
    JsonBody(input): JsonBody<GroupChangeInput>,
) -> ApiResult<Json<GroupView>> {
    let wanted = GroupChange { limits: input.limits()?, name: input.name };
    let group = state.accounts.change_group(&Actor::from(&admin), &named, wanted).await?;
    Ok(Json(GroupView::from(&group)))
}

/// Remove a group. Refused while it has members, who would be free of its limits, unless `force` says so.
#[utoipa::path(delete, path = "/admin/v1/groups/{id}", tag = "groups",
    params(("id" = String, Path, description = "Id or name"), RemoveParams),
    responses((status = 200, description = "What went with the group", body = RemovedGroupView), WriteErrors))]
pub async fn remove(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    PathParam(named): PathParam<String>,
    QueryParams(params): QueryParams<RemoveParams>,
) -> ApiResult<Json<RemovedGroupView>> {
    let force = params.force.unwrap_or(false);
    let removed = state.accounts.remove_group(&Actor::from(&admin), &named, force).await?;
    Ok(Json(RemovedGroupView {
        id: removed.group.id.0,
        name: removed.group.name,
        members_left: removed.members,
        usage_kept: true,
    }))
}
