//! `/admin/v1/keys`: everybody's API keys.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::accounts::{Accounts, Actor, CreatedKey, NewKey, ReissuedKey};
use crate::domain::clock::Timestamp;
use crate::domain::user::ApiKey;
use crate::http::input::{JsonBody, PathParam, PeopleManager, PeopleReader, QueryParams};
use crate::http::paging::{List, limit, place};
use crate::http::problem::{ApiResult, ReadErrors, WriteErrors};
use crate::http::state::ControlState;
use crate::store::ApiKeyRepo;

/// An API key as it is kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyView {
    /// Never changes.
    pub id: Uuid,
    /// A label for people.
    pub name: String,
    /// Whose key it is.
    pub user: String,
    /// The first characters of the key, enough to recognise it.
    pub prefix: String,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last used, to within a minute or two.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub last_used_at: Option<Timestamp>,
    /// Refused from this moment on; null: never expires.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub expires_at: Option<Timestamp>,
}

impl KeyView {
    /// A key as the API shows it.
    #[must_use]
    pub fn of(key: &ApiKey, accounts: &Accounts) -> Self {
        let user = accounts.user_name(key.user_id).map(|name| name.to_string()).unwrap_or_default();
        Self {
            id: key.id.0,
            name: key.name.clone(),
            user,
            prefix: key.prefix.clone(),
            created_at: key.created_at,
            last_used_at: key.last_used_at,
            expires_at: key.expires_at,
        }
    }
}

/// A key that was just created.
#[derive(Serialize, ToSchema)]
pub struct CreatedKeyView {
    /// The key itself: shown this once and kept nowhere.
    pub key: String,
    /// What is kept of it.
    #[serde(flatten)]
    kept: KeyView,
}

impl CreatedKeyView {
    /// A new key as the API shows it, once.
    #[must_use]
    pub fn of(created: &CreatedKey, accounts: &Accounts) -> Self {
        Self { key: created.text.clone(), kept: KeyView::of(&created.key, accounts) }
    }
}

/// A key that takes the place of another one.
#[derive(Serialize, ToSchema)]
pub struct ReissuedKeyView {
    /// The new key.
    #[serde(flatten)]
    new: CreatedKeyView,
    /// The old one: when it is refused from is its `expires_at`.
    replaces: KeyView,
}

impl ReissuedKeyView {
    /// Both keys as the API shows them.
    #[must_use]
    pub fn of(reissued: &ReissuedKey, accounts: &Accounts) -> Self {
        Self {
            new: CreatedKeyView::of(&reissued.new, accounts),
            replaces: KeyView::of(&reissued.old, accounts),
        }
    }
}

/// How a key is reissued.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReissueParams {
    /// For how long the old key works besides the new one, in seconds; a day without it, 0: not at all. It is refused before
    /// if it would have expired by then.
    #[param(minimum = 0, maximum = 2_592_000)]
    overlap_seconds: Option<u64>,
}

impl ReissueParams {
    /// For how long both keys work.
    pub fn overlap(&self) -> Duration {
        self.overlap_seconds.map_or(Duration::from_hours(24), Duration::from_secs)
    }
}

/// A key to be created for somebody.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKeyInput {
    /// Whose key it will be, by id or name.
    user: String,
    /// A label for people.
    #[serde(default)]
    #[schema(max_length = 128)]
    name: Option<String>,
    /// Refused from this moment on; null: never expires.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Which keys.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KeyParams {
    /// Only this user's, by id or name.
    user: Option<String>,
    /// Rows of the page; 50 without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]+-[0-9a-f]{32})?$")]
    cursor: Option<String>,
}

/// List keys, newest first: everybody's, or those of members of the groups that one manages.
#[utoipa::path(get, path = "/admin/v1/keys", tag = "keys", params(KeyParams),
    responses((status = 200, description = "One page of keys", body = List<KeyView>), ReadErrors))]
pub async fn list(
    State(state): State<ControlState>,
    PeopleReader(scope): PeopleReader,
    QueryParams(params): QueryParams<KeyParams>,
) -> ApiResult<Json<List<KeyView>>> {
    let user = match &params.user {
        Some(named) => Some(state.accounts.user_within(&scope, named).await?.id),
        None => None,
    };
    let (limit, place) = (limit(params.limit)?, place(params.cursor.as_deref())?);
    let page = ApiKeyRepo::on(&state.store).list(user, scope.groups(), limit, place).await?;
    Ok(Json(List::of(page, |key| KeyView::of(&key, &state.accounts))))
}

/// Create a key for a user. The key itself is in this answer and nowhere else.
#[utoipa::path(post, path = "/admin/v1/keys", tag = "keys", request_body = NewKeyInput,
    responses((status = 201, description = "The new key", body = CreatedKeyView), WriteErrors))]
pub async fn create(
    State(state): State<ControlState>,
    PeopleManager(caller): PeopleManager,
    JsonBody(input): JsonBody<NewKeyInput>,
) -> ApiResult<(StatusCode, Json<CreatedKeyView>)> {
    let new = NewKey { name: input.name.unwrap_or_default(), expires_at: input.expires_at };
    let created = state.accounts.create_key(&Actor::from(&caller), &input.user, new).await?;
    Ok((StatusCode::CREATED, Json(CreatedKeyView::of(&created, &state.accounts))))
}

/// Revoke a key: it is refused from the next request on.
#[utoipa::path(delete, path = "/admin/v1/keys/{id}", tag = "keys", params(("id" = String, Path, description = "Id")),
    responses((status = 204, description = "Revoked"), WriteErrors))]
pub async fn revoke(
    State(state): State<ControlState>,
    PeopleManager(caller): PeopleManager,
    PathParam(id): PathParam<String>,
) -> ApiResult<StatusCode> {
    state.accounts.revoke_key(&Actor::from(&caller), &id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reissue a key: make another one of the same user and label, valid for as long as that was made for, and have the old one
/// expire after an overlap. The new key itself is in this answer and nowhere else.
#[utoipa::path(post, path = "/admin/v1/keys/{id}/reissue", tag = "keys",
    params(("id" = String, Path, description = "Id"), ReissueParams),
    responses((status = 201, description = "The new key", body = ReissuedKeyView), WriteErrors))]
pub async fn reissue(
    State(state): State<ControlState>,
    PeopleManager(caller): PeopleManager,
    PathParam(id): PathParam<String>,
    QueryParams(params): QueryParams<ReissueParams>,
) -> ApiResult<(StatusCode, Json<ReissuedKeyView>)> {
    let reissued = state.accounts.reissue_key(&Actor::from(&caller), &id, params.overlap(), None).await?;
    Ok((StatusCode::CREATED, Json(ReissuedKeyView::of(&reissued, &state.accounts))))
}
