//! People and services that may call: the list, and one of them.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::accounts::{Actor, NewUser, UserChange};
use crate::domain::group::Limits;
use crate::domain::permission::Scope;
use crate::domain::user::{Role, User};
use crate::http::control::ControlState;
use crate::http::input::{Caller, PathParam, QueryParams};
use crate::http::problem::ApiResult;
use crate::http::users::{self, UserParams, UserView};
use crate::ui::admin::{group_choice, keys, limits_form, quota_of_user};
use crate::ui::form::{Form, Refused};
use crate::ui::format;
use crate::ui::permit::{self, PeopleManager, PeopleReader};
use crate::ui::shell::{self, Page};
use crate::ui::sign_in::redirect;
use crate::ui::span::link;

const PATH: &str = "/ui/users";
const ROWS: u32 = 100;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    name: Option<String>,
    group: Option<String>,
    active: Option<String>,
    cursor: Option<String>,
    done: Option<String>,
}

/// The list.
pub async fn show(
    State(state): State<ControlState>,
    PeopleReader { who, scope }: PeopleReader,
    QueryParams(asked): QueryParams<Asked>,
) -> ApiResult<Response> {
    if let Some(name) = asked.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
        let user = state.accounts.user_within(&scope, name).await?;
        return Ok(redirect(&format!("{PATH}/{}", user.id)));
    }
    list(&state, (&who, &scope), &asked, &Form::default(), None).await
}

async fn list(
    state: &ControlState,
    (who, scope): (&Caller, &Scope),
    asked: &Asked,
    form: &Form,
    refused: Option<Refused>,
) -> ApiResult<Response> {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let active = asked.active.as_deref().and_then(|active| active.parse().ok());
    let params =
        UserParams { group: text(&asked.group), active, limit: Some(ROWS), cursor: text(&asked.cursor) };
    let users = users::page_of(state, scope, &params).await?;
    let keep = [
        ("group", asked.group.clone().unwrap_or_default()),
        ("active", asked.active.clone().unwrap_or_default()),
    ];
    let content = html! {
        (shell::heading("Users", html! { "People and services that may call. Each has keys of their own." }, html! {}))
        (shell::done(asked.done.as_deref()))
        @if let Some(refused) = &refused { (refused.notice()) }
        @if permit::may_manage(who) { details.card open[refused.is_some()] {
            summary { "Create a user" }
            div.inside { form method="post" action=(PATH) { div.fields {
                div.field { label for="new-name" { "Name" } input id="new-name" name="name" value=(form.text("name")) required maxlength="128" autocomplete="off"; }
                div.field { label for="new-password" { "Password" } input id="new-password" name="password" type="password" minlength="8" maxlength="256" autocomplete="new-password";
                    p.hint { "Without one they use keys, and cannot sign in." } }
                (group_choice(state, scope, "new-group", form.filled("group")).await?)
                (role_choice("new-role", form.filled("role").and_then(|role| role.parse().ok()).unwrap_or(Role::User)))
                (manages("new-manages", form.text("manages")))
                (limits_form::fields(&Limits::default(), Some(form)))
                div.wide { button.primary type="submit" { "Create the user" } }
            } } }
        } }
        form.card.filters method="get" action=(PATH) role="search" aria-label="Find users" {
            div.field { label for="find" { "Name, exactly" } input id="find" name="name" autocomplete="off" spellcheck="false"; }
            (group_choice(state, scope, "in-group", asked.group.as_deref()).await?)
            div.field { label for="active" { "Status" } select id="active" name="active" {
                option value="" { "All" }
                option value="true" selected[active == Some(true)] { "Active" }
                option value="false" selected[active == Some(false)] { "Disabled" }
            } }
            div.row { button.primary type="submit" { "Find" } a.button href=(PATH) { "Reset" } }
        }
        section.card {
            @if users.items.is_empty() { div.empty { strong { "No users" } p { "Nobody fits. Create one above, or reset what you look for." } } } @else {
                div.scroll tabindex="0" { table {
                    caption { "Users" }
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Group" } th scope="col" { "Role" } th scope="col" { "Status" }
                        th scope="col" { "Own limits" } th scope="col" { "Signed in last (UTC)" } th scope="col" { "Created" } } }
                    tbody { @for user in &users.items { tr {
                        th scope="row" { a href=(format!("{PATH}/{}", user.id)) { (user.name) } }
                        td { (user.group.as_deref().unwrap_or("–")) }
                        td { (user.role.as_str()) }
                        td { (status(user)) }
                        td { (limits_form::words(&user.limits)) }
                        td { (format::minute_or(user.last_login_at, "never")) }
                        td { (format::minute(user.created_at)) }
                    } } }
                } }
            }
            @if let Some(next) = &users.next_cursor {
                nav.pager aria-label="Pages of users" { a href=(link(PATH, &[keep.to_vec(), vec![("cursor", next.clone())]].concat())) rel="next" { "Older" } }
            }
        }
    };
    let page = Page { place: shell::USERS, title: "Users", content }.answer(who);
    Ok(match refused {
        Some(refused) => refused.on(page),
        None => page,
    })
}

