//! Pages about everybody, and about the gateway itself.

pub mod alerts;
pub mod audit;
pub mod groups;
pub mod keys;
mod limits_form;
pub mod models;
pub mod nodes;
pub mod overview;
pub mod usage;
pub mod users;

use std::time::Instant;

use maud::{Markup, html};

use crate::domain::clock::Moment;
use crate::domain::group::Group;
use crate::domain::permission::Scope;
use crate::domain::quota::Allowance;
use crate::domain::user::User;
use crate::http::control::ControlState;
use crate::http::me::QuotaView;
use crate::http::problem::ApiResult;
use crate::quota::SubjectId;
use crate::store::GroupRepo;
use crate::ui::limits;

/// Groups that a choice offers; whoever has more types the name into a command.
const CHOICES_MAX: usize = 500;

/// A choice of groups.
async fn group_choice(
    state: &ControlState,
    scope: &Scope,
    id: &str,
    chosen: Option<&str>,
) -> ApiResult<Markup> {
    let groups = GroupRepo::on(&state.store).list(scope.groups(), CHOICES_MAX, None).await?;
    let mut names: Vec<String> = groups.items.into_iter().map(|group| group.name).collect();
    names.sort_unstable();
    Ok(html! {
        div.field { label for=(id) { "Group" }
            select id=(id) name="group" {
                option value="" { "–" }
                @for name in &names { option value=(name) selected[chosen == Some(name.as_str())] { (name) } }
            } }
    })
}

/// What a user has used of their limits.
fn quota_of_user(state: &ControlState, user: &User) -> Markup {
    let Some((_, allowance)) = state.accounts.user_allowance(user.id) else { return html! {} };
    quota(state, "Own limits", &user.name, SubjectId::User(user.id), &allowance)
}

/// What the members of a group have used of its limits.
fn quota_of_group(state: &ControlState, group: &Group) -> Markup {
    let Some((_, allowance)) = state.accounts.group_allowance(group.id) else { return html! {} };
    quota(state, "What the members may use together", &group.name, SubjectId::Group(group.id), &allowance)
}

fn quota(
    state: &ControlState,
    heading: &str,
    name: &str,
    subject: SubjectId,
    allowance: &std::sync::Arc<Allowance>,
) -> Markup {
    let now = Moment { at: state.clock.now(), steady: Instant::now() };
    let view = QuotaView::new(name, &state.quota.status(subject, allowance, now));
    limits::of(heading, &view, now.at)
}
