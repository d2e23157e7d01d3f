//! `/admin/v1/users`: people and services that may call.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::accounts::{Accounts, Actor, NewUser, UserChange};
use crate::domain::clock::Timestamp;
use crate::domain::ids::GroupId;
use crate::domain::permission::Scope;
use crate::domain::user::{Role, User};
use crate::http::input::{Admin, JsonBody, PathParam, PeopleManager, PeopleReader, QueryParams};
use crate::http::limits::{LimitsView, input_with_limits};
use crate::http::paging::{List, limit, place};
use crate::http::problem::{ApiResult, ReadErrors, WriteErrors};
use crate::http::state::ControlState;
use crate::store::{UserFilter, UserRepo};

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    /// Never changes.
    pub id: Uuid,
    /// Unique among users.
    pub name: String,
    /// The name of the group whose limits are shared; null: none.
    #[schema(required)]
    pub group: Option<String>,
    /// The group's id.
    #[schema(required)]
    pub group_id: Option<Uuid>,
    /// What the user may do here.
    #[schema(value_type = String, pattern = "^(admin|auditor|manager|user)$")]
    pub role: Role,
    /// The groups whose members a manager manages, by name; of any other role none.
    pub manages: Vec<String>,
    /// False: refused everywhere.
    pub active: bool,
    /// Whether the user can log in; API keys work in any case.
    pub has_password: bool,
    /// The user's own limits, beside those of the group.
    #[serde(flatten)]
    pub limits: LimitsView,
    /// When the user was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the user last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When the user last logged in with a password.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub last_login_at: Option<Timestamp>,
}

impl UserView {
    /// A user as the API shows it.
    #[must_use]
    pub fn of(user: &User, accounts: &Accounts) -> Self {
        Self {
            id: user.id.0,
            name: user.name.clone(),
            group: user.group_id.and_then(|id| accounts.group_name(id)).map(|name| name.to_string()),
            group_id: user.group_id.map(|id| id.0),
            role: user.role,
            manages: names_of(&user.manages, accounts),
            active: user.active,
            has_password: user.password_hash.is_some(),
            limits: LimitsView::from(&user.limits),
            created_at: user.created_at,
            updated_at: user.updated_at,
            last_login_at: user.last_login_at,
        }
    }
}

input_with_limits! {
    /// A user to be created. Limits that are absent are unlimited.
    NewUserInput {
        /// Unique among users: 1 to 128 characters, no slash, not in the form of an id.
        #[schema(min_length = 1, max_length = 128)]
        name: String,
        /// 8 to 256 characters. Without one the user can use API keys, but not log in.
        #[serde(default)]
        #[schema(min_length = 8, max_length = 256)]
        password: Option<String>,
        /// The group, by id or name.
        #[serde(default)]
        group: Option<String>,
        /// `admin`; `auditor`, who reads everything that is no secret; `manager` of the members of `manages`; or `user`, the
        /// default.
        #[serde(default)]
        #[schema(value_type = Option<String>, pattern = "^(admin|auditor|manager|user)$")]
        role: Option<Role>,
        /// The groups whose members a manager manages, by id or name.
        #[serde(default)]
        manages: Option<Vec<String>>,
    }
}

input_with_limits! {
    /// What to change of a user. What is absent stays as it is.
    UserChangeInput {
        /// A new name.
        #[serde(default)]
        #[schema(min_length = 1, max_length = 128)]
        name: Option<String>,
        /// Another group, by id or name; null: none.
        #[serde(default, deserialize_with = "crate::http::limits::given")]
        #[schema(value_type = Option<String>)]
        group: Option<Option<String>>,
        /// `admin`, `auditor`, `manager` or `user`.
        #[serde(default)]
        #[schema(value_type = Option<String>, pattern = "^(admin|auditor|manager|user)$")]
        role: Option<Role>,
        /// The groups whose members a manager manages, by id or name: these, and no others. Whoever gets another role manages
        /// none.
        #[serde(default)]
        manages: Option<Vec<String>>,
        /// False: refused from the next request on, sessions end. True: let in again.
        #[serde(default)]
        active: Option<bool>,
    }
}

/// A password to be set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordInput {
    /// 8 to 256 characters.
    #[schema(min_length = 8, max_length = 256)]
    password: String,
}

/// Which users.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UserParams {
    /// Only members of this group, by id or name.
    pub group: Option<String>,
    /// Only active users, or only disabled ones.
    pub active: Option<bool>,
    /// Rows of the page; 50 without it.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]+-[0-9a-f]{32})?$")]
    pub cursor: Option<String>,
}

/// What went with a removed user.
#[derive(Debug, Serialize, ToSchema)]
pub struct RemovedUserView {
    /// The user's id; usage logs keep it.
    id: Uuid,
    /// The user's name; usage logs keep it.
    name: String,
    /// API keys that are refused from now on.
    keys_revoked: u64,
    /// Sessions that ended.
    sessions_ended: u64,
    /// Always true: what the user used stays in the books.
    usage_kept: bool,
}

/// What ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedView {
    /// Sessions that ended; their access tokens are refused as well.
    sessions_ended: u64,
}

fn names_of(groups: &BTreeSet<GroupId>, accounts: &Accounts) -> Vec<String> {
    let names = groups.iter().filter_map(|id| accounts.group_name(*id));
    let mut names: Vec<String> = names.map(|name| name.to_string()).collect();
    names.sort_unstable();
    names
}

