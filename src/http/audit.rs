//! `/admin/v1/audit`: who changed what.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::http::input::{ClusterReader, QueryParams};
use crate::http::paging::{List, limit, place};
use crate::http::problem::{ApiResult, ReadErrors};
use crate::http::state::ControlState;
use crate::store::{AuditEntry, AuditFilter, AuditRepo};

/// One change.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditView {
    /// The entry itself.
    pub id: Uuid,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who: `user NAME`, `local-admin`, `scim` or `system`.
    pub actor: String,
    /// What they proved themselves with: `api_key`, `access_token`, `local_admin` or `scim_token`; null: with nothing, or an older
    /// version did not note it.
    #[schema(required)]
    pub credential: Option<String>,
    /// Where they called from; null: it is not known.
    #[schema(required)]
    pub address: Option<String>,
    /// What, such as `user.create`.
    pub action: String,
    /// To whom or what, by its name at the time.
    pub subject: String,
    /// What was there before, of what changed; null: nothing.
    #[schema(required)]
    pub before: Value,
    /// What is there since, of what changed; null: nothing.
    #[schema(required)]
    pub after: Value,
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        let mut detail: Value = serde_json::from_str(&entry.detail).unwrap_or(Value::Null);
        let mut take = |field: &str| detail.get_mut(field).map(Value::take).unwrap_or_default();
        let (before, after) = (take("before"), take("after"));
        let AuditEntry { id, at, actor, credential, address, action, subject, .. } = entry;
        Self { id, at, actor, credential, address, action, subject, before, after }
    }
}

/// Which changes.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditParams {
    /// Only by this actor: `user NAME`, or the name alone; `local-admin`; `scim`; `system`. `*` stands for anything, `?` for one
    /// character.
    actor: Option<String>,
    /// Only these, such as `user.create` or `key.*`.
    action: Option<String>,
    /// Only what was done to this: `user NAME`, `group NAME`, `key PREFIX`, or the name alone; `*` and `?` likewise.
    subject: Option<String>,
    /// Not before this moment (RFC 3339, or a UTC day).
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Rows of the page; 50 without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]+-[0-9a-f]{32})?$")]
    cursor: Option<String>,
}

/// List changes, newest first.
#[utoipa::path(get, path = "/admin/v1/audit", tag = "audit", params(AuditParams),
    responses((status = 200, description = "One page of changes", body = List<AuditView>), ReadErrors))]
pub async fn list(
    State(state): State<ControlState>,
    _: ClusterReader,
    QueryParams(params): QueryParams<AuditParams>,
) -> ApiResult<Json<List<AuditView>>> {
    let (limit, place) = (limit(params.limit)?, place(params.cursor.as_deref())?);
    let AuditParams { actor, action, subject, from, to, .. } = params;
    let filter = AuditFilter { actor, action, subject, from, to };
    let page = AuditRepo::on(&state.store).page(&filter, limit, place).await?;
    Ok(Json(List::of(page, AuditView::from)))
}
