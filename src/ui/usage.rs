//! What somebody has used.

use axum::response::Response;
use maud::html;

use crate::http::browser::SignedIn;
use crate::ui::shell::{self, Page};

/// My usage.
pub async fn show(SignedIn(me): SignedIn) -> Response {
    let content = html! { (shell::heading("Your usage", html! { "What your calls have used." }, html! {})) };
    Page { place: shell::MY_USAGE, title: "Your usage", content }.answer(&me)
}
