//! `/admin/v1/alerts`: who is told of what happens to this node and, by a leader, to the cluster.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::accounts::Actor;
use crate::alerts::{ReceiverView, Tested};
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, Kind};
use crate::http::input::{Admin, Caller, ClusterReader, JsonBody, QueryParams};
use crate::http::paging::{List, limit, place};
use crate::http::problem::{ApiError, ApiResult, ReadErrors, WriteErrors};
use crate::http::state::ControlState;
use crate::store::{AlertRepo, AlertRow};

/// A receiver. Never its URL beyond the host, which is a credential at most services, nor its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlertReceiverView {
    /// Its name.
    pub name: String,
    /// The host of its URL.
    pub host: String,
    /// `json`, `slack` or `teams`.
    pub format: &'static str,
    /// What it is told.
    pub events: Vec<String>,
    /// Whether what it is sent is signed.
    pub signed: bool,
    /// Events that it is still to be told.
    pub waiting: u64,
    /// When it was last told one.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub last_delivery_at: Option<Timestamp>,
    /// When an event for it was last given up.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub last_given_up_at: Option<Timestamp>,
    /// Tries of this node that failed since the last that did not, and since the node started.
    pub failures: u32,
    /// Why the last of these failed.
    #[schema(required)]
    pub last_error: Option<String>,
    /// When it did.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub last_error_at: Option<Timestamp>,
    /// Nothing is sent to it until then; `null`: what waits is sent.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub next_try_at: Option<Timestamp>,
}

/// An event, and what became of it at one receiver.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlertEventView {
    /// The event: the `id` in what is sent, and its `x-sproxy-delivery`.
    pub id: Uuid,
    /// Who was, or is to be, told.
    pub receiver: String,
    /// Such as `quota.spent`.
    pub event: String,
    /// Whom or what it is about.
    pub subject: String,
    /// Its line for people.
    pub title: String,
    /// The node that raised it.
    pub node: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// `waiting`, `delivered` or `given_up`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When that ended.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub done_at: Option<Timestamp>,
    /// The status of the last answer.
    #[schema(required)]
    pub status: Option<u16>,
    /// Why the last try failed.
    #[schema(required)]
    pub error: Option<String>,
}

/// Which events, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AlertEventsParams {
    /// `cluster`: what is about the cluster, where leaders share a database and a node has another of its own. Elsewhere
    /// there is one list.
    #[param(pattern = "^(node|cluster)?$")]
    of: Option<String>,
    /// Rows of the page; 50 without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]+-[0-9a-f]{32})?$")]
    cursor: Option<String>,
}

/// Who is to be sent a test event.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertTest {
    /// One receiver; without it, all.
    #[serde(default)]
    name: Option<String>,
}

/// What came of a test event at one receiver.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlertTestResult {
    /// Its name.
    pub name: String,
    /// The host of its URL.
    host: String,
    /// Whether it has the event.
    pub delivered: bool,
    /// The status of its answer.
    #[schema(required)]
    status: Option<u16>,
    /// How long it took.
    duration_ms: u64,
    /// Why it failed.
    #[schema(required)]
    pub error: Option<String>,
}

impl From<ReceiverView> for AlertReceiverView {
    fn from(receiver: ReceiverView) -> Self {
        Self {
            name: receiver.name,
            host: receiver.host,
            format: receiver.format,
            events: receiver.events.iter().map(ToString::to_string).collect(),
            signed: receiver.is_signed,
            waiting: receiver.waiting,
            last_delivery_at: receiver.last_delivery_at,
            last_given_up_at: receiver.last_given_up_at,
            failures: receiver.failures,
            last_error: receiver.last_error,
            last_error_at: receiver.last_error_at,
            next_try_at: receiver.next_try_at,
        }
    }
}

