//! Browsers: who is signed in, by which cookie, and which pages may change anything.
//!
//! The cookie is looked for by the extractors of this file and by nothing else, so that what takes none of them takes no
//! cookie: not the data plane, and not the API for programs.

use std::time::Duration;

use axum::extract::{FromRequestParts, OptionalFromRequestParts, Request, State};
use axum::http::header::{COOKIE, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::accounts::{BROWSER_SESSION_MAX, NewBrowserSession};
use crate::domain::failure::{Failure, Kind};
use crate::http::input::Caller;
use crate::http::problem::ApiError;
use crate::http::site::{SEC_FETCH_SITE, Site};
use crate::http::state::ControlState;

/// What a cookie is called.
struct Names {
    /// Browsers take a cookie of this name only over TLS, for this very host and all of its paths.
    secure: &'static str,
    /// Over plain HTTP on the loopback, where browsers do not take the other everywhere.
    plain: &'static str,
}

/// Who is signed in.
const SESSION: Names = Names { secure: "__Host-sproxy", plain: "sproxy" };
/// What a browser that has gone to the identity provider has to bring back.
const FLOW: Names = Names { secure: "__Host-sproxy-oidc", plain: "sproxy-oidc" };
/// How long somebody may take to sign in there.
const FLOW_MAX: Duration = Duration::from_mins(15);

/// Who is signed in at the browser that asks.
pub struct SignedIn(pub Caller);

/// The token in the cookie of the browser that asks, whatever it is worth.
pub struct SessionToken(pub Option<String>);

/// What the browser that asks was given to bring back from the identity provider.
pub struct FlowCookie(pub Option<String>);

/// Where the browser that asks sees this cluster.
pub struct AskedAt(pub Site);

impl FromRequestParts<ControlState> for AskedAt {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        Ok(Self(state.sites.of(&parts.uri, &parts.headers, &parts.extensions)))
    }
}

impl FromRequestParts<ControlState> for SessionToken {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        let site = state.sites.of(&parts.uri, &parts.headers, &parts.extensions);
        Ok(Self(SESSION.value(&parts.headers, &site).map(str::to_owned)))
    }
}

impl FromRequestParts<ControlState> for FlowCookie {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        let site = state.sites.of(&parts.uri, &parts.headers, &parts.extensions);
        Ok(Self(FLOW.value(&parts.headers, &site).map(str::to_owned)))
    }
}

impl FromRequestParts<ControlState> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        let SessionToken(token) = SessionToken::from_request_parts(parts, state).await?;
        let token = token.ok_or_else(|| Failure::new(Kind::Unauthenticated, "sign in first"))?;
        let principal = state.accounts.browser_session(&token).await?;
        let address = state.sites.callers.address(&parts.headers, &parts.extensions);
        Ok(Self(Caller { principal, address }))
    }
}

impl OptionalFromRequestParts<ControlState> for SignedIn {
    type Rejection = ApiError;

    /// None: nobody is signed in, or nobody any more.
    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Option<Self>, ApiError> {
        match <Self as FromRequestParts<ControlState>>::from_request_parts(parts, state).await {
            Ok(signed_in) => Ok(Some(signed_in)),
            Err(refused) if matches!(refused.kind(), Kind::Unauthenticated | Kind::Forbidden) => Ok(None),
            Err(refused) => Err(refused),
        }
    }
}

/// The cookie that keeps a session. `None`: no browser would keep it, for the page came over plain HTTP from elsewhere.
#[must_use]
pub fn session_cookie(session: &NewBrowserSession, site: &Site) -> Option<HeaderValue> {
    SESSION.cookie(&session.token, BROWSER_SESSION_MAX, site)
}

/// The same, to be forgotten.
#[must_use]
pub fn no_session_cookie(site: &Site) -> Option<HeaderValue> {
    SESSION.cookie("", Duration::ZERO, site)
}

/// The cookie that a browser has to bring back from the identity provider.
#[must_use]
pub fn flow_cookie(value: &str, site: &Site) -> Option<HeaderValue> {
    FLOW.cookie(value, FLOW_MAX, site)
}

/// The same, to be forgotten.
#[must_use]
pub fn no_flow_cookie(site: &Site) -> Option<HeaderValue> {
    FLOW.cookie("", Duration::ZERO, site)
}

/// Whether a browser keeps a session's cookie of this site.
#[must_use]
pub fn keeps_sessions(site: &Site) -> bool {
    site.is_tls() || site.is_loopback()
}

impl Names {
    fn cookie(&self, value: &str, lifetime: Duration, site: &Site) -> Option<HeaderValue> {
        let (name, secure) = match (site.is_tls(), site.is_loopback()) {
            (true, _) => (self.secure, "; Secure"),
            (false, true) => (self.plain, ""),
            (false, false) => return None,
        };
        let seconds = lifetime.as_secs();
        let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::from_str(&text).ok()
    }

    /// The cookie's value in a request. The plain cookie counts on the loopback alone: elsewhere anybody on the way, or on a
    /// neighbouring host, can set one.
    fn value<'h>(&self, headers: &'h HeaderMap, site: &Site) -> Option<&'h str> {
        let named = |name: &str| {
            let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
            let mut pairs =
                cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
            pairs.find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value)
        };
        let takes_plain = !site.is_tls() && site.is_loopback();
        named(self.secure).or_else(|| named(self.plain).filter(|_| takes_plain))
    }
}

/// Refuses what changes something and does not come from a page of ours: a browser says so itself, and a page elsewhere
/// cannot make it say otherwise.
pub async fn own_pages_only(State(state): State<ControlState>, request: Request, next: Next) -> Response {
    if request.method().is_safe() || is_from_own_page(&state, &request) {
        return next.run(request).await;
    }
    let text = "this has to come from a page of this gateway: open the page here, and send its form again";
    ApiError::from(Failure::new(Kind::Forbidden, text)).into_response()
}

fn is_from_own_page(state: &ControlState, request: &Request) -> bool {
    let headers = request.headers();
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    // A browser that is too old for it, or one that came over plain HTTP.
    let Some(origin) = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()) else { return false };
    let site = state.sites.of(request.uri(), headers, request.extensions());
    state.sites.is_own(origin, &site)
}
