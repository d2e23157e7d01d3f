//! Who leads by promotion: a follower is made the leader here, and nodes hear of it.

use std::net::SocketAddr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use crate::accounts::Actor;
use crate::cluster::standing::{SIGNATURE, is_signed, sign};
use crate::domain::failure::{Failure, Kind};
use crate::domain::leadership::Leadership;
use crate::http::input::{Admin, ClusterReader, QueryParams};
use crate::http::problem::{ApiError, ApiResult, ReadErrors, WriteErrors};
use crate::http::state::ControlState;

/// Who leads, as this node knows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeadershipView {
    /// The node that answers.
    node: String,
    /// Whether it leads.
    leads: bool,
    /// The leader that it follows, or followed last; itself, if it leads. Null: it has met none yet.
    #[schema(required)]
    leader: Option<String>,
    /// How often leadership was taken over by promotion.
    term: u64,
    /// The promoted leader of that term. Null: nobody was ever promoted.
    #[schema(required)]
    promoted: Option<PromotedView>,
}

/// A leader that was promoted.
#[derive(Debug, Serialize, ToSchema)]
pub struct PromotedView {
    /// Its name.
    node: String,
    /// Where followers register.
    leads_at: String,
    /// The id of its books.
    ledger_id: String,
}

/// How a node is promoted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct PromoteParams {
    /// Take over although the leader was heard of a moment ago.
    #[param(required = false)]
    force: bool,
}

fn view(state: &ControlState, known: Option<Leadership>) -> LeadershipView {
    let leader = state.cluster.leader();
    LeadershipView {
        node: state.node.to_string(),
        leads: leader.as_ref() == Some(&state.node),
        leader: leader.map(|leader| leader.to_string()),
        term: known.as_ref().map_or(0, |known| known.term),
        promoted: known.map(|known| PromotedView {
            node: known.node.to_string(),
            leads_at: known.leads_at.to_string(),
            ledger_id: known.ledger.to_string(),
        }),
    }
}

/// Say who leads, as the node that is asked knows it.
#[utoipa::path(get, path = "/admin/v1/leadership", tag = "peers",
    responses((status = 200, description = "Who leads", body = LeadershipView), ReadErrors))]
pub async fn show(State(state): State<ControlState>, _: ClusterReader) -> Json<LeadershipView> {
    Json(view(&state, state.promotion.known()))
}

/// Make the node that is asked, a follower, the leader.
///
/// It begins anew in its other role once it has answered, as after a restart; users, groups, keys and limits are as it had
/// them of its leader. Every node that it knows is told, and pushes to it what it holds. The leader before, when it is back,
/// follows it and pushes what its books hold.
#[utoipa::path(post, path = "/admin/v1/promote", tag = "peers", params(PromoteParams),
    responses((status = 200, description = "What it is from now on", body = LeadershipView), WriteErrors))]
pub async fn promote(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    QueryParams(PromoteParams { force }): QueryParams<PromoteParams>,
) -> ApiResult<Json<LeadershipView>> {
    let before = state.promotion.known();
    let promoted = state.promotion.promote(force).await?;
    let of = |term: u64, leader: Option<String>| json!({ "term": term, "leader": leader });
    let was = of(before.map_or(0, |known| known.term), state.cluster.leader().map(|id| id.to_string()));
    let is = of(promoted.term, Some(promoted.node.to_string()));
    let subject = format!("peer {}", promoted.node);
    state.accounts.note(&Actor::from(&admin), "peer.promote", subject, was, is).await?;
    Ok(Json(view(&state, Some(promoted))))
}

/// A node says who was promoted, and is told who leads by what this one knows.
pub(super) async fn hear(
    State(state): State<ControlState>,
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> ApiResult<Response> {
    let secret = state.sites.callers.secret.as_deref();
    let is_believed = match secret {
        Some(secret) => {
            let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok());
            signature.is_some_and(|signature| is_signed(secret, &body, signature))
        }
        // The whole cluster is on this machine, then.
        None => caller.ip().to_canonical().is_loopback(),
    };
    if !is_believed {
        let text = "only a node of this cluster says who leads it, and signs that with cluster.secret";
        return Err(Failure::new(Kind::Unauthenticated, text).into());
    }
    let heard: Leadership =
        serde_json::from_slice(&body).map_err(|error| ApiError::invalid(format!("the body: {error}")))?;
    let known = state.promotion.learn(heard).await?;
    let answer = serde_json::to_vec(&known)
        .map_err(|error| Failure::new(Kind::Internal, format!("the answer has no JSON: {error}")))?;
    let signature = secret.map(|secret| sign(secret, &answer));
    let mut response = answer.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(Ok(signature)) = signature.map(|signature| HeaderValue::from_str(&signature)) {
        response.headers_mut().insert(SIGNATURE, signature);
    }
    Ok(response)
}
