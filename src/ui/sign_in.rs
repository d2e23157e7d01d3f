//! The door: signing in.

use axum::extract::{Query, State};
use axum::http::header::{LOCATION, RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use crate::domain::failure::Failure;
use crate::http::browser::{self, AskedAt, SessionToken, SignedIn};
use crate::http::control::ControlState;
use crate::http::input::ClientAddr;
use crate::http::problem::ApiResult;
use crate::http::site::Site;
use crate::ui::form::Form;
use crate::ui::{next, shell};

/// How the sign-in page was come to.
#[derive(Debug, Default, Deserialize)]
pub struct Arrival {
    /// Where to go on.
    next: Option<String>,
    /// What was just done.
    done: Option<String>,
}

/// The sign-in page.
pub async fn show(
    State(state): State<ControlState>,
    AskedAt(site): AskedAt,
    signed_in: Option<SignedIn>,
    Query(arrival): Query<Arrival>,
) -> Response {
    let wanted = next::own(arrival.next.as_deref());
    if signed_in.is_some() {
        return redirect(wanted.unwrap_or(next::START));
    }
    let said = shell::done(arrival.done.as_deref());
    shell::bare("Sign in", door(&state, &site, "", wanted, &said)).into_response()
}

/// Signs in by name and password. Whoever was signed in at this browser before is not any more.
pub async fn sign_in(
    State(state): State<ControlState>,
    ClientAddr(address): ClientAddr,
    AskedAt(site): AskedAt,
    SessionToken(before): SessionToken,
    form: Form,
) -> ApiResult<Response> {
    let wanted = next::own(form.filled("next"));
    if !browser::keeps_sessions(&site) {
        return Ok((
            StatusCode::FORBIDDEN,
            shell::bare("Sign in", door(&state, &site, "", wanted, &html! {})),
        )
            .into_response());
    }
    let name = form.text("username");
    let session = match state.accounts.sign_in(name, form.raw("password").to_owned(), address).await {
        Ok(session) => session,
        Err(error) => return Ok(refused_as(name, error.into(), &state, &site, wanted)),
    };
    if let Some(before) = before {
        state.accounts.end_browser_session(&before).await?;
    }
    let mut answer = redirect(wanted.unwrap_or(next::START));
    if let Some(cookie) = browser::session_cookie(&session, &site) {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(answer)
}

/// Goes on with a page, as a `GET`.
#[must_use]
pub fn redirect(to: &str) -> Response {
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static(next::START));
    (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response()
}

/// The sign-in page with why nobody is signed in.
pub fn refused(failure: Failure, state: &ControlState, site: &Site, wanted: Option<&str>) -> Response {
    refused_as("", failure, state, site, wanted)
}

fn refused_as(
    name: &str,
    failure: Failure,
    state: &ControlState,
    site: &Site,
    wanted: Option<&str>,
) -> Response {
    let status = failure.kind.http_status();
    let message = match status {
        StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(error = %failure.message, "a sign-in failed");
            "Something went wrong here; the node's log has the details.".to_owned()
        }
        _ => failure.message,
    };
    let said = html! { div.notice.bad role="alert" { p { "You are not signed in: " (message) } } };
    let mut answer = (status, shell::bare("Sign in", door(state, site, name, wanted, &said))).into_response();
    if let Some(wait) = failure.retry_after {
        let seconds = wait.as_millis().div_ceil(1_000).max(1);
        if let Ok(seconds) = u64::try_from(seconds) {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
    }
    answer
}

fn door(state: &ControlState, site: &Site, name: &str, wanted: Option<&str>, said: &Markup) -> Markup {
    let oidc = state.oidc.as_deref();
    html! {
        h1 { "Sign in" }
        (said)
        @if browser::keeps_sessions(site) {
            @if let Some(oidc) = oidc {
                p { a.button.primary.wide href=(next::with("/auth/oidc/login", wanted)) { "Sign in with " (oidc.name()) } }
                p.muted { "or with " (whose_password(state)) }
            }
            form method="post" action="/ui/login" {
                @if let Some(wanted) = wanted { input type="hidden" name="next" value=(wanted); }
                div.field {
                    label for="username" { "Name" }
                    input id="username" name="username" value=(name) autocomplete="username" autocapitalize="none"
                        spellcheck="false" maxlength="128" required autofocus[name.is_empty() && oidc.is_none()];
                }
                div.field {
                    label for="password" { "Password" }
                    input id="password" name="password" type="password" autocomplete="current-password"
                        maxlength="256" required autofocus[!name.is_empty()];
                }
                button class=[oidc.is_none().then_some("primary")] type="submit" { "Sign in" }
            }
            p.muted.small {
                @if state.ldap.is_some() { "Your company's name and password do. " } @else { "No password, or forgotten? " }
                "An admin of the gateway sets one: " code { "sproxy user passwd NAME" } "."
            }
        } @else {
            div.notice.warn role="alert" {
                p { "This page came over plain HTTP from " code { (site) } ", so nobody can sign in here: the password and the "
                    "session could be read on the way." }
                p { "Open it at the gateway's " code { "https://" } " address. An admin sets one up with "
                    code { "http.tls_cert" } " and " code { "http.tls_key" } ", or with a proxy in front that ends TLS. On the "
                    "gateway's own machine, " code { "http://localhost" } " does." }
            }
        }
    }
}

fn whose_password(state: &ControlState) -> &'static str {
    if state.ldap.is_some() { "your company's password" } else { "a password of this gateway" }
}
