//! `/auth`: a password for two tokens, a refresh token for the next two, and their end.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::{Error, Session};
use crate::domain::failure::{Failure, Kind};
use crate::http::callers::{RELAYED, SESSION_ENDED};
use crate::http::input::{ClientAddr, JsonBody};
use crate::http::problem::{ApiResult, AuthErrors};
use crate::http::state::ControlState;

/// How long an idempotency key may be: long enough not to be guessed.
const KEY_CHARS: std::ops::RangeInclusive<usize> = 22..=128;

/// A name and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginInput {
    /// The user's name.
    #[schema(max_length = 128)]
    username: String,
    /// The user's password.
    #[schema(max_length = 256)]
    password: String,
}

/// A refresh token, to be continued.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshInput {
    /// Good for one use.
    refresh_token: String,
    /// A random text of your own. With it, the same call may be repeated when its answer was lost, until a refresh token of
    /// one of its answers has been used.
    #[serde(default)]
    #[schema(min_length = 22, max_length = 128)]
    idempotency_key: Option<String>,
}

/// A refresh token whose session is to end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogoutInput {
    refresh_token: String,
}

/// The tokens of a session (RFC 6749, section 5.1).
#[derive(Serialize, ToSchema)]
pub struct SessionView {
    /// For `authorization: Bearer`, here and on the data plane.
    access_token: String,
    /// For `/auth/refresh`, once: using it a second time ends the session.
    refresh_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u64,
}

impl std::convert::From<Session> for SessionView {
    fn from(session: Session) -> Self {
        Self {
            access_token: session.access_token,
            refresh_token: session.refresh_token,
            token_type: "Bearer",
            expires_in: session.expires_in.as_secs(),
        }
    }
}

/// Begin a session.
///
/// Failures are limited: after five, a name has to wait before its next attempt from the same address, twice as long
/// every time, at most five minutes; an address with a hundred failures in ten minutes gets one attempt per name. Both
/// are answered with 429 and `retry-after`; 503 means that more passwords wait to be checked than this node takes on, of
/// this address or of all.
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = LoginInput, security(()),
    responses((status = 200, description = "The session", body = SessionView), AuthErrors))]
pub async fn login(
    State(state): State<ControlState>,
    ClientAddr(address): ClientAddr,
    JsonBody(input): JsonBody<LoginInput>,
) -> ApiResult<Json<SessionView>> {
    let session = state.accounts.login(&input.username, input.password, address).await?;
    Ok(Json(session.into()))
}

/// Continue a session: two new tokens for a refresh token, which is spent.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", request_body = RefreshInput, security(()),
    responses((status = 200, description = "The session", body = SessionView), AuthErrors))]
pub async fn refresh(
    State(state): State<ControlState>,
    JsonBody(input): JsonBody<RefreshInput>,
) -> ApiResult<Json<SessionView>> {
    check_at_provider(&state, &input.refresh_token).await?;
    let session = match input.idempotency_key.as_deref() {
        None => state.accounts.refresh(&input.refresh_token).await?,
        Some(key) if KEY_CHARS.contains(&key.len()) => {
            state.accounts.refresh_idempotently(&input.refresh_token, key).await?
        }
        Some(_) => {
            let text = "idempotency_key has to be a random text of 22 to 128 characters";
            return Err(Failure::new(Kind::Invalid, text).into());
        }
    };
    Ok(Json(session.into()))
}

/// Before a session goes on, whoever let its user in is asked whether they still would: an identity provider, or a directory.
pub async fn check_at_provider(state: &ControlState, refresh_token: &str) -> Result<(), Error> {
    if state.oidc.is_none() && state.ldap.is_none() {
        return Ok(());
    }
    let Some(user) = state.accounts.user_of_refresh_token(refresh_token).await? else { return Ok(()) };
    if let Some(oidc) = &state.oidc {
        oidc.check(user).await;
    }
    if let Some(ldap) = &state.ldap {
        ldap.check(&state.accounts, user).await;
    }
    Ok(())
}

/// End a session: its refresh token is refused, and its access tokens, on every node that is in touch with its leader
/// within a moment.
#[utoipa::path(post, path = "/auth/logout", tag = "auth", request_body = LogoutInput, security(()),
    responses((status = 204, description = "Ended, or over before"), AuthErrors))]
pub async fn logout(
    State(state): State<ControlState>,
    headers: HeaderMap,
    JsonBody(input): JsonBody<LogoutInput>,
) -> ApiResult<Response> {
    let session = state.accounts.logout(&input.refresh_token).await?;
    let mut answer = StatusCode::NO_CONTENT.into_response();
    let told = session.filter(|_| headers.contains_key(RELAYED));
    if let Some(name) = told.and_then(|session| HeaderValue::from_str(&session.to_string()).ok()) {
        answer.headers_mut().insert(SESSION_ENDED, name);
    }
    Ok(answer)
}
