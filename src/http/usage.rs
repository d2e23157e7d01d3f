//! `/admin/v1/usage`: usage logs, in pages or all of them as a stream.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::accounts::Accounts;
use crate::domain::clock::Timestamp;
use crate::domain::ids::RequestId;
use crate::domain::permission::Scope;
use crate::domain::price::usd_text;
use crate::domain::provider::Provider;
use crate::domain::usage::{Outcome, TokenSource, UsageFilter, UsageLog, UsageRecord};
use crate::http::input::{PeopleReader, QueryParams};
use crate::http::paging::{List, limit, place};
use crate::http::problem::{ApiError, ApiResult, ReadErrors};
use crate::http::schema;
use crate::http::state::ControlState;
use crate::http::usage_attempt::AttemptView;
use crate::http::usage_price::{PartView, PriceView};
use crate::store::{Cursor, Store, UsageRepo};

/// Rows that are read and written at a time by an export: what it holds in memory.
const EXPORT_PIECE: usize = 1_000;

/// The account of one request.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageView {
    /// What is a value of its own.
    #[serde(flatten)]
    pub row: UsageRow,
    /// The model is not in the price list: it, or one of its parts, was priced by the list's default.
    pub price_default: bool,
    /// The price that was used; of a record with parts, the answer's own.
    pub price: PriceView,
    /// The steps that the provider bills one by one, where there is more than one; counts and cost are their sums.
    pub parts: Vec<PartView>,
    /// The leader refused it and an admin gave it up: it is owed no more, and no sum counts it.
    pub dismissed: bool,
    /// Attempts at targets that failed before the call was answered; what they cost is part of the cost.
    pub attempts: Vec<AttemptView>,
    /// The API that the caller spoke, where the call was converted into that of `provider`: `anthropic-messages`,
    /// `openai-responses` or `openai-chat`.
    #[schema(required)]
    pub converted_from: Option<String>,
}

