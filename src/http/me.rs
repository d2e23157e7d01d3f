//! `/me`: everyone's own account.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::accounts::{Actor, NewKey};
use crate::domain::clock::{Moment, Timestamp};
use crate::domain::failure::{Failure, Kind};
use crate::domain::peer::Peer;
use crate::domain::principal::{Credential, Principal};
use crate::domain::usage::UsageFilter;
use crate::domain::user::Role;
use crate::http::input::{Caller, JsonBody, PathParam, QueryParams};
use crate::http::keys::{CreatedKeyView, KeyView, ReissueParams, ReissuedKeyView};
use crate::http::limits::{LimitsView, usd};
use crate::http::paging::{List, PageParams, limit, place};
use crate::http::problem::{ApiResult, ReadErrors, WriteErrors};
use crate::http::state::ControlState;
use crate::http::sums::TotalsView;
use crate::http::usage::UsageView;
use crate::quota::{Status, SubjectId};
use crate::store::{ApiKeyRepo, UsageRepo};

/// Who you are.
#[derive(Debug, Serialize, ToSchema)]
pub struct MeView {
    /// Your id; null for the local admin token, which is no user.
    #[schema(required)]
    id: Option<Uuid>,
    /// Your name.
    name: String,
    /// What you may do here.
    #[schema(value_type = String, pattern = "^(admin|auditor|manager|user)$")]
    role: Role,
    /// The groups that you manage, by name.
    manages: Vec<String>,
    /// The group whose limits you share.
    #[schema(required)]
    group: Option<String>,
    /// How you proved it: `api_key`, `access_token` or `local_admin`.
    credential: &'static str,
    /// Your own limits, beside those of the group.
    limits: LimitsView,
    /// The limits of the group; null: no group.
    #[schema(required)]
    group_limits: Option<LimitsView>,
}

/// Your usage logs, and what they add up to.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyUsageView {
    /// The sums of the whole window, whatever the page.
    totals: TotalsView,
    /// The rows, newest first.
    items: Vec<UsageView>,
    /// Ask with this as `cursor` for the next page; null: this was the last.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// What is used of your limits.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyQuotaView {
    /// Your own.
    pub user: QuotaView,
    /// Your group's, which the members share; null: no group.
    #[schema(required)]
    pub group: Option<QuotaView>,
}

/// Limits, what is used of them, and when they reset. A call is let through while what is used is below the limit.
#[derive(Debug, Serialize, ToSchema)]
pub struct QuotaView {
    /// The user or the group.
    pub name: String,
    /// The limits; null is unlimited, 0 is nothing.
    pub limits: LimitsView,
    /// What is used.
    pub used: UsedView,
    /// When the day turns (UTC).
    #[schema(value_type = String, format = DateTime)]
    pub day_resets_at: Timestamp,
    /// When the month turns (UTC).
    #[schema(value_type = String, format = DateTime)]
    pub month_resets_at: Timestamp,
    /// What is used of the USD of the month in nano-USD, and how many there are.
    #[serde(skip)]
    pub monthly_nanousd: (i64, Option<i64>),
}

/// A node that takes calls.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyNodeView {
    /// Its name.
    id: String,
    /// How clients reach it.
    addr: String,
    /// Its share of traffic relative to the others.
    weight: u32,
    /// Its sproxy version.
    version: String,
}

/// What is used.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsedView {
    /// Tokens of this UTC day, on all nodes.
    pub daily_tokens: u64,
    /// Tokens of this UTC month, on all nodes.
    pub monthly_tokens: u64,
    /// USD of this UTC month, on all nodes.
    monthly_usd: f64,
    /// Requests of the last 60 seconds on this node; 0 without such a limit.
    pub rpm: u32,
    /// Requests in flight on this node.
    pub concurrent: u32,
}

impl QuotaView {
    /// Of a user or a group.
    #[must_use]
    pub fn new(name: &str, status: &Status) -> Self {
        Self {
            name: name.to_owned(),
            limits: LimitsView::from(&status.limits),
            used: UsedView {
                daily_tokens: status.used.daily_tokens,
                monthly_tokens: status.used.monthly_tokens,
                monthly_usd: usd(status.used.monthly_nanousd),
                rpm: status.requests_last_minute,
                concurrent: status.in_flight,
            },
            day_resets_at: status.day_resets_at,
            month_resets_at: status.month_resets_at,
            monthly_nanousd: (status.used.monthly_nanousd, status.limits.monthly_nanousd),
        }
    }
}

