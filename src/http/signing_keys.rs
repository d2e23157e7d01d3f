//! `/admin/v1/signing-keys`: the keys that access tokens are signed with, one per leader.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::accounts::{Actor, SigningKey};
use crate::domain::clock::Timestamp;
use crate::http::input::{Admin, ClusterReader, QueryParams};
use crate::http::paging::List;
use crate::http::problem::{ApiResult, ReadErrors, WriteErrors};
use crate::http::state::ControlState;

/// A key that access tokens are accepted of. The private half never leaves its node.
#[derive(Debug, Serialize, ToSchema)]
pub struct SigningKeyView {
    /// Its name in tokens, `kid`.
    id: String,
    /// SHA-256 of the public half, as OpenSSH writes it.
    fingerprint: String,
    /// The leader that signs with it, or did; null: the leader of a database before this one.
    #[schema(required)]
    node: Option<String>,
    /// When it was made; null: not known.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    created_at: Option<Timestamp>,
    /// Nobody has signed with it since; its tokens are accepted until they expire. Null: it is in use.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    retired_at: Option<Timestamp>,
}

impl From<SigningKey> for SigningKeyView {
    fn from(key: SigningKey) -> Self {
        let SigningKey { id, fingerprint, node, created_at, retired_at } = key;
        Self { id, fingerprint, node, created_at, retired_at }
    }
}

/// How a key is replaced.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct RotateParams {
    /// Refuse the tokens of this leader's earlier keys from now on: somebody has got hold of one.
    #[param(required = false)]
    at_once: bool,
}

/// List the keys that access tokens are accepted of, newest first.
#[utoipa::path(get, path = "/admin/v1/signing-keys", tag = "signing keys",
    responses((status = 200, description = "Every key", body = List<SigningKeyView>), ReadErrors))]
pub async fn list(
    State(state): State<ControlState>,
    _: ClusterReader,
) -> ApiResult<Json<List<SigningKeyView>>> {
    let keys = state.accounts.signing_keys().await?;
    Ok(Json(List::whole(keys.into_iter().map(SigningKeyView::from).collect())))
}

/// Have a leader sign with another key: the one that is asked, or that the follower which is asked follows.
///
/// Answered once it does, some two seconds later: all nodes know the new key before. Tokens of the old one are accepted
/// until they expire, unless `at_once` says otherwise; then everybody who signed in at this leader needs a new access
/// token, which a refresh token gives.
#[utoipa::path(post, path = "/admin/v1/signing-keys/rotate", tag = "signing keys", params(RotateParams),
    responses((status = 200, description = "The new key", body = SigningKeyView), WriteErrors))]
pub async fn rotate(
    State(state): State<ControlState>,
    Admin(admin): Admin,
    QueryParams(params): QueryParams<RotateParams>,
) -> ApiResult<Json<SigningKeyView>> {
    let key = state.accounts.rotate_signing_key(&Actor::from(&admin), params.at_once).await?;
    Ok(Json(key.into()))
}