/// The values of a usage log, in the order of the columns of a CSV export.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageRow {
    /// Minted by the node that served it.
    pub request_id: Uuid,
    /// Who called.
    pub user_id: Uuid,
    /// The name that the caller has now; of one that was removed, that of the time.
    pub user: String,
    /// The caller's group at the time, by the name that it has now; of one that was removed, that of the time.
    #[schema(required)]
    pub group: Option<String>,
    /// The model that was asked for.
    pub model: String,
    /// The model that answered.
    pub actual_model: String,
    /// The dialect.
    #[schema(schema_with = schema::provider)]
    pub provider: Provider,
    /// The target's name; empty when none was reached.
    pub target: String,
    /// The target's base URL.
    pub upstream_url: String,
    /// Every input token the provider charges for.
    pub input_tokens: u64,
    /// Every output token.
    pub output_tokens: u64,
    /// Both.
    pub total_tokens: u64,
    /// Part of the input: read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Part of the input: written to the provider's cache for 5 minutes.
    pub cache_write_tokens: u64,
    /// Part of the input: written to the provider's cache for 1 hour.
    pub cache_write_1h_tokens: u64,
    /// Part of the output: spent on reasoning.
    pub reasoning_tokens: u64,
    /// How good the counts are: `reported`, `estimated` or `none`.
    #[schema(value_type = String)]
    pub token_source: TokenSource,
    /// How it ended: `ok`, `upstream_error`, `upstream_cut`, `client_gone`, `refused`, …
    #[schema(value_type = String)]
    pub outcome: Outcome,
    /// Whether the answer was a stream of events.
    pub is_streaming: bool,
    /// The status that the caller saw.
    pub status_code: u16,
    /// From acceptance to the answer's end.
    pub duration_ms: u64,
    /// From acceptance to the first byte of the answer's body.
    #[schema(required)]
    pub ttfb_ms: Option<u64>,
    /// Cost in nano-USD: 1 USD is 1,000,000,000.
    pub cost_nanousd: i64,
    /// The same in USD: an exact decimal number, with 9 decimals at most.
    pub cost_usd: String,
    /// The caller's session, where the client says it.
    #[schema(required)]
    pub session_id: Option<String>,
    /// The caller's agent, where the client says it.
    #[schema(required)]
    pub agent_id: Option<String>,
    /// The caller's own id of the request, where the client says it.
    #[schema(required)]
    pub client_request_id: Option<String>,
    /// The node that served it.
    pub source_node: String,
    /// Whether the leader has it.
    pub synced: bool,
    /// When the answer ended.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl UsageView {
    /// Users and groups carry the names of today, as in statistics: after a change of name both still agree.
    pub fn of(log: UsageLog, accounts: &Accounts) -> Self {
        let UsageLog { record, synced, dismissed } = log;
        let user = accounts.user_name(record.user_id).unwrap_or_else(|| Arc::clone(&record.user));
        let group = record.group_id.and_then(|id| accounts.group_name(id)).or_else(|| record.group.clone());
        let price_default = record.is_default_priced();
        let price = PriceView::from(&*record.price);
        let parts = record.parts.iter().map(PartView::from).collect();
        let row = UsageRow {
            request_id: record.request_id.0,
            user_id: record.user_id.0,
            user: user.to_string(),
            group: group.map(|name| name.to_string()),
            model: record.model.to_string(),
            actual_model: record.actual_model.to_string(),
            provider: record.provider,
            target: record.target.to_string(),
            upstream_url: record.upstream_url.to_string(),
            input_tokens: record.tokens.input,
            output_tokens: record.tokens.output,
            total_tokens: record.tokens.total(),
            cache_read_tokens: record.tokens.cache_read,
            cache_write_tokens: record.tokens.cache_write,
            cache_write_1h_tokens: record.tokens.cache_write_1h,
            reasoning_tokens: record.tokens.reasoning,
            token_source: record.token_source,
            outcome: record.outcome,
            is_streaming: record.is_streaming,
            status_code: record.status_code,
            duration_ms: record.duration_ms,
            ttfb_ms: record.ttfb_ms,
            cost_nanousd: record.cost_nanousd,
            cost_usd: usd_text(record.cost_nanousd),
            session_id: record.session_id,
            agent_id: record.agent_id,
            client_request_id: record.client_request_id,
            source_node: record.source_node.to_string(),
            synced,
            created_at: record.created_at,
        };
        let attempts = record.attempts.into_iter().map(AttemptView::from).collect();
        Self { row, price_default, price, parts, dismissed, attempts, converted_from: record.converted_from }
    }
}

/// Which usage logs, and how.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageParams {
    /// Only this user's: a name of today, or an id, which also finds users that were removed.
    pub user: Option<String>,
    /// Only this group's, likewise.
    group: Option<String>,
    /// Only calls that asked for this model; `*` stands for anything, `?` for one character.
    model: Option<String>,
    /// Only calls that this node served.
    node: Option<String>,
    /// `errors`: only calls that ended in an error.
    #[param(pattern = "^(errors)?$")]
    status: Option<String>,
    /// Not before this moment (RFC 3339, or a UTC day).
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Rows of the page; 50 without it. An export gives every row without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]+-[0-9a-f]{32})?$")]
    cursor: Option<String>,
    /// `json`, one page and the default; or `jsonl` or `csv`, every row as a stream.
    #[param(inline)]
    format: Option<Format>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One page.
    #[default]
    Json,
    /// One object per line.
    Jsonl,
    /// A line of names, then one line per row. Texts that a spreadsheet would run get a `'` in front.
    Csv,
}

/// List usage logs, newest first: all, or those that were booked on the groups that one manages.
#[utoipa::path(get, path = "/admin/v1/usage", tag = "usage", params(UsageParams),
    responses((status = 200, description = "One page of usage logs, or every row", content((List<UsageView> = "application/json"), (String = "application/jsonl"),
        (String = "text/csv"))), ReadErrors))]
