//! One's own API keys.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::accounts::NewKey;
use crate::domain::failure::Kind;
use crate::http::browser::{AskedAt, SignedIn};
use crate::http::control::ControlState;
use crate::http::input::{Caller, PathParam, QueryParams};
use crate::http::keys::{CreatedKeyView, KeyView};
use crate::http::me;
use crate::http::paging::List;
use crate::http::problem::ApiResult;
use crate::ui::form::{Form, Refused};
use crate::ui::shell::{self, Page};
use crate::ui::sign_in::redirect;
use crate::ui::{connect, expiry, format};

const PATH: &str = "/ui/keys";
const ROWS: u32 = 100;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    cursor: Option<String>,
    done: Option<String>,
}

/// My keys.
pub async fn show(
    State(state): State<ControlState>,
    SignedIn(me): SignedIn,
    QueryParams(asked): QueryParams<Asked>,
) -> ApiResult<Response> {
    page(&state, &me, &asked, &Form::default(), None).await
}

async fn page(
    state: &ControlState,
    me: &Caller,
    asked: &Asked,
    form: &Form,
    refused: Option<Refused>,
) -> ApiResult<Response> {
    let keys = me::keys_of(state, me, Some(ROWS), asked.cursor.as_deref()).await?;
    let content = html! {
        (shell::heading("Your keys", html! { "A key stands for you at the gateway. Give each client one of its own, so that one can be revoked alone." }, html! {}))
        (shell::done(asked.done.as_deref()))
        @if let Some(refused) = &refused { (refused.notice()) }
        (new_key(form, refused.is_some()))
        section.card { (list(&keys, state)) (more(&keys)) }
    };
    let answer = Page { place: shell::MY_KEYS, title: "Your keys", content }.answer(me);
    Ok(match refused {
        Some(refused) => refused.on(answer),
        None => answer,
    })
}

fn new_key(form: &Form, is_open: bool) -> Markup {
    html! {
        details.card open[is_open] {
            summary { "Create a key" }
            div.inside {
                form method="post" action=(PATH) {
                    div.fields {
                        div.field { label for="name" { "Name" }
                            input id="name" name="name" value=(form.text("name")) maxlength="128" placeholder="laptop" autocomplete="off";
                            p.hint { "For you, to tell your keys apart." } }
                        (expiry::field(form.text("expires")))
                        div.wide { button.primary type="submit" { "Create the key" } }
                    }
                }
            }
        }
    }
}

fn list(keys: &List<KeyView>, state: &ControlState) -> Markup {
    let now = state.clock.now();
    html! {
        @if keys.items.is_empty() {
            div.empty { strong { "No keys yet" } p { "Create one above; then connect a client with it." } }
        } @else {
            div.scroll tabindex="0" { table {
                caption { "Keys" small { "The key itself was shown once; here is how it begins." } }
                thead { tr { th scope="col" { "Name" } th scope="col" { "Key" } th scope="col" { "Created (UTC)" } th scope="col" { "Last used" }
                    th scope="col" { "Expires" } th.tight scope="col" { span.hidden { "Revoke" } } } }
                tbody { @for key in &keys.items { tr {
                    th scope="row" { @if key.name.is_empty() { span.muted { "no name" } } @else { (key.name) } }
                    td { code { (key.prefix) "…" } }
                    td { (format::minute(key.created_at)) }
                    td { (format::minute_or(key.last_used_at, "never")) }
                    td { (expiry::shown(key.expires_at, now)) }
                    td.tight { form method="post" action=(format!("{PATH}/{}/revoke", key.id)) {
                        button.quiet.danger type="submit" data-ask=(format!("Revoke {}? What uses it is refused from the next call on.", label(key)))
                            aria-label=(format!("Revoke {}", label(key))) { "Revoke" }
                    } }
                } } }
            } }
        }
    }
}

fn label(key: &KeyView) -> &str {
    if key.name.is_empty() { &key.prefix } else { &key.name }
}

fn more(keys: &List<KeyView>) -> Markup {
    html! {
        @if let Some(next) = &keys.next_cursor {
            nav.pager aria-label="Pages of keys" { a href=(crate::ui::span::link(PATH, &[("cursor", next.clone())])) rel="next" { "Older" } }
        }
    }
}

/// Creates a key, and shows it this once.
pub async fn create(
    State(state): State<ControlState>,
    SignedIn(me): SignedIn,
    AskedAt(site): AskedAt,
    form: Form,
) -> ApiResult<Response> {
    let created = match expiry::read(&form, state.clock.now()) {
        Ok(expires_at) => {
            let new = NewKey { name: form.text("name").to_owned(), expires_at };
            me::create_key_of(&state, &me, new).await
        }
        Err(reason) => Err(reason),
    };
    match created {
        Ok(created) => {
            let url = state.sites.public_url(&site);
            let content = html! {
                (shell::heading("Your new key", html! { a href=(PATH) { "All keys" } }, html! {}))
                (once(&created))
                (connect::clients(&url, &created.key))
            };
            Ok(Page { place: shell::MY_KEYS, title: "Your new key", content }.answer(&me))
        }
        Err(error) if matches!(error.kind(), Kind::Invalid | Kind::Conflict) => {
            page(&state, &me, &Asked::default(), &form, Some(Refused::of(&error))).await
        }
        Err(error) => Err(error),
    }
}

/// A key, shown this once.
#[must_use]
pub fn once(created: &CreatedKeyView) -> Markup {
    html! {
        div.notice.good role="status" {
            p { strong { "Copy it now: it is shown only this once." } " If it is lost, revoke it and create another." }
            div.copy.secret data-what="the key" { pre tabindex="0" { (created.key) } }
        }
    }
}

/// Revokes a key of mine.
pub async fn revoke(
    State(state): State<ControlState>,
    SignedIn(me): SignedIn,
    PathParam(id): PathParam<String>,
) -> ApiResult<Response> {
    me::revoke_key_of(&state, &me, &id).await?;
    Ok(redirect("/ui/keys?done=key-revoked"))
}
