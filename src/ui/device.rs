//! Where somebody lets a program in that waits to be signed in: `/device`. A code in the address is only looked up; nothing
//! is agreed to without a click (RFC 8628, section 5.4).

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use crate::accounts::WaitingDevice;
use crate::domain::failure::{Failure, Kind};
use crate::domain::principal::Principal;
use crate::http::browser::SignedIn;
use crate::http::control::ControlState;
use crate::http::input::ClientAddr;
use crate::http::problem::ApiResult;
use crate::ui::form::Form;
use crate::ui::shell;

/// How the page was come to.
#[derive(Debug, Default, Deserialize)]
pub struct Arrival {
    user_code: Option<String>,
}

/// Asks for the code, or about the program that waits with it.
pub async fn show(
    State(state): State<ControlState>,
    SignedIn(me): SignedIn,
    ClientAddr(address): ClientAddr,
    Query(arrival): Query<Arrival>,
) -> ApiResult<Response> {
    let Some(code) = arrival.user_code.filter(|code| !code.trim().is_empty()) else {
        return Ok(page(StatusCode::OK, asked(&me, "", None)));
    };
    match state.accounts.waiting_device(&me, &code, address).await {
        Ok(device) => Ok(page(StatusCode::OK, about(&me, &device))),
        Err(error) => again(&me, &code, error.into()),
    }
}

/// Lets the program in, or refuses it.
pub async fn decide(
    State(state): State<ControlState>,
    SignedIn(me): SignedIn,
    ClientAddr(address): ClientAddr,
    form: Form,
) -> ApiResult<Response> {
    let code = form.text("user_code");
    let agrees = match form.text("decision") {
        "approve" => true,
        "deny" => false,
        _ => return Err(Failure::new(Kind::Invalid, "the form says neither yes nor no").into()),
    };
    match state.accounts.decide_device_login(&me, code, address, agrees).await {
        Ok(()) => Ok(page(StatusCode::OK, decided(&me, agrees))),
        Err(error) => again(&me, code, error.into()),
    }
}

/// The page once more, with what is wrong with the code.
fn again(me: &Principal, code: &str, failure: Failure) -> ApiResult<Response> {
    if !matches!(failure.kind, Kind::Invalid | Kind::RateLimited) {
        return Err(failure.into());
    }
    Ok(page(failure.kind.http_status(), asked(me, code, Some(&failure.message))))
}

fn page(status: StatusCode, content: Markup) -> Response {
    (status, shell::bare("Sign in a program", content)).into_response()
}

fn asked(me: &Principal, code: &str, wrong: Option<&str>) -> Markup {
    html! {
        h1 { "Sign in a program" }
        @if let Some(wrong) = wrong { div.notice.bad role="alert" { p { (wrong) } } }
        p { "You are signed in as " strong { (me.user) } ". Type the code that the program shows." }
        form method="get" action="/device" {
            div.field {
                label for="user_code" { "Code" }
                input id="user_code" name="user_code" value=(code) autocomplete="off" autocapitalize="characters"
                    spellcheck="false" maxlength="20" placeholder="WDJB-MJHT" required autofocus;
            }
            button.primary type="submit" { "Go on" }
        }
    }
}

fn about(me: &Principal, device: &WaitingDevice) -> Markup {
    html! {
        h1 { "Sign in a program?" }
        p { "A program waits to be signed in as " strong { (me.user) } ". It could then make calls in your name, on your limits." }
        dl.facts {
            dt { "Code" } dd { code { (device.user_code) } }
            dt { "It says it is" } dd { @if device.client.is_empty() { "nothing" } @else { (device.client) } }
            dt { "It asked from" } dd { code { (device.address) } }
            dt { "At" } dd { (device.since) }
        }
        p { "Agree only if you have just started this yourself, and the program shows this very code." }
        form method="post" action="/device" {
            input type="hidden" name="user_code" value=(device.user_code);
            p.row {
                button.primary type="submit" name="decision" value="approve" { "Sign it in" }
                button type="submit" name="decision" value="deny" { "Refuse" }
            }
        }
    }
}

fn decided(me: &Principal, agrees: bool) -> Markup {
    html! {
        @if agrees {
            h1 { "Signed in" }
            div.notice.good role="status" { p { "The program is signed in as " (me.user) ". You can close this page." } }
            p.muted { "If it was a mistake, an admin ends all of your sessions: " code { "sproxy user revoke " (me.user) } "." }
        } @else {
            h1 { "Refused" }
            div.notice role="status" { p { "The program was not signed in. You can close this page." } }
        }
    }
}