/// Which of your usage logs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MyUsageParams {
    /// Not before this moment (RFC 3339, or a UTC day); without it, from the beginning.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this moment; without it, until now.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Rows of the page; 50 without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]+-[0-9a-f]{32})?$")]
    cursor: Option<String>,
}

/// A key to be created for yourself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MyNewKeyInput {
    /// A label for people.
    #[serde(default)]
    #[schema(max_length = 128)]
    name: Option<String>,
    /// Refused from this moment on; null: never expires.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Who am I?
#[utoipa::path(get, path = "/me", tag = "me", responses((status = 200, description = "You", body = MeView), ReadErrors))]
pub async fn show(State(state): State<ControlState>, me: Caller) -> Json<MeView> {
    let manages = me.manages.iter().filter_map(|id| state.accounts.group_name(*id));
    Json(MeView {
        id: (me.credential != Credential::LocalAdmin).then_some(me.user_id.0),
        name: me.user.to_string(),
        role: me.role,
        manages: manages.map(|name| name.to_string()).collect(),
        group: me.group.as_ref().map(|(_, name)| name.to_string()),
        credential: me.credential.kind(),
        limits: LimitsView::from(me.allowance.limits()),
        group_limits: me.group_allowance.as_ref().map(|group| LimitsView::from(group.limits())),
    })
}

/// What did I use?
#[utoipa::path(get, path = "/me/usage", tag = "me", params(MyUsageParams),
    responses((status = 200, description = "Sums, and one page of usage logs", body = MyUsageView), ReadErrors))]
pub async fn usage(
    State(state): State<ControlState>,
    me: Caller,
    QueryParams(params): QueryParams<MyUsageParams>,
) -> ApiResult<Json<MyUsageView>> {
    let me = a_user(&me)?;
    let (from, to) = (params.from.unwrap_or(Timestamp::MIN), params.to.unwrap_or(Timestamp::MAX));
    let filter =
        UsageFilter { user_id: Some(me.user_id), from: params.from, to: params.to, ..UsageFilter::default() };
    let (limit, place) = (limit(params.limit)?, place(params.cursor.as_deref())?);
    let usage = UsageRepo::on(&state.store);
    let totals = usage.sum_tokens(me.user_id, from, to).await?.into();
    let page = usage.query(&filter, limit, place).await?;
    let List { items, next_cursor } = List::of(page, |log| UsageView::of(log, &state.accounts));
    Ok(Json(MyUsageView { totals, items, next_cursor }))
}

/// What may I still use?
#[utoipa::path(get, path = "/me/quota", tag = "me", responses((status = 200, description = "Limits, and what is used of them", body = MyQuotaView), ReadErrors))]
pub async fn quota(State(state): State<ControlState>, me: Caller) -> ApiResult<Json<MyQuotaView>> {
    Ok(Json(quota_of(&state, &me)?))
}

/// What is used of somebody's limits.
///
/// # Errors
/// 403 for the local admin, who has none.
pub fn quota_of(state: &ControlState, me: &Principal) -> ApiResult<MyQuotaView> {
    let (me, now) = (a_user(me)?, Moment { at: state.clock.now(), steady: Instant::now() });
    let user = state.quota.status(SubjectId::User(me.user_id), &me.allowance, now);
    let group = me.group.as_ref().zip(me.group_allowance.as_ref()).map(|((id, name), allowance)| {
        QuotaView::new(name, &state.quota.status(SubjectId::Group(*id), allowance, now))
    });
    Ok(MyQuotaView { user: QuotaView::new(&me.user, &user), group })
}

/// Where may I call? The nodes that take traffic: alive, and not draining.
#[utoipa::path(get, path = "/me/nodes", tag = "me", responses((status = 200, description = "Every such node", body = List<MyNodeView>), ReadErrors))]
pub async fn nodes(State(state): State<ControlState>, _: Caller) -> Json<List<MyNodeView>> {
    let peers = state.cluster.peers().into_iter().filter(|peer| peer.is_active && !peer.draining);
    let view = |peer: Peer| MyNodeView {
        id: peer.id.to_string(),
        addr: peer.addr,
        weight: peer.weight,
        version: peer.version,
    };
    Json(List::whole(peers.map(view).collect()))
}