/// List users, newest first: all, or those in the groups that one manages.
#[utoipa::path(get, path = "/admin/v1/users", tag = "users", params(UserParams),
    responses((status = 200, description = "One page of users", body = List<UserView>), ReadErrors))]
pub async fn list(
    State(state): State<ControlState>,
    PeopleReader(scope): PeopleReader,
    QueryParams(params): QueryParams<UserParams>,
) -> ApiResult<Json<List<UserView>>> {
    Ok(Json(page_of(&state, &scope, &params).await?))
}

/// A page of the users whom a scope reaches, newest first.
///
/// # Errors
/// 400 for a page that cannot be, 404 for a group that is not there.
pub async fn page_of(state: &ControlState, scope: &Scope, params: &UserParams) -> ApiResult<List<UserView>> {
    let group_id = match &params.group {
        Some(named) => Some(state.accounts.group_within(scope, named).await?.id),
        None => None,
    };
    let within = scope.groups().map(<[_]>::to_vec);
    let filter = UserFilter { group_id, within, active: params.active };
    let (limit, place) = (limit(params.limit)?, place(params.cursor.as_deref())?);
    let page = UserRepo::on(&state.store).list(&filter, limit, place).await?;
    Ok(List::of(page, |user| UserView::of(&user, &state.accounts)))
}

/// Create a user. Managers create users in the groups that they manage, with limits that are not above those of the group.
#[utoipa::path(post, path = "/admin/v1/users", tag = "users", request_body = NewUserInput,
    responses((status = 201, description = "The new user", body = UserView), WriteErrors))]
pub async fn create(
    State(state): State<ControlState>,
    PeopleManager(caller): PeopleManager,
    JsonBody(input): JsonBody<NewUserInput>,
) -> ApiResult<(StatusCode, Json<UserView>)> {
    let limits = input.limits()?;
    let (role, manages) = (input.role.unwrap_or_default(), input.manages.unwrap_or_default());
    let NewUserInput { name, password, group, .. } = input;
    let new = NewUser { name, password, group, role, manages, limits };
    let user = state.accounts.create_user(&Actor::from(&caller), new).await?;
    Ok((StatusCode::CREATED, Json(UserView::of(&user, &state.accounts))))
}

/// Show a user.
#[utoipa::path(get, path = "/admin/v1/users/{id}", tag = "users", params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, description = "The user", body = UserView), ReadErrors))]
pub async fn show(
    State(state): State<ControlState>,
    PeopleReader(scope): PeopleReader,
    PathParam(named): PathParam<String>,
) -> ApiResult<Json<UserView>> {
    let user = state.accounts.user_within(&scope, &named).await?;
    Ok(Json(UserView::of(&user, &state.accounts)))
}

/// Change a user: name, group, role, limits; disable or enable. Managers change members of their groups who are no more than
/// users, but not their role; they move them between groups that they manage, and set no limit above that of the group.
#[utoipa::path(patch, path = "/admin/v1/users/{id}", tag = "users", request_body = UserChangeInput,
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, description = "The user", body = UserView), WriteErrors))]
pub async fn change(
    State(state): State<ControlState>,
    PeopleManager(caller): PeopleManager,
    PathParam(named): PathParam<String>,
    JsonBody(input): JsonBody<UserChangeInput>,
) -> ApiResult<Json<UserView>> {
    let limits = input.limits()?;
    let UserChangeInput { name, group, role, manages, active, .. } = input;
    let wanted = UserChange { name, group, role, manages, active, limits };
    let user = state.accounts.change_user(&Actor::from(&caller), &named, wanted).await?;
    Ok(Json(UserView::of(&user, &state.accounts)))
}

/// Remove a user: the API keys are revoked and the sessions end; usage stays in the books.
#[utoipa::path(delete, path = "/admin/v1/users/{id}", tag = "users",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, description = "What went with the user", body = RemovedUserView), WriteErrors))]
pub async fn remove(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    PathParam(named): PathParam<String>,
) -> ApiResult<Json<RemovedUserView>> {
    let removed = state.accounts.remove_user(&Actor::from(&admin), &named).await?;
    Ok(Json(RemovedUserView {
        id: removed.user.id.0,
        name: removed.user.name,
        keys_revoked: removed.keys,
        sessions_ended: removed.sessions,
        usage_kept: true,
    }))
}

/// Set a user's password. Every session of the user ends; API keys stay.
#[utoipa::path(post, path = "/admin/v1/users/{id}/password", tag = "users", request_body = PasswordInput,
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 204, description = "Set"), WriteErrors))]
pub async fn set_password(
    State(state): State<ControlState>,
    PeopleManager(caller): PeopleManager,
    PathParam(named): PathParam<String>,
    JsonBody(input): JsonBody<PasswordInput>,
) -> ApiResult<StatusCode> {
    state.accounts.set_password(&Actor::from(&caller), &named, input.password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End every session of a user: access and refresh tokens are refused from the next request on. API keys stay.
#[utoipa::path(post, path = "/admin/v1/users/{id}/revoke", tag = "users",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, description = "What was revoked", body = RevokedView), WriteErrors))]
pub async fn revoke(
    State(state): State<ControlState>,
    PeopleManager(caller): PeopleManager,
    PathParam(named): PathParam<String>,
) -> ApiResult<Json<RevokedView>> {
    let sessions_ended = state.accounts.revoke_sessions(&Actor::from(&caller), &named).await?;
    Ok(Json(RevokedView { sessions_ended }))
}
