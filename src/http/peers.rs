//! `/admin/v1/peers`: the nodes of the cluster.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::accounts::Actor;
use crate::domain::clock::Timestamp;
use crate::domain::ids::NodeId;
use crate::domain::peer::Peer;
use crate::http::input::{Admin, Caller, ClusterReader, PathParam};
use crate::http::paging::List;
use crate::http::problem::{ApiError, ApiResult, ReadErrors, WriteErrors};
use crate::http::state::ControlState;

/// A node as the registry knows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PeerView {
    /// Its name.
    pub id: String,
    /// How clients reach it.
    pub addr: String,
    /// Whether it leads. Leaders that share a database are several.
    pub role: PeerRole,
    /// The node that answers is a follower, and this is the leader that it follows.
    pub followed: bool,
    /// How other nodes reach it as one of several leaders.
    #[schema(required)]
    pub leads_at: Option<String>,
    /// Its share of traffic relative to the others.
    pub weight: u32,
    /// Heard of within three heartbeats, and has not left.
    pub is_active: bool,
    /// Should get no new traffic: an admin has drained it, or it is leaving.
    pub draining: bool,
    /// When it first registered.
    #[schema(value_type = String, format = DateTime)]
    pub registered_at: Timestamp,
    /// When it was last heard of.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub last_seen: Option<Timestamp>,
    /// Usage logs it still owes, by its own word.
    pub unsynced: u64,
    /// Up to here it owes nothing.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub synced_through: Option<Timestamp>,
    /// Its sproxy version.
    pub version: String,
}

/// What a node is in the cluster.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PeerRole {
    Leader,
    Follower,
}

impl PeerView {
    /// Whether it leads, in a word.
    #[must_use]
    pub fn role_word(&self) -> &'static str {
        match self.role {
            PeerRole::Leader => "leader",
            PeerRole::Follower => "follower",
        }
    }

    fn of(peer: Peer, state: &ControlState) -> Self {
        let is_present_leader = state.cluster.leader().is_some_and(|leader| leader == peer.id);
        let leads = is_present_leader || peer.leads_at.is_some();
        Self {
            followed: is_present_leader && peer.id != state.node,
            id: peer.id.to_string(),
            addr: peer.addr,
            role: if leads { PeerRole::Leader } else { PeerRole::Follower },
            leads_at: peer.leads_at,
            weight: peer.weight,
            is_active: peer.is_active,
            draining: peer.draining,
            registered_at: peer.registered_at,
            last_seen: peer.last_seen,
            unsynced: peer.unsynced,
            synced_through: peer.synced_through,
            version: peer.version,
        }
    }
}

/// List the nodes of the cluster.
#[utoipa::path(get, path = "/admin/v1/peers", tag = "peers",
    responses((status = 200, description = "Every node", body = List<PeerView>), ReadErrors))]
pub async fn list(State(state): State<ControlState>, _: ClusterReader) -> ApiResult<Json<List<PeerView>>> {
    Ok(Json(List::whole(all(&state))))
}

/// Every node of the cluster.
#[must_use]
pub fn all(state: &ControlState) -> Vec<PeerView> {
    state.cluster.peers().into_iter().map(|peer| PeerView::of(peer, state)).collect()
}

/// Take a node out of traffic until it is undrained, restarts included: its `/readyz` says 503, and what still comes is served.
#[utoipa::path(post, path = "/admin/v1/peers/{id}/drain", tag = "peers",
    params(("id" = String, Path, description = "The node's id")),
    responses((status = 200, description = "The node", body = PeerView), WriteErrors))]
pub async fn drain(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    PathParam(id): PathParam<String>,
) -> ApiResult<Json<PeerView>> {
    set_draining(&state, &admin, &id, true).await
}

/// Give a node traffic again.
#[utoipa::path(post, path = "/admin/v1/peers/{id}/undrain", tag = "peers",
    params(("id" = String, Path, description = "The node's id")),
    responses((status = 200, description = "The node", body = PeerView), WriteErrors))]
pub async fn undrain(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    PathParam(id): PathParam<String>,
) -> ApiResult<Json<PeerView>> {
    set_draining(&state, &admin, &id, false).await
}

/// Forget a node that is gone. Its usage stays in the books; if it comes back, it registers again. Access tokens that it has
/// signed are accepted until they expire, and none that it signs from now on.
#[utoipa::path(delete, path = "/admin/v1/peers/{id}", tag = "peers",
    params(("id" = String, Path, description = "The node's id")),
    responses((status = 204, description = "Forgotten"), WriteErrors))]
pub async fn forget(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    PathParam(id): PathParam<String>,
) -> ApiResult<StatusCode> {
    forget_one(&state, &admin, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a node.
///
/// # Errors
/// 404; what the cluster says.
pub async fn forget_one(state: &ControlState, admin: &Caller, id: &str) -> ApiResult<()> {
    let id = parse(id)?;
    state.cluster.forget(&id).await?;
    state.accounts.retire_signing_keys_of(&id).await?;
    let subject = format!("peer {id}");
    let (before, after) = (json!({"id": id}), json!(null));
    state.accounts.note(&Actor::from(admin), "peer.forget", subject, before, after).await?;
    Ok(())
}

/// Takes a node out of traffic, or gives it traffic again.
///
/// # Errors
/// 404; what the database says.
pub async fn set_draining(
    state: &ControlState,
    admin: &Caller,
    id: &str,
    draining: bool,
) -> ApiResult<Json<PeerView>> {
    let id = parse(id)?;
    let peer = state.cluster.drain(&id, draining).await?;
    let action = if draining { "peer.drain" } else { "peer.undrain" };
    let (before, after) = (json!(null), json!({"draining": draining}));
    state.accounts.note(&Actor::from(admin), action, format!("peer {id}"), before, after).await?;
    Ok(Json(PeerView::of(peer, state)))
}

fn parse(id: &str) -> ApiResult<NodeId> {
    id.parse().map_err(|_| ApiError::not_found(format!("no such peer: {id}")))
}
