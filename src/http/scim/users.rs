//! `/Users`: who may call. Names, ids, and whether they are active; what else a directory says of people is passed over.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::accounts::{Accounts, ProvisionedUser, ProvisionedUserChange};
use crate::domain::ids::UserId;
use crate::domain::user::User;
use crate::http::input::{FileBody, PathParam, QueryParams};
use crate::http::scim::answer::{self, Asked, Directory};
use crate::http::scim::filter::{self, Comparison};
use crate::http::scim::patch::{self, Edit, Op};
use crate::http::scim::refusal::{Refusal, ScimType};
use crate::http::scim::resource::{Resource, flag, optional_text, text};
use crate::http::scim::schemas::USER;
use crate::http::state::ControlState;
use crate::store::{UserQuery, Window};

/// One resource, and no more.
const ONE: Window = Window { skip: 0, limit: 1 };

pub async fn list(
    State(state): State<ControlState>,
    directory: Directory,
    QueryParams(asked): QueryParams<Asked>,
) -> Result<Response, Refusal> {
    let window = asked.window();
    let Some(query) = query(asked.filter.as_deref())? else {
        return Ok(answer::list(&[], 0, window));
    };
    let (users, total) = state.accounts.provisioned_users(&query, window).await?;
    let told = users.iter().map(|user| asked.select(view(user, &directory, &state.accounts)));
    Ok(answer::list(&told.collect::<Vec<_>>(), total, window))
}

pub async fn show(
    State(state): State<ControlState>,
    directory: Directory,
    PathParam(id): PathParam<String>,
    QueryParams(asked): QueryParams<Asked>,
) -> Result<Response, Refusal> {
    let query = UserQuery { id: Some(parsed(&id)?), ..UserQuery::default() };
    let (users, _) = state.accounts.provisioned_users(&query, ONE).await?;
    let user = users.first().ok_or_else(|| Refusal::not_found("user", &id))?;
    Ok(answer::resource(StatusCode::OK, &asked.select(view(user, &directory, &state.accounts))))
}

pub async fn create(
    State(state): State<ControlState>,
    directory: Directory,
    QueryParams(asked): QueryParams<Asked>,
    FileBody(body): FileBody,
) -> Result<Response, Refusal> {
    let ProvisionedUserChange { name, external_id, active } = said(&Resource::read(&body)?)?;
    let new = ProvisionedUser {
        name: name.unwrap_or_default(),
        external_id: external_id.flatten(),
        active: active.unwrap_or(true),
    };
    let user = state.accounts.provision_user(&directory.actor, new).await?;
    Ok(answer::resource(StatusCode::CREATED, &asked.select(view(&user, &directory, &state.accounts))))
}

/// What is not said stays as it is.
pub async fn replace(
    State(state): State<ControlState>,
    directory: Directory,
    PathParam(id): PathParam<String>,
    QueryParams(asked): QueryParams<Asked>,
    FileBody(body): FileBody,
) -> Result<Response, Refusal> {
    let (id, wanted) = (parsed(&id)?, said(&Resource::read(&body)?)?);
    let user = state.accounts.change_provisioned_user(&directory.actor, id, wanted).await?;
    Ok(answer::resource(StatusCode::OK, &asked.select(view(&user, &directory, &state.accounts))))
}

pub async fn change(
    State(state): State<ControlState>,
    directory: Directory,
    PathParam(id): PathParam<String>,
    QueryParams(asked): QueryParams<Asked>,
    FileBody(body): FileBody,
) -> Result<Response, Refusal> {
    let (id, wanted) = (parsed(&id)?, patched(&patch::read(&Resource::read(&body)?)?)?);
    let user = state.accounts.change_provisioned_user(&directory.actor, id, wanted).await?;
    Ok(answer::resource(StatusCode::OK, &asked.select(view(&user, &directory, &state.accounts))))
}

