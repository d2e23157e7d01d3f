//! `/admin/v1/users/import`: many people at once, from a file.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::accounts::{Actor, ImportOptions, ImportOutcome, Imported, ImportedRow};
use crate::http::input::{Admin, FileBody, QueryParams};
use crate::http::people_csv;
use crate::http::problem::{ApiError, ApiResult, WriteErrors};
use crate::http::state::ControlState;

/// The most refused rows that a refusal names; a dry run names all.
const NAMED_MAX: usize = 20;

/// How a file is imported.
#[allow(clippy::struct_excessive_bools, reason = "each is a parameter of its own")]
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ImportParams {
    /// Only say what would happen, row by row.
    #[param(required = false)]
    dry_run: bool,
    /// Make groups that do not exist, without limits. Otherwise rows that name one are refused.
    #[param(required = false)]
    create_groups: bool,
    /// Make a key for everybody who is new: it is in this answer and nowhere else.
    #[param(required = false)]
    keys: bool,
    /// Make a password for everybody who is new, at most 100: it is in this answer and nowhere else.
    #[param(required = false)]
    passwords: bool,
}

/// What became of a file, or would.
#[derive(Serialize, ToSchema)]
pub struct ImportView {
    /// Nothing was changed: that was not asked for.
    dry_run: bool,
    /// Users who are new.
    created: usize,
    /// Users who were there and are changed.
    changed: usize,
    /// Users who are as the file says.
    unchanged: usize,
    /// Rows because of which nothing would be changed.
    refused: usize,
    /// Names of groups that are made.
    groups_created: Vec<String>,
    /// Every row of the file that is not empty, in its order.
    rows: Vec<ImportRowView>,
}

/// What becomes of a row.
#[derive(Serialize, ToSchema)]
pub struct ImportRowView {
    /// The line of the file, from 1 on.
    line: u64,
    /// The user's name.
    name: String,
    /// `created`, `changed`, `unchanged` or `refused`.
    #[schema(pattern = "^(created|changed|unchanged|refused)$")]
    outcome: &'static str,
    /// Why it is refused.
    #[schema(required)]
    reason: Option<String>,
    /// What was there before, of what changes; null: nothing.
    #[schema(required)]
    before: Value,
    /// What is there then, of what changes; null: nothing.
    #[schema(required)]
    after: Value,
    /// The new user's key, if keys are made: shown this once and kept nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The new user's password, if passwords are made: shown this once and kept nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

impl From<ImportedRow> for ImportRowView {
    fn from(row: ImportedRow) -> Self {
        let ImportedRow { line, name, outcome, before, after, key, password } = row;
        let (outcome, reason) = match outcome {
            ImportOutcome::Created => ("created", None),
            ImportOutcome::Changed => ("changed", None),
            ImportOutcome::Unchanged => ("unchanged", None),
            ImportOutcome::Refused(reason) => ("refused", Some(reason)),
        };
        Self { line, name, outcome, reason, before, after, key, password }
    }
}

impl ImportView {
    fn of(imported: Imported) -> Self {
        let rows: Vec<ImportRowView> = imported.rows.into_iter().map(Into::into).collect();
        let count = |outcome: &str| rows.iter().filter(|row| row.outcome == outcome).count();
        Self {
            dry_run: !imported.applied,
            created: count("created"),
            changed: count("changed"),
            unchanged: count("unchanged"),
            refused: count("refused"),
            groups_created: imported.groups,
            rows,
        }
    }

    /// Why nothing was changed, for people.
    fn refusal(&self) -> String {
        let mut text =
            format!("{} of {} rows are refused and nothing was changed", self.refused, self.rows.len());
        let refused = self.rows.iter().filter_map(|row| Some((row, row.reason.as_ref()?)));
        for (row, reason) in refused.take(NAMED_MAX) {
            let _infallible = write!(text, "; line {} ({}): {reason}", row.line, row.name);
        }
        if self.refused > NAMED_MAX {
            let _infallible = write!(text, "; and {} more", self.refused - NAMED_MAX);
        }
        text
    }
}

/// Create and change many users from a CSV file, all or nothing: rows whose `name` is there are changed, the others are
/// created. At most 2,000 rows.
///
/// The first line names the columns: `name`, and of `group`, `role`, `manages`, `active`, `daily_tokens`, `monthly_tokens`,
/// `rpm`, `monthly_usd`, `concurrent`, `max_tokens` and `models` those that are wanted. An empty cell leaves what is there;
/// `none` takes it away. Lists have commas between. Columns are separated by commas, semicolons or tabs. Imported once more,
/// the same file changes nothing.
#[utoipa::path(post, path = "/admin/v1/users/import", tag = "users", params(ImportParams),
    request_body(content = String, content_type = "text/csv", description = "The file, UTF-8, at most 1 MiB"),
    responses((status = 200, description = "What becomes of each row", body = ImportView), WriteErrors))]
pub async fn import(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    QueryParams(params): QueryParams<ImportParams>,
    FileBody(file): FileBody,
) -> ApiResult<Json<ImportView>> {
    let rows = people_csv::read(&file)?;
    let ImportParams { dry_run, create_groups, keys, passwords } = params;
    let options = ImportOptions { dry_run, create_groups, keys, passwords };
    let imported = state.accounts.import_users(&Actor::from(&admin), &rows, options).await?;
    let view = ImportView::of(imported);
    if view.refused > 0 && !dry_run {
        return Err(ApiError::invalid(view.refusal()));
    }
    Ok(Json(view))
}