/// List my keys, newest first.
#[utoipa::path(get, path = "/me/keys", tag = "me", params(PageParams),
    responses((status = 200, description = "One page of keys", body = List<KeyView>), ReadErrors))]
pub async fn list_keys(
    State(state): State<ControlState>,
    me: Caller,
    QueryParams(params): QueryParams<PageParams>,
) -> ApiResult<Json<List<KeyView>>> {
    Ok(Json(keys_of(&state, &me, params.limit, params.cursor.as_deref()).await?))
}

/// A page of one's own keys.
///
/// # Errors
/// 400 for a page that cannot be; what the database says.
pub async fn keys_of(
    state: &ControlState,
    me: &Principal,
    rows: Option<u32>,
    cursor: Option<&str>,
) -> ApiResult<List<KeyView>> {
    let (me, limit, place) = (a_user(me)?, limit(rows)?, place(cursor)?);
    let page = ApiKeyRepo::on(&state.store).list(Some(me.user_id), None, limit, place).await?;
    Ok(List::of(page, |key| KeyView::of(&key, &state.accounts)))
}

/// Create a key for myself. The key itself is in this answer and nowhere else.
#[utoipa::path(post, path = "/me/keys", tag = "me", request_body = MyNewKeyInput,
    responses((status = 201, description = "The new key", body = CreatedKeyView), WriteErrors))]
pub async fn create_key(
    State(state): State<ControlState>,
    me: Caller,
    JsonBody(input): JsonBody<MyNewKeyInput>,
) -> ApiResult<(StatusCode, Json<CreatedKeyView>)> {
    let new = NewKey { name: input.name.unwrap_or_default(), expires_at: input.expires_at };
    Ok((StatusCode::CREATED, Json(create_key_of(&state, &me, new).await?)))
}

/// Creates a key of one's own.
///
/// # Errors
/// 400 for a label or an expiry that cannot be, 409 for one key too many.
pub async fn create_key_of(state: &ControlState, me: &Caller, new: NewKey) -> ApiResult<CreatedKeyView> {
    let user = a_user(me)?.user_id;
    let created = state.accounts.create_key(&Actor::from(me), &user.to_string(), new).await?;
    Ok(CreatedKeyView::of(&created, &state.accounts))
}

/// Revoke a key of mine: it is refused from the next request on.
#[utoipa::path(delete, path = "/me/keys/{id}", tag = "me", params(("id" = String, Path, description = "Id")),
    responses((status = 204, description = "Revoked"), WriteErrors))]
pub async fn revoke_key(
    State(state): State<ControlState>,
    me: Caller,
    PathParam(id): PathParam<String>,
) -> ApiResult<StatusCode> {
    revoke_key_of(&state, &me, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revokes a key of one's own.
///
/// # Errors
/// 404 for any other.
pub async fn revoke_key_of(state: &ControlState, me: &Caller, id: &str) -> ApiResult<()> {
    let owner = a_user(me)?.user_id;
    Ok(state.accounts.revoke_key(&Actor::from(me), id, Some(owner)).await?)
}

/// Reissue a key of mine: make another one of the same label, valid for as long as that was made for, and have the old one
/// expire after an overlap. The new key itself is in this answer and nowhere else.
#[utoipa::path(post, path = "/me/keys/{id}/reissue", tag = "me",
    params(("id" = String, Path, description = "Id"), ReissueParams),
    responses((status = 201, description = "The new key", body = ReissuedKeyView), WriteErrors))]
pub async fn reissue_key(
    State(state): State<ControlState>,
    me: Caller,
    PathParam(id): PathParam<String>,
    QueryParams(params): QueryParams<ReissueParams>,
) -> ApiResult<(StatusCode, Json<ReissuedKeyView>)> {
    let owner = Some(a_user(&me)?.user_id);
    let reissued = state.accounts.reissue_key(&Actor::from(&me), &id, params.overlap(), owner).await?;
    Ok((StatusCode::CREATED, Json(ReissuedKeyView::of(&reissued, &state.accounts))))
}

/// The local admin token belongs to nobody, so it has neither usage nor keys.
fn a_user(me: &Principal) -> Result<&Principal, Failure> {
    match me.credential {
        Credential::ApiKey(_) | Credential::AccessToken(_) | Credential::Browser(_) => Ok(me),
        Credential::LocalAdmin => Err(Failure::new(
            Kind::Forbidden,
            "the local admin token is no user: use a user's key or access token",
        )),
    }
}