impl From<AlertRow> for AlertEventView {
    fn from(row: AlertRow) -> Self {
        let body: Value = serde_json::from_str(&row.body).unwrap_or_default();
        let (done_at, outcome) = row.ended.map(|end| (end.at, end.outcome)).unzip();
        Self {
            id: row.event,
            receiver: row.receiver,
            event: row.kind,
            subject: row.subject,
            title: body.get("title").and_then(Value::as_str).unwrap_or_default().to_owned(),
            node: row.node,
            created_at: row.created_at,
            state: outcome.unwrap_or_else(|| "waiting".to_owned()),
            attempts: row.attempts,
            done_at,
            status: row.status,
            error: row.error,
        }
    }
}

impl From<Tested> for AlertTestResult {
    fn from(tested: Tested) -> Self {
        let attempt = tested.attempt;
        Self {
            name: tested.name,
            host: tested.host,
            delivered: attempt.error.is_none(),
            status: attempt.status,
            duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
            error: attempt.error,
        }
    }
}

/// List this node's receivers of alerts, in the order of the configuration.
#[utoipa::path(get, path = "/admin/v1/alerts", tag = "alerts",
    responses((status = 200, description = "Every receiver of this node", body = List<AlertReceiverView>), ReadErrors))]
pub async fn list(
    State(state): State<ControlState>,
    _: ClusterReader,
) -> ApiResult<Json<List<AlertReceiverView>>> {
    let receivers = state.alerts.receivers().await?;
    Ok(Json(List::whole(receivers.into_iter().map(Into::into).collect())))
}

/// List what was raised, once for each receiver, newest first: of this node, or of the cluster.
#[utoipa::path(get, path = "/admin/v1/alerts/events", tag = "alerts", params(AlertEventsParams),
    responses((status = 200, description = "One page of events", body = List<AlertEventView>), ReadErrors))]
pub async fn events(
    State(state): State<ControlState>,
    _: ClusterReader,
    QueryParams(params): QueryParams<AlertEventsParams>,
) -> ApiResult<Json<List<AlertEventView>>> {
    let (limit, place) = (limit(params.limit)?, place(params.cursor.as_deref())?);
    let is_of_cluster = match params.of.as_deref() {
        None | Some("" | "node") => false,
        Some("cluster") => true,
        Some(_) => return Err(ApiError::invalid("of has to be node or cluster")),
    };
    let page = AlertRepo::on(state.alerts.store_of(is_of_cluster)).page(limit, place).await?;
    Ok(Json(List::of(page, AlertEventView::from)))
}

/// Send a test event to all receivers of this node, or to one, and say what came of it.
#[utoipa::path(post, path = "/admin/v1/alerts/test", tag = "alerts", request_body = AlertTest,
    responses((status = 200, description = "What came of it at each receiver", body = List<AlertTestResult>), WriteErrors))]
pub async fn test(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    JsonBody(asked): JsonBody<AlertTest>,
) -> ApiResult<Json<List<AlertTestResult>>> {
    Ok(Json(List::whole(send_tests(&state, &admin, asked.name.as_deref()).await?)))
}

/// Sends a test event to all receivers of this node, or to one: for the API and for pages alike.
///
/// # Errors
/// 404 and 409 when there is nobody to send it to; the database's.
pub async fn send_tests(
    state: &ControlState,
    admin: &Caller,
    name: Option<&str>,
) -> ApiResult<Vec<AlertTestResult>> {
    let tested = state.alerts.test(name).await;
    if tested.is_empty() {
        return Err(match name {
            Some(name) => {
                ApiError::not_found(format!("no such receiver of alerts on {}: {name}", state.node))
            }
            None => Failure::new(
                Kind::Conflict,
                format!("{} has no receiver of alerts: write [[alerts]] into its sproxy.toml", state.node),
            )
            .into(),
        });
    }
    let results: Vec<AlertTestResult> = tested.into_iter().map(Into::into).collect();
    let after = json!(
        results.iter().map(|one| json!({"name": one.name, "delivered": one.delivered})).collect::<Vec<_>>()
    );
    let subject = format!("alerts of {}", state.node);
    state.accounts.note(&Actor::from(admin), "alert.test", subject, json!(null), after).await?;
    Ok(results)
}
