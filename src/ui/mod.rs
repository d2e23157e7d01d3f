//! Pages for people at a browser. Each is a function from what the control plane's own functions say to HTML, which
//! escapes what it is given; pages compute no sum, and ask nothing of a browser but forms and links.
//!
//! All of them are answered by a leader, whichever node is asked: there are the books, and the sessions.

#![allow(clippy::needless_pass_by_value, reason = "HTML is put together of HTML that is of no other use")]

mod admin;
mod answer;
mod assets;
mod breakdown;
mod calls;
mod chart;
mod connect;
mod device;
mod expiry;
mod form;
mod format;
mod keys;
mod limits;
mod next;
mod notice;
mod oidc;
mod permit;
mod shell;
mod sign_in;
mod sign_out;
mod span;
mod sums;
mod usage;

use axum::Router;
use axum::extract::Path;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};

use crate::http::browser::{SignedIn, own_pages_only};
use crate::http::control::{self, ControlState, Routes, here, leader};
use crate::http::problem::ApiError;

pub use answer::while_waiting;

/// The control plane with its pages.
pub fn router(state: ControlState) -> Router {
    let pages = Routes::new(state.clone())
        .route("/ui/assets/{name}", here(get(async |Path(name): Path<String>| assets::answer(&name))))
        .route("/ui", leader(get(start)))
        .route("/ui/", leader(get(start)))
        .route("/ui/login", leader(get(sign_in::show).post(sign_in::sign_in)))
        .route("/ui/logout", leader(post(sign_out::sign_out)))
        .route("/ui/usage", leader(get(usage::show)))
        .route("/ui/usage/calls", leader(get(usage::my_calls)))
        .route("/ui/usage/calls/{id}", leader(get(usage::my_call)))
        .route("/ui/keys", leader(get(keys::show).post(keys::create)))
        .route("/ui/keys/{id}/revoke", leader(post(keys::revoke)))
        .route("/ui/limits", leader(get(limits::show)))
        .route("/ui/connect", leader(get(connect::show)))
        .route("/ui/overview", leader(get(admin::overview::show)))
        .route("/ui/all-usage", leader(get(admin::usage::show)))
        .route("/ui/export", leader(get(admin::usage::export)))
        .route("/ui/calls/{id}", leader(get(admin::usage::call)))
        .route("/ui/users", leader(get(admin::users::show).post(admin::users::create)))
        .route("/ui/users/{id}", leader(get(admin::users::one).post(admin::users::change)))
        .route("/ui/users/{id}/keys", leader(post(admin::keys::create)))
        .route("/ui/users/{id}/{what}", leader(post(admin::users::act)))
        .route("/ui/groups", leader(get(admin::groups::show).post(admin::groups::create)))
        .route("/ui/groups/{id}", leader(get(admin::groups::one).post(admin::groups::change)))
        .route("/ui/groups/{id}/remove", leader(post(admin::groups::remove)))
        .route("/ui/all-keys", leader(get(admin::keys::show)))
        .route("/ui/all-keys/{id}/revoke", leader(post(admin::keys::revoke)))
        .route("/ui/models", leader(get(admin::models::show)))
        .route("/ui/targets", leader(get(admin::nodes::targets)))
        .route("/ui/targets/{name}/{what}", leader(post(admin::nodes::act_on_target)))
        .route("/ui/peers", leader(get(admin::nodes::peers)))
        .route("/ui/peers/{id}/{what}", leader(post(admin::nodes::act_on_peer)))
        .route("/ui/alerts", leader(get(admin::alerts::show)))
        .route("/ui/alerts/test", leader(post(admin::alerts::test)))
        .route("/ui/audit", leader(get(admin::audit::show)))
        .route("/auth/oidc/login", leader(get(oidc::begin)))
        .route("/auth/oidc/callback", leader(get(oidc::finish)))
        .route("/device", leader(get(device::show).post(device::decide)))
        .route("/ui/{*rest}", leader(get(nothing_there).post(nothing_there)))
        .without_fallback()
        .layer(from_fn_with_state(state.clone(), own_pages_only))
        .layer(from_fn(answer::for_browsers));
    // Not a page: the provider itself calls it, without a browser.
    let called = Routes::new(state.clone())
        .route("/auth/oidc/backchannel-logout", leader(post(oidc::logged_out)))
        .without_fallback();
    control::router(state).merge(pages).merge(called)
}

/// Everybody begins with what is their own.
async fn start(_: SignedIn) -> Response {
    sign_in::redirect(shell::MY_USAGE.path)
}

async fn nothing_there(_: SignedIn) -> ApiError {
    ApiError::not_found("there is no such page")
}
