//! Everybody's API keys.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::accounts::{Actor, NewKey};
use crate::domain::user::User;
use crate::http::browser::AskedAt;
use crate::http::control::ControlState;
use crate::http::input::{PathParam, QueryParams};
use crate::http::keys::{CreatedKeyView, KeyView};
use crate::http::paging::{List, place};
use crate::http::problem::ApiResult;
use crate::store::ApiKeyRepo;
use crate::ui::form::Form;
use crate::ui::permit::{self, PeopleManager, PeopleReader};
use crate::ui::shell::{self, Page};
use crate::ui::sign_in::redirect;
use crate::ui::span::link;
use crate::ui::{connect, expiry, format, keys};

const PATH: &str = "/ui/all-keys";
const ROWS: usize = 100;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    user: Option<String>,
    cursor: Option<String>,
    done: Option<String>,
}

/// The list.
pub async fn show(
    State(state): State<ControlState>,
    PeopleReader { who, scope }: PeopleReader,
    QueryParams(asked): QueryParams<Asked>,
) -> ApiResult<Response> {
    let named = asked.user.as_deref().map(str::trim).filter(|user| !user.is_empty());
    let user = match named {
        Some(named) => Some(state.accounts.user_within(&scope, named).await?.id),
        None => None,
    };
    let page = ApiKeyRepo::on(&state.store)
        .list(user, scope.groups(), ROWS, place(asked.cursor.as_deref())?)
        .await?;
    let keys = List::of(page, |key| KeyView::of(&key, &state.accounts));
    let content = html! {
        (shell::heading("Keys", html! { "Everybody's. A key is created on its user's own page." }, html! {}))
        (shell::done(asked.done.as_deref()))
        form.card.filters method="get" action=(PATH) role="search" aria-label="Find keys" {
            div.field { label for="user" { "User" } input id="user" name="user" value=(named.unwrap_or_default()) autocomplete="off" spellcheck="false"; }
            div.row { button.primary type="submit" { "Find" } a.button href=(PATH) { "Reset" } }
        }
        section.card {
            (table(&keys.items, &state, PATH, permit::may_manage(&who)))
            @if let Some(next) = &keys.next_cursor {
                nav.pager aria-label="Pages of keys" {
                    a href=(link(PATH, &[("user", named.unwrap_or_default().to_owned()), ("cursor", next.clone())])) rel="next" { "Older" } }
            }
        }
    };
    Ok(Page { place: shell::ALL_KEYS, title: "Keys", content }.answer(&who))
}

fn table(keys: &[KeyView], state: &ControlState, back: &str, may_revoke: bool) -> Markup {
    let now = state.clock.now();
    html! {
        @if keys.is_empty() { div.empty { strong { "No keys" } p { "Without a key nobody calls." } } } @else {
            div.scroll tabindex="0" { table {
                caption { "Keys" }
                thead { tr { th scope="col" { "User" } th scope="col" { "Name" } th scope="col" { "Key" } th scope="col" { "Created (UTC)" }
                    th scope="col" { "Last used" } th scope="col" { "Expires" } th.tight scope="col" { span.hidden { "Revoke" } } } }
                tbody { @for key in keys { tr {
                    th scope="row" { a href=(link("/ui/users", &[("name", key.user.clone())])) { (key.user) } }
                    td { @if key.name.is_empty() { span.muted { "no name" } } @else { (key.name) } }
                    td { code { (key.prefix) "…" } }
                    td { (format::minute(key.created_at)) }
                    td { (format::minute_or(key.last_used_at, "never")) }
                    td { (expiry::shown(key.expires_at, now)) }
                    td.tight { @if may_revoke { form method="post" action=(format!("{PATH}/{}/revoke", key.id)) {
                        input type="hidden" name="back" value=(back);
                        button.quiet.danger type="submit" data-ask=(format!("Revoke {} of {}? What uses it is refused from the next call on.", key.prefix, key.user))
                            aria-label=(format!("Revoke {} of {}", key.prefix, key.user)) { "Revoke" }
                    } } }
                } } }
            } }
        }
    }
}

/// A user's keys, on the user's page, with a form for another.
pub(super) async fn of_user(
    state: &ControlState,
    user: &User,
    path: &str,
    may_manage: bool,
) -> ApiResult<Markup> {
    let page = ApiKeyRepo::on(&state.store).list(Some(user.id), None, ROWS, None).await?;
    let keys = List::of(page, |key| KeyView::of(&key, &state.accounts));
    Ok(html! {
        section.card {
            (table(&keys.items, state, path, may_manage))
            @if keys.next_cursor.is_some() { footer { a href=(link(PATH, &[("user", user.id.to_string())])) { "All keys of " (user.name) } } }
            @if may_manage { details { summary { "Create a key for " (user.name) }
                div.inside { form method="post" action=(format!("{path}/keys")) { div.fields {
                    div.field { label for="key-name" { "Name of the key" } input id="key-name" name="name" maxlength="128" placeholder="laptop" autocomplete="off"; }
                    (expiry::field(""))
                    div.wide { button.primary type="submit" { "Create the key" } }
                } } }
            } }
        }
    })
}

/// Creates a key for somebody, and shows it this once.
pub async fn create(
    State(state): State<ControlState>,
    PeopleManager { who, .. }: PeopleManager,
    AskedAt(site): AskedAt,
    PathParam(id): PathParam<String>,
    form: Form,
) -> ApiResult<Response> {
    let expires_at = expiry::read(&form, state.clock.now())?;
    let new = NewKey { name: form.text("name").to_owned(), expires_at };
    let created = state.accounts.create_key(&Actor::from(&who), &id, new).await?;
    let owner = created.user.name.clone();
    let created = CreatedKeyView::of(&created, &state.accounts);
    let url = state.sites.public_url(&site);
    let content = html! {
        (shell::heading(&format!("A new key for {owner}"), html! { a href=(format!("/ui/users/{id}")) { (owner) } }, html! {}))
        (keys::once(&created))
        (connect::clients(&url, &created.key))
    };
    Ok(Page { place: shell::USERS, title: "A new key", content }.answer(&who))
}

/// Revokes a key.
pub async fn revoke(
    State(state): State<ControlState>,
    PeopleManager { who, .. }: PeopleManager,
    PathParam(id): PathParam<String>,
    form: Form,
) -> ApiResult<Response> {
    state.accounts.revoke_key(&Actor::from(&who), &id, None).await?;
    let back = crate::ui::next::own(form.filled("back")).unwrap_or(PATH);
    Ok(redirect(&format!("{back}?done=key-revoked")))
}
