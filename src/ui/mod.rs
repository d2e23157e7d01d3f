//! Pages for people at a browser. Each is a function from what the control plane's own functions say to HTML, which
//! escapes what it is given; pages compute no sum, and ask nothing of a browser but forms and links.
//!
//! All of them are answered by a leader, whichever node is asked: there are the books, and the sessions.

#![allow(clippy::needless_pass_by_value, reason = "HTML is put together of HTML that is of no other use")]

mod answer;
mod assets;
mod form;
mod next;
mod notice;
mod permit;
mod shell;
mod sign_in;
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
        .route("/ui/logout", leader(post(sign_in::sign_out)))
        .route("/ui/usage", leader(get(usage::show)))
        .route("/ui/{*rest}", leader(get(nothing_there).post(nothing_there)))
        .without_fallback()
        .layer(from_fn_with_state(state.clone(), own_pages_only))
        .layer(from_fn(answer::for_browsers));
    control::router(state).merge(pages)
}

/// Everybody begins with what is their own.
async fn start(_: SignedIn) -> Response {
    sign_in::redirect(shell::MY_USAGE.path)
}

async fn nothing_there(_: SignedIn) -> ApiError {
    ApiError::not_found("there is no such page")
}