pub async fn list(
    State(state): State<ControlState>,
    PeopleReader(scope): PeopleReader,
    QueryParams(params): QueryParams<UsageParams>,
) -> ApiResult<Response> {
    answer_to(state, &scope, &params).await
}

/// Usage logs within a scope, in the form that is asked for.
///
/// # Errors
/// 400 and 404 for what cannot be asked for; what the database says.
pub async fn answer_to(state: ControlState, scope: &Scope, params: &UsageParams) -> ApiResult<Response> {
    let filter = filter(&state, scope, params).await?;
    let from = place(params.cursor.as_deref())?;
    match params.format.unwrap_or_default() {
        Format::Json => {
            let page = page_of(&state, &filter, limit(params.limit)?, params.cursor.as_deref()).await?;
            Ok(Json(page).into_response())
        }
        format => {
            let most = match params.limit {
                Some(_) => limit(params.limit)?,
                None => usize::MAX,
            };
            Ok(export(state.store, state.accounts, filter, format, from, most))
        }
    }
}

/// What a filter says by names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'n> {
    /// By name or id.
    pub user: Option<&'n str>,
    /// By name or id.
    pub group: Option<&'n str>,
    /// A glob.
    pub model: Option<&'n str>,
    pub node: Option<&'n str>,
}

/// The same by ids, of what a scope reaches.
///
/// # Errors
/// 404 for who is not there.
pub async fn filter_of(state: &ControlState, scope: &Scope, named: Named<'_>) -> ApiResult<UsageFilter> {
    let user_id = match named.user {
        None => None,
        Some(user) => match user.parse() {
            Ok(id) => Some(id),
            Err(_) => Some(state.accounts.user_within(scope, user).await?.id),
        },
    };
    let group_id = match named.group {
        None => None,
        Some(group) => match group.parse() {
            Ok(id) => Some(id),
            Err(_) => Some(state.accounts.group_within(scope, group).await?.id),
        },
    };
    let (model, node) = (named.model.map(str::to_owned), named.node.map(str::to_owned));
    let within = scope.groups().map(<[_]>::to_vec);
    Ok(UsageFilter { user_id, group_id, within, model, node, ..UsageFilter::default() })
}

async fn filter(state: &ControlState, scope: &Scope, params: &UsageParams) -> ApiResult<UsageFilter> {
    let errors = match params.status.as_deref() {
        None | Some("") => false,
        Some("errors") => true,
        Some(_) => return Err(ApiError::invalid("status has to be errors")),
    };
    let named = Named {
        user: params.user.as_deref(),
        group: params.group.as_deref(),
        model: params.model.as_deref(),
        node: params.node.as_deref(),
    };
    Ok(UsageFilter { errors, from: params.from, to: params.to, ..filter_of(state, scope, named).await? })
}

/// A page of usage logs, newest first.
///
/// # Errors
/// 400 for a cursor that no page gave; what the database says.
pub async fn page_of(
    state: &ControlState,
    filter: &UsageFilter,
    limit: usize,
    cursor: Option<&str>,
) -> ApiResult<List<UsageView>> {
    let page = UsageRepo::on(&state.store).query(filter, limit, place(cursor)?).await?;
    Ok(List::of(page, |log| UsageView::of(log, &state.accounts)))
}

/// One usage log, if `may_see` says so of its record: otherwise it is not there.
///
/// # Errors
/// 404; what the database says.
pub async fn one(
    state: &ControlState,
    id: &str,
    may_see: impl FnOnce(&UsageRecord) -> bool,
) -> ApiResult<UsageView> {
    let missing = || ApiError::not_found(format!("no such call: {id}"));
    let parsed: RequestId = id.parse().map_err(|_| missing())?;
    let log = UsageRepo::on(&state.store).get(parsed).await?;
    let log = log.filter(|log| may_see(&log.record)).ok_or_else(missing)?;
    Ok(UsageView::of(log, &state.accounts))
}