/// The user is disabled and not there for the directory any more.
pub async fn remove(
    State(state): State<ControlState>,
    directory: Directory,
    PathParam(id): PathParam<String>,
) -> Result<Response, Refusal> {
    state.accounts.deprovision_user(&directory.actor, parsed(&id)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn view(user: &User, directory: &Directory, accounts: &Accounts) -> Value {
    let id = user.id.to_string();
    let mut view = json!({
        "schemas": [USER],
        "id": id,
        "userName": user.name,
        "active": user.active,
        "meta": answer::meta("User", &directory.location("Users", &id), Some((user.created_at, user.updated_at))),
    });
    if let Some(external_id) = &user.external_id {
        view["externalId"] = json!(external_id);
    }
    if let Some(group) = user.group_id {
        let at = directory.location("Groups", &group.to_string());
        let name = accounts.group_name(group);
        view["groups"] = json!([{"value": group, "$ref": at, "display": name, "type": "direct"}]);
    }
    view
}

/// What a whole resource says.
fn said(resource: &Resource) -> Result<ProvisionedUserChange, Refusal> {
    let external_id = match resource.get("externalId") {
        None => None,
        given => Some(optional_text("externalId", given)?),
    };
    let active = resource.get("active").filter(|active| !active.is_null());
    Ok(ProvisionedUserChange {
        name: Some(text("userName", resource.get("userName"))?),
        external_id,
        active: active.map(|active| flag("active", active)).transpose()?,
    })
}

/// What a patch says.
fn patched(edits: &[Edit]) -> Result<ProvisionedUserChange, Refusal> {
    let mut change = ProvisionedUserChange::default();
    for edit in edits {
        match (edit.path.attribute.as_str(), &edit.value) {
            ("username", value) => {
                edit.demand_value("userName")?;
                change.name = Some(text("userName", value.as_ref())?);
            }
            ("active", value) => {
                edit.demand_value("active")?;
                change.active = value.as_ref().map(|active| flag("active", active)).transpose()?;
            }
            ("externalid", value) => {
                edit.demand_whole("externalId")?;
                let value = value.as_ref().filter(|_| edit.op != Op::Remove);
                change.external_id = Some(optional_text("externalId", value)?);
            }
            _ => edit.pass_over()?,
        }
    }
    Ok(change)
}

/// The users of a filter; `None` for one that nobody meets.
fn query(filter: Option<&str>) -> Result<Option<UserQuery>, Refusal> {
    let mut query = UserQuery::default();
    for comparison in filter.map(filter::parse).transpose()?.unwrap_or_default() {
        let Comparison { attribute, value } = comparison;
        let is_met = match (attribute.as_str(), value) {
            ("id", Value::String(id)) => id.parse().is_ok_and(|id| narrow(&mut query.id, id)),
            ("username", Value::String(name)) => narrow(&mut query.name, name),
            ("externalid", Value::String(id)) => narrow(&mut query.external_id, id),
            ("active", value) => {
                let active = flag("active", &value)
                    .map_err(|_| Refusal::bad(ScimType::InvalidFilter, "active is true or false"))?;
                narrow(&mut query.active, active)
            }
            _ => {
                let text = "users are found by id, userName, externalId and active";
                return Err(Refusal::bad(ScimType::InvalidFilter, text));
            }
        };
        if !is_met {
            return Ok(None);
        }
    }
    Ok(Some(query))
}

/// Demands a value; false: another one is demanded already.
pub fn narrow<T: PartialEq>(demanded: &mut Option<T>, value: T) -> bool {
    if let Some(other) = demanded {
        return *other == value;
    }
    *demanded = Some(value);
    true
}

fn parsed(id: &str) -> Result<UserId, Refusal> {
    id.parse().map_err(|_| Refusal::not_found("user", id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_nobody_can_meet_asks_nothing() {
        let id = UserId::new();
        let asked = format!("id eq \"{id}\" and userName eq \"alice\" and active eq \"False\"");
        let expected = UserQuery {
            id: Some(id),
            name: Some("alice".to_owned()),
            active: Some(false),
            ..UserQuery::default()
        };
        assert_eq!(query(Some(&asked)).expect("a filter"), Some(expected));
        for nobody in [r#"id eq "alice""#, r#"userName eq "a" and userName eq "b""#] {
            assert_eq!(query(Some(nobody)).expect("a filter"), None, "{nobody}");
        }
        for wrong in [r#"displayName eq "a""#, "userName eq 5", "active eq 5"] {
            let refused = query(Some(wrong)).expect_err(wrong);
            assert_eq!(refused.scim_type(), Some(ScimType::InvalidFilter), "{wrong}");
        }
    }
}