fn status(user: &UserView) -> Markup {
    html! {
        @if user.active { span.tag.good { "active" } } @else { span.tag.bad { "disabled" } }
        @if !user.has_password { " " span.tag { "keys only" } }
    }
}

/// The groups of a manager, as they are typed.
fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn manages(id: &str, value: &str) -> Markup {
    html! {
        div.field { label for=(id) { "Manages" }
            input id=(id) name="manages" value=(value) autocomplete="off";
            p.hint { "Groups of a manager, separated by commas." } }
    }
}

fn role_choice(id: &str, chosen: Role) -> Markup {
    html! {
        div.field { label for=(id) { "Role" }
            select id=(id) name="role" { @for role in Role::ALL { option value=(role.as_str()) selected[role == chosen] { (role.as_str()) } } } }
    }
}

/// Creates one.
pub async fn create(
    State(state): State<ControlState>,
    PeopleManager { who, scope }: PeopleManager,
    form: Form,
) -> ApiResult<Response> {
    let made = async {
        let new = NewUser {
            name: form.text("name").to_owned(),
            password: Some(form.raw("password")).filter(|password| !password.is_empty()).map(str::to_owned),
            group: form.filled("group").map(str::to_owned),
            role: form.filled("role").and_then(|role| role.parse().ok()).unwrap_or_default(),
            manages: names(form.text("manages")),
            limits: limits_form::read(&form)?,
        };
        Ok(state.accounts.create_user(&Actor::from(&who), new).await?)
    };
    match made.await {
        Ok(user) => Ok(redirect(&format!("{PATH}/{}?done=user-created", user.id))),
        Err(error) => match Refused::of_form(error) {
            Ok(refused) => list(&state, (&who, &scope), &Asked::default(), &form, Some(refused)).await,
            Err(error) => Err(error),
        },
    }
}

/// One user.
pub async fn one(
    State(state): State<ControlState>,
    PeopleReader { who, scope }: PeopleReader,
    PathParam(id): PathParam<String>,
    QueryParams(asked): QueryParams<Asked>,
) -> ApiResult<Response> {
    page(&state, (&who, &scope), &id, asked.done.as_deref(), None).await
}

async fn page(
    state: &ControlState,
    (who, scope): (&Caller, &Scope),
    id: &str,
    done: Option<&str>,
    sent: Option<(&Form, Refused)>,
) -> ApiResult<Response> {
    let user = state.accounts.user_within(scope, id).await?;
    let view = UserView::of(&user, &state.accounts);
    let path = format!("{PATH}/{}", user.id);
    let form = sent.as_ref().map(|(form, _)| *form);
    let usage = link("/ui/all-usage", &[("user", user.id.to_string())]);
    let content = html! {
        (shell::heading(&user.name, html! { a href=(PATH) { "Users" } " · " (status(&view)) " " span.tag { (view.role.as_str()) }
            " created " (format::minute(user.created_at)) }, html! { a.button href=(usage) { "Usage" } }))
        (shell::done(done))
        @if let Some((_, refused)) = &sent { (refused.notice()) }
        (quota_of_user(state, &user))
        @if permit::may_manage(who) {
        section.card aria-labelledby="change" {
            header { h2 id="change" { "Change" } }
            div.inside { form method="post" action=(path) { div.fields {
                div.field { label for="name" { "Name" } input id="name" name="name" value=(form.map_or(user.name.as_str(), |form| form.text("name"))) required maxlength="128" autocomplete="off"; }
                (group_choice(state, scope, "group", view.group.as_deref()).await?)
                (role_choice("role", view.role))
                (manages("manages", &view.manages.join(", ")))
                (limits_form::fields(&user.limits, form))
                div.wide { button.primary type="submit" { "Save" } }
            } } }
        }
        }
        (keys::of_user(state, &user, &path, permit::may_manage(who)).await?)
        @if permit::may_manage(who) { (doors(&user, &path)) }
    };
    let page = Page { place: shell::USERS, title: &user.name, content }.answer(who);
    Ok(match sent {
        Some((_, refused)) => refused.on(page),
        None => page,
    })
}

