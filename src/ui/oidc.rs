//! Signing in at the company's identity provider: the way there, and back.

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::html;
use serde::Deserialize;

use crate::accounts::{EndedBrowserSession, SignIn};
use crate::http::browser::{self, AskedAt, FlowCookie, SessionToken};
use crate::http::control::ControlState;
use crate::http::input::ClientAddr;
use crate::http::problem::{ApiError, ApiResult};
use crate::http::site::Site;
use crate::oidc::{Begun, Error, Oidc};
use crate::ui::sign_in::{self, redirect};
use crate::ui::{next, shell};

const CALLBACK: &str = "/auth/oidc/callback";
/// Browsers go on by themselves. (A redirect would do, if a form's policy did not forbid it to lead elsewhere.)
const REFRESH: HeaderName = HeaderName::from_static("refresh");
/// Between what was begun and where to go on, in the cookie.
const GLUE: char = '~';

#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    /// Where to go on when signed in.
    next: Option<String>,
}

/// Sends a browser to the provider.
pub async fn begin(
    State(state): State<ControlState>,
    AskedAt(site): AskedAt,
    Query(Wanted { next: wanted }): Query<Wanted>,
) -> ApiResult<Response> {
    let (oidc, wanted) = (provider(&state)?, next::own(wanted.as_deref()));
    if !browser::keeps_sessions(&site) {
        return Ok(redirect("/ui/login"));
    }
    let (url, begun) = match oidc.begin(&callback_of(&state, &site)).await {
        Ok(begun) => begun,
        Err(error) => return Ok(sign_in::refused(error.into(), &state, &site, wanted)),
    };
    let kept = format!("{}{GLUE}{}", begun.as_cookie(), URL_SAFE_NO_PAD.encode(wanted.unwrap_or_default()));
    let mut answer = redirect(&url);
    if let Some(cookie) = browser::flow_cookie(&kept, &site) {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(answer)
}

/// Signs in a browser that comes back from the provider.
pub async fn finish(
    State(state): State<ControlState>,
    ClientAddr(address): ClientAddr,
    AskedAt(site): AskedAt,
    SessionToken(before): SessionToken,
    FlowCookie(kept): FlowCookie,
    Query(answer): Query<HashMap<String, String>>,
) -> ApiResult<Response> {
    let oidc = provider(&state)?;
    let kept = kept.unwrap_or_default();
    let (begun, wanted) = kept.split_once(GLUE).unwrap_or_default();
    let wanted = URL_SAFE_NO_PAD.decode(wanted).ok().and_then(|wanted| String::from_utf8(wanted).ok());
    let wanted = next::own(wanted.as_deref());
    let finished = match Begun::of_cookie(begun) {
        Some(begun) => oidc.finish(&begun, &answer, &callback_of(&state, &site), address).await,
        None => Err(Error::Stale),
    };
    let mut answer = match finished {
        Ok(session) => {
            if let Some(before) = before {
                state.accounts.end_browser_session(&before).await?;
            }
            let mut answer = redirect(wanted.unwrap_or(next::START));
            answer
                .headers_mut()
                .extend(browser::session_cookie(&session, &site).map(|cookie| (SET_COOKIE, cookie)));
            answer
        }
        Err(error) => {
            if matches!(error, Error::Wrong(_) | Error::Unreachable(_)) {
                tracing::warn!(%error, "a sign-in at the identity provider failed");
            }
            sign_in::refused(error.into(), &state, &site, wanted)
        }
    };
    // It is good for one answer.
    if let Some(cookie) = browser::no_flow_cookie(&site) {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(answer)
}

/// The provider says that somebody has signed out there (OpenID Connect Back-Channel Logout 1.0).
pub async fn logged_out(State(state): State<ControlState>, body: axum::body::Bytes) -> Response {
    let told = match state.oidc.as_deref() {
        Some(oidc) => {
            let mut fields = url::form_urlencoded::parse(&body);
            match fields.find(|(name, _)| name == "logout_token") {
                Some((_, token)) => oidc.logged_out(&token).await,
                None => Err(Error::Wrong("there is no logout_token".to_owned())),
            }
        }
        None => Err(Error::Wrong("there is no identity provider here".to_owned())),
    };
    match told {
        Ok(()) => StatusCode::OK.into_response(),
        Err(Error::Accounts(error)) => ApiError::from(error).into_response(),
        Err(error) => {
            let said =
                serde_json::json!({"error": "invalid_request", "error_description": error.to_string()});
            (StatusCode::BAD_REQUEST, axum::Json(said)).into_response()
        }
    }
}

/// After signing out here: a page that goes on to sign out at the provider. `None`: there is nothing to go on to.
pub async fn sign_out_there(
    state: &ControlState,
    ended: Option<EndedBrowserSession>,
    site: &Site,
) -> Option<Response> {
    let ended = ended.filter(|ended| ended.how == SignIn::Oidc.as_str())?;
    let oidc = state.oidc.as_deref()?;
    let back_to = format!("{}/ui/login?done=signed-out", state.sites.public_url(site));
    let url = oidc.logout_url(ended.user, &back_to).await?;
    let refresh = HeaderValue::from_str(&format!("0; url={url}")).ok()?;
    let page = shell::bare(
        "Signed out",
        html! {
            h1 { "Signed out" }
            p { "You are signed out of this gateway. Your browser goes on to sign out of " (oidc.name()) "." }
            p { a.button href=(url) { "Sign out of " (oidc.name()) } }
        },
    );
    Some(([(REFRESH, refresh)], page).into_response())
}

fn provider(state: &ControlState) -> ApiResult<&Oidc> {
    let missing =
        || ApiError::not_found("there is no identity provider here: sign in with name and password");
    state.oidc.as_deref().ok_or_else(missing)
}

fn callback_of(state: &ControlState, site: &Site) -> String {
    format!("{}{CALLBACK}", state.sites.public_url(site))
}
