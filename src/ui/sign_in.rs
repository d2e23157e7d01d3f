//! The door: signing in, and out.

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
    AskedAt(site): AskedAt,
    signed_in: Option<SignedIn>,
    Query(arrival): Query<Arrival>,
) -> Response {
    let wanted = next::own(arrival.next.as_deref());
    if signed_in.is_some() {
        return redirect(wanted.unwrap_or(next::START));
    }
    let said = shell::done(arrival.done.as_deref());
    shell::bare("Sign in", door(&site, "", wanted, &said)).into_response()
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
        return Ok((StatusCode::FORBIDDEN, shell::bare("Sign in", door(&site, "", wanted, &html! {})))
            .into_response());
    }
    let name = form.text("username");
    let session = match state.accounts.sign_in(name, form.raw("password").to_owned(), address).await {
        Ok(session) => session,
        Err(error) => return Ok(refused(error.into(), &site, name, wanted)),
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

/// Signs out.
pub async fn sign_out(
    State(state): State<ControlState>,
    AskedAt(site): AskedAt,
    SessionToken(token): SessionToken,
) -> ApiResult<Response> {
    if let Some(token) = token {
        state.accounts.end_browser_session(&token).await?;
    }
    let mut answer = redirect("/ui/login?done=signed-out");
    if let Some(cookie) = browser::no_session_cookie(&site) {
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

fn refused(failure: Failure, site: &Site, name: &str, wanted: Option<&str>) -> Response {
    let status = failure.kind.http_status();
    let message = match status {
        StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(error = %failure.message, "a sign-in failed");
            "Something went wrong here; the node's log has the details.".to_owned()
        }
        _ => failure.message,
    };
    let said = html! { div.notice.bad role="alert" { p { "You are not signed in: " (message) } } };
    let mut answer = (status, shell::bare("Sign in", door(site, name, wanted, &said))).into_response();
    if let Some(wait) = failure.retry_after {
        let seconds = wait.as_millis().div_ceil(1_000).max(1);
        if let Ok(seconds) = u64::try_from(seconds) {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
    }
    answer
}

fn door(site: &Site, name: &str, wanted: Option<&str>, said: &Markup) -> Markup {
    html! {
        h1 { "Sign in" }
        (said)
        @if browser::keeps_sessions(site) {
            form method="post" action="/ui/login" {
                @if let Some(wanted) = wanted { input type="hidden" name="next" value=(wanted); }
                div.field {
                    label for="username" { "Name" }
                    input id="username" name="username" value=(name) autocomplete="username" autocapitalize="none"
                        spellcheck="false" maxlength="128" required autofocus[name.is_empty()];
                }
                div.field {
                    label for="password" { "Password" }
                    input id="password" name="password" type="password" autocomplete="current-password"
                        maxlength="256" required autofocus[!name.is_empty()];
                }
                button.primary type="submit" { "Sign in" }
            }
            p.muted.small {
                "No password, or forgotten? An admin of the gateway sets one: "
                code { "sproxy user passwd NAME" } "."
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