/// What lets somebody in, or not any more.
fn doors(user: &User, path: &str) -> Markup {
    let name = &user.name;
    html! {
        section.card aria-labelledby="doors" {
            header { h2 id="doors" { "Signing in, and out" } }
            div.inside {
                form method="post" action=(format!("{path}/password")) { div.fields {
                    div.field { label for="password" { "New password" } input id="password" name="password" type="password" required minlength="8" maxlength="256" autocomplete="new-password";
                        p.hint { "8 characters or more. Every session of theirs ends; keys stay." } }
                    div.field { span.label aria-hidden="true" { "\u{a0}" } button type="submit" { "Set the password" } }
                } }
                div.row {
                    form method="post" action=(format!("{path}/revoke")) { button type="submit" data-ask=(format!("Sign {name} out everywhere?")) { "Sign out everywhere" } }
                    @if user.active {
                        form method="post" action=(format!("{path}/disable")) { button.danger type="submit" data-ask=(format!("Disable {name}? Calls are refused from the next one on.")) { "Disable" } }
                    } @else {
                        form method="post" action=(format!("{path}/enable")) { button type="submit" { "Enable" } }
                    }
                    form method="post" action=(format!("{path}/remove")) { button.danger type="submit" data-ask=(format!("Remove {name} with all keys? Usage stays in the books. This cannot be undone.")) { "Remove" } }
                }
            }
        }
    }
}

/// Changes one.
pub async fn change(
    State(state): State<ControlState>,
    PeopleManager { who, scope }: PeopleManager,
    PathParam(id): PathParam<String>,
    form: Form,
) -> ApiResult<Response> {
    let changed = async {
        let before = state.accounts.user_within(&scope, &id).await?;
        let managed = UserView::of(&before, &state.accounts).manages;
        let wanted = UserChange {
            name: form.filled("name").map(str::to_owned),
            group: Some(form.filled("group").map(str::to_owned)),
            role: form.filled("role").and_then(|role| role.parse().ok()).filter(|role| *role != before.role),
            manages: Some(names(form.text("manages"))).filter(|names| *names != managed),
            active: None,
            limits: limits_form::read(&form)?,
        };
        Ok(state.accounts.change_user(&Actor::from(&who), &id, wanted).await?)
    };
    match changed.await {
        Ok(user) => Ok(redirect(&format!("{PATH}/{}?done=saved", user.id))),
        Err(error) => match Refused::of_form(error) {
            Ok(refused) => page(&state, (&who, &scope), &id, None, Some((&form, refused))).await,
            Err(error) => Err(error),
        },
    }
}

/// What one button does: `disable`, `enable`, `revoke`, `remove`, or `password`.
pub async fn act(
    State(state): State<ControlState>,
    PeopleManager { who, scope }: PeopleManager,
    PathParam((id, what)): PathParam<(String, String)>,
    form: Form,
) -> ApiResult<Response> {
    let (accounts, actor) = (&state.accounts, Actor::from(&who));
    let active = |active| UserChange { active: Some(active), ..UserChange::default() };
    let done = match what.as_str() {
        "disable" => accounts.change_user(&actor, &id, active(false)).await.map(|_| "user-disabled"),
        "enable" => accounts.change_user(&actor, &id, active(true)).await.map(|_| "user-enabled"),
        "revoke" => accounts.revoke_sessions(&actor, &id).await.map(|_| "user-signed-out"),
        "password" => {
            accounts.set_password(&actor, &id, form.raw("password").to_owned()).await.map(|()| "password-set")
        }
        "remove" => {
            accounts.remove_user(&actor, &id).await?;
            return Ok(redirect("/ui/users?done=user-removed"));
        }
        _ => return Err(crate::http::problem::ApiError::not_found("there is no such page")),
    };
    match done.map_err(Into::into) {
        Ok(done) => Ok(redirect(&format!("{PATH}/{id}?done={done}"))),
        Err(error) => match Refused::of_form(error) {
            Ok(refused) => page(&state, (&who, &scope), &id, None, Some((&Form::default(), refused))).await,
            Err(error) => Err(error),
        },
    }
}
