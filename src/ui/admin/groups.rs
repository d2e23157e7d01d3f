//! Groups, whose members share limits.

use axum::extract::State;
use axum::response::Response;
use maud::html;
use serde::Deserialize;

use crate::accounts::{Actor, GroupChange, NewGroup};
use crate::domain::group::Limits;
use crate::domain::permission::Scope;
use crate::http::control::ControlState;
use crate::http::groups::GroupView;
use crate::http::input::{Caller, PathParam, QueryParams};
use crate::http::paging::{List, place};
use crate::http::problem::ApiResult;
use crate::store::{GroupRepo, UserRepo};
use crate::ui::admin::{limits_form, quota_of_group};
use crate::ui::form::{Form, Refused};
use crate::ui::format;
use crate::ui::permit::{self, Admin, PeopleReader};
use crate::ui::shell::{self, Page};
use crate::ui::sign_in::redirect;
use crate::ui::span::link;

const PATH: &str = "/ui/groups";
const ROWS: usize = 100;

/// What the address says.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    cursor: Option<String>,
    done: Option<String>,
}

/// The list.
pub async fn show(
    State(state): State<ControlState>,
    PeopleReader { who, scope }: PeopleReader,
    QueryParams(asked): QueryParams<Asked>,
) -> ApiResult<Response> {
    list(&state, (&who, &scope), &asked, &Form::default(), None).await
}

async fn list(
    state: &ControlState,
    (who, scope): (&Caller, &Scope),
    asked: &Asked,
    form: &Form,
    refused: Option<Refused>,
) -> ApiResult<Response> {
    let page =
        GroupRepo::on(&state.store).list(scope.groups(), ROWS, place(asked.cursor.as_deref())?).await?;
    let groups = List::of(page, |group| GroupView::from(&group));
    let content = html! {
        (shell::heading("Groups", html! { "Users who share limits, and whose usage is added up." }, html! {}))
        (shell::done(asked.done.as_deref()))
        @if let Some(refused) = &refused { (refused.notice()) }
        @if permit::may_administer(who) { details.card open[refused.is_some()] {
            summary { "Create a group" }
            div.inside { form method="post" action=(PATH) { div.fields {
                div.field { label for="name" { "Name" } input id="name" name="name" value=(form.text("name")) required maxlength="128" autocomplete="off"; }
                (limits_form::fields(&Limits::default(), Some(form)))
                div.wide { button.primary type="submit" { "Create the group" } }
            } } }
        } }
        section.card {
            @if groups.items.is_empty() { div.empty { strong { "No groups yet" } p { "Create one above, then put users into it." } } } @else {
                div.scroll tabindex="0" { table {
                    caption { "Groups" }
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Limits" } th scope="col" { "Created (UTC)" } } }
                    tbody { @for group in &groups.items { tr {
                        th scope="row" { a href=(format!("{PATH}/{}", group.id)) { (group.name) } }
                        td { (limits_form::words(&group.limits)) }
                        td { (format::minute(group.created_at)) }
                    } } }
                } }
            }
            @if let Some(next) = &groups.next_cursor {
                nav.pager aria-label="Pages of groups" { a href=(link(PATH, &[("cursor", next.clone())])) rel="next" { "Older" } }
            }
        }
    };
    let page = Page { place: shell::GROUPS, title: "Groups", content }.answer(who);
    Ok(match refused {
        Some(refused) => refused.on(page),
        None => page,
    })
}

/// Creates one.
pub async fn create(State(state): State<ControlState>, Admin(who): Admin, form: Form) -> ApiResult<Response> {
    let made = async {
        let new = NewGroup { name: form.text("name").to_owned(), limits: limits_form::read(&form)? };
        Ok(state.accounts.create_group(&Actor::from(&who), new).await?)
    };
    match made.await {
        Ok(group) => Ok(redirect(&format!("{PATH}/{}?done=group-created", group.id))),
        Err(error) => {
            let refused = Refused::of_form(error)?;
            list(&state, (&who, &Scope::Everybody), &Asked::default(), &form, Some(refused)).await
        }
    }
}

/// One group.
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
    let group = state.accounts.group_within(scope, id).await?;
    let members = UserRepo::on(&state.store).list_by_group(group.id).await?;
    let (path, form) = (format!("{PATH}/{}", group.id), sent.as_ref().map(|(form, _)| *form));
    let usage = link("/ui/all-usage", &[("group", group.id.to_string())]);
    let content = html! {
        (shell::heading(&group.name, html! { a href=(PATH) { "Groups" } " · " (format::count(members.len() as u64)) @if members.len() == 1 { " member" } @else { " members" } },
            html! { a.button href=(usage) { "Usage" } }))
        (shell::done(done))
        @if let Some((_, refused)) = &sent { (refused.notice()) }
        (quota_of_group(state, &group))
        @if permit::may_administer(who) {
        section.card aria-labelledby="change" {
            header { h2 id="change" { "Change" } }
            div.inside { form method="post" action=(path) { div.fields {
                div.field { label for="name" { "Name" } input id="name" name="name" value=(form.map_or(group.name.as_str(), |form| form.text("name"))) required maxlength="128" autocomplete="off"; }
                (limits_form::fields(&group.limits, form))
                div.wide { button.primary type="submit" { "Save" } }
            } } }
        }
        }
        section.card {
            @if members.is_empty() { div.empty { strong { "Nobody is in it" } p { a href="/ui/users" { "Users" } " are put into a group on their own page." } } } @else {
                div.scroll tabindex="0" { table {
                    caption { "Members" }
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Role" } th scope="col" { "Status" } } }
                    tbody { @for user in &members { tr {
                        th scope="row" { a href=(format!("/ui/users/{}", user.id)) { (user.name) } }
                        td { (user.role.as_str()) }
                        td { @if user.active { span.tag.good { "active" } } @else { span.tag.bad { "disabled" } } }
                    } } }
                } }
            }
        }
        @if permit::may_administer(who) {
        section.card { div.inside { div.row {
            form method="post" action=(format!("{path}/remove")) {
                @if !members.is_empty() { input type="hidden" name="force" value="yes"; }
                button.danger type="submit" data-ask=(format!("Remove {}? Its {} members are then held to their own limits only.", group.name, members.len())) { "Remove the group" }
            }
            span.hint { "What it has used stays in the books." }
        } } }
        }
    };
    let page = Page { place: shell::GROUPS, title: &group.name, content }.answer(who);
    Ok(match sent {
        Some((_, refused)) => refused.on(page),
        None => page,
    })
}

/// Changes one.
pub async fn change(
    State(state): State<ControlState>,
    Admin(who): Admin,
    PathParam(id): PathParam<String>,
    form: Form,
) -> ApiResult<Response> {
    let changed = async {
        let wanted =
            GroupChange { name: form.filled("name").map(str::to_owned), limits: limits_form::read(&form)? };
        Ok(state.accounts.change_group(&Actor::from(&who), &id, wanted).await?)
    };
    match changed.await {
        Ok(group) => Ok(redirect(&format!("{PATH}/{}?done=saved", group.id))),
        Err(error) => {
            let refused = Refused::of_form(error)?;
            page(&state, (&who, &Scope::Everybody), &id, None, Some((&form, refused))).await
        }
    }
}

/// Removes one.
pub async fn remove(
    State(state): State<ControlState>,
    Admin(who): Admin,
    PathParam(id): PathParam<String>,
    form: Form,
) -> ApiResult<Response> {
    state.accounts.remove_group(&Actor::from(&who), &id, form.text("force") == "yes").await?;
    Ok(redirect("/ui/groups?done=group-removed"))
}
