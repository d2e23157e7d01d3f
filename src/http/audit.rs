//! `/admin/v1/audit`: who changed what.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::http::input::{Admin, QueryParams};
use crate::http::paging::{List, PageParams, limit, place};
use crate::http::problem::{ApiResult, ReadErrors};
use crate::http::state::ControlState;
use crate::store::{AuditEntry, AuditRepo};

/// One change.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditView {
    /// The entry itself.
    pub id: Uuid,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who: `user NAME`, `local-admin` or `system`.
    pub actor: String,
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
        let AuditEntry { id, at, actor, action, subject, .. } = entry;
        Self { id, at, actor, action, subject, before, after }
    }
}

/// List changes, newest first.
#[utoipa::path(get, path = "/admin/v1/audit", tag = "audit", params(PageParams),
    responses((status = 200, description = "One page of changes", body = List<AuditView>), ReadErrors))]
pub async fn list(
    State(state): State<ControlState>,
    _: Admin,
    QueryParams(params): QueryParams<PageParams>,
) -> ApiResult<Json<List<AuditView>>> {
    let (limit, place) = (limit(params.limit)?, place(params.cursor.as_deref())?);
    let page = AuditRepo::on(&state.store).page(limit, place).await?;
    Ok(Json(List::of(page, AuditView::from)))
}