/// Every row, piece by piece, as fast as the caller reads and no faster. An error of the database cuts the answer
/// off, so that half an export is not taken for a whole one.
fn export(
    store: Store,
    accounts: Accounts,
    filter: UsageFilter,
    format: Format,
    from: Option<Cursor>,
    most: usize,
) -> Response {
    struct Rest {
        store: Store,
        accounts: Accounts,
        filter: UsageFilter,
        from: Option<Cursor>,
        left: usize,
        is_first: bool,
    }
    let start = Some(Rest { store, accounts, filter, from, left: most, is_first: true });
    let pieces = stream::try_unfold(start, move |rest| async move {
        let Some(mut rest) = rest.filter(|rest| rest.left > 0) else { return Ok(None) };
        let piece = rest.left.min(EXPORT_PIECE);
        let page =
            UsageRepo::on(&rest.store).query(&rest.filter, piece, rest.from).await.inspect_err(|error| {
                tracing::error!(%error, "an export was cut off");
            })?;
        let bytes = match format {
            Format::Csv => csv_lines(page.items, &rest.accounts, rest.is_first)?,
            Format::Json | Format::Jsonl => json_lines(page.items, &rest.accounts)?,
        };
        rest.left -= piece;
        rest.is_first = false;
        rest.from = page.next;
        let rest = rest.from.is_some().then_some(rest);
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Some((bytes, rest)))
    });
    let media_type = if format == Format::Csv { "text/csv; charset=utf-8" } else { "application/jsonl" };
    ([(header::CONTENT_TYPE, media_type)], Body::from_stream(pieces)).into_response()
}

fn json_lines(rows: Vec<UsageLog>, accounts: &Accounts) -> Result<Bytes, serde_json::Error> {
    let mut lines = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut lines, &UsageView::of(row, accounts))?;
        lines.push(b'\n');
    }
    Ok(lines.into())
}

fn csv_lines(
    rows: Vec<UsageLog>,
    accounts: &Accounts,
    with_names: bool,
) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let start = if with_names { CSV_NAMES.as_bytes().to_vec() } else { Vec::new() };
    let mut lines = csv::WriterBuilder::new().has_headers(false).from_writer(start);
    for row in rows {
        let UsageView { mut row, price_default, price, parts, dismissed, attempts, converted_from } =
            UsageView::of(row, accounts);
        for text in [&mut row.user, &mut row.model, &mut row.actual_model] {
            disarm(text);
        }
        let hints = [&mut row.group, &mut row.session_id, &mut row.agent_id, &mut row.client_request_id];
        hints.into_iter().flatten().for_each(disarm);
        let (price, parts, attempts) =
            (serde_json::to_string(&price)?, list_text(&parts)?, list_text(&attempts)?);
        lines.serialize((row, price_default, price, parts, attempts, dismissed, converted_from))?;
    }
    Ok(lines.into_inner()?.into())
}

/// A list as JSON; an empty one as nothing.
fn list_text<T: Serialize>(list: &[T]) -> serde_json::Result<String> {
    if list.is_empty() { Ok(String::new()) } else { serde_json::to_string(list) }
}

/// Callers choose these texts, and a spreadsheet runs what begins like a formula.
fn disarm(text: &mut String) {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        text.insert(0, '\'');
    }
}

/// The first line of a CSV export; price, parts and attempts are JSON.
const CSV_NAMES: &str = "request_id,user_id,user,group,model,actual_model,provider,target,upstream_url,input_tokens,\
output_tokens,total_tokens,cache_read_tokens,cache_write_tokens,cache_write_1h_tokens,reasoning_tokens,token_source,\
outcome,is_streaming,status_code,duration_ms,ttfb_ms,cost_nanousd,cost_usd,session_id,agent_id,client_request_id,source_node,\
synced,created_at,price_default,price,parts,attempts,dismissed,converted_from\n";
