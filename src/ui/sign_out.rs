//! Signing out, here and at the identity provider.

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::response::Response;

use crate::http::browser::{self, AskedAt, SessionToken};
use crate::http::control::ControlState;
use crate::http::problem::ApiResult;
use crate::ui::oidc;
use crate::ui::sign_in::redirect;

/// Signs out.
pub async fn sign_out(
    State(state): State<ControlState>,
    AskedAt(site): AskedAt,
    SessionToken(token): SessionToken,
) -> ApiResult<Response> {
    let ended = match token {
        Some(token) => state.accounts.end_browser_session(&token).await?,
        None => None,
    };
    let elsewhere = oidc::sign_out_there(&state, ended, &site).await;
    let mut answer = elsewhere.unwrap_or_else(|| redirect("/ui/login?done=signed-out"));
    if let Some(cookie) = browser::no_session_cookie(&site) {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(answer)
}
