//! `/Groups`: users who share limits. A user is in one group: who is added to another leaves the one before.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::accounts::{MembersChange, ProvisionedGroup, ProvisionedGroupChange};
use crate::domain::ids::{GroupId, UserId};
use crate::http::input::{FileBody, PathParam, QueryParams};
use crate::http::scim::answer::{self, Asked, Directory};
use crate::http::scim::filter::{self, Comparison};
use crate::http::scim::patch::{self, Edit, Op};
use crate::http::scim::refusal::{Refusal, ScimType};
use crate::http::scim::resource::{Resource, field, invalid, optional_text, text};
use crate::http::scim::schemas::GROUP;
use crate::http::scim::users::narrow;
use crate::http::state::ControlState;
use crate::store::{GroupQuery, Window};

const MEMBERS: &str = "members";
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
    let (groups, total) = state.accounts.provisioned_groups(&query, window, asked.wants(MEMBERS)).await?;
    let told = groups.iter().map(|group| asked.select(view(group, &directory)));
    Ok(answer::list(&told.collect::<Vec<_>>(), total, window))
}

pub async fn show(
    State(state): State<ControlState>,
    directory: Directory,
    PathParam(id): PathParam<String>,
    QueryParams(asked): QueryParams<Asked>,
) -> Result<Response, Refusal> {
    let query = GroupQuery { id: Some(parsed(&id)?), ..GroupQuery::default() };
    let (groups, _) = state.accounts.provisioned_groups(&query, ONE, asked.wants(MEMBERS)).await?;
    let group = groups.first().ok_or_else(|| Refusal::not_found("group", &id))?;
    Ok(answer::resource(StatusCode::OK, &asked.select(view(group, &directory))))
}

pub async fn create(
    State(state): State<ControlState>,
    directory: Directory,
    QueryParams(asked): QueryParams<Asked>,
    FileBody(body): FileBody,
) -> Result<Response, Refusal> {
    let resource = Resource::read(&body)?;
    let name = text("displayName", resource.get("displayName"))?;
    let external_id = optional_text("externalId", resource.get("externalId"))?;
    let members = resource.get(MEMBERS).filter(|members| !members.is_null()).map_or(Ok(Vec::new()), given)?;
    let made =
        state.accounts.provision_group(&directory.actor, &name, external_id.as_deref(), &members).await?;
    Ok(answer::resource(StatusCode::CREATED, &asked.select(view(&made, &directory))))
}

/// What is not said stays as it is: nobody loses the limits of a group because a directory does not speak of members.
pub async fn replace(
    State(state): State<ControlState>,
    directory: Directory,
    PathParam(id): PathParam<String>,
    QueryParams(asked): QueryParams<Asked>,
    FileBody(body): FileBody,
) -> Result<Response, Refusal> {
    let (id, resource) = (parsed(&id)?, Resource::read(&body)?);
    let external_id = match resource.get("externalId") {
        None => None,
        said => Some(optional_text("externalId", said)?),
    };
    let members = resource.get(MEMBERS).filter(|members| !members.is_null());
    let wanted = ProvisionedGroupChange {
        name: Some(text("displayName", resource.get("displayName"))?),
        external_id,
        members: members.map(given).transpose()?.map(MembersChange::Replace).into_iter().collect(),
    };
    let changed = state.accounts.change_provisioned_group(&directory.actor, id, &wanted).await?;
    Ok(answer::resource(StatusCode::OK, &asked.select(view(&changed, &directory))))
}

/// Without the group in the answer, which may have thousands of members, unless attributes of it are asked for.
pub async fn change(
    State(state): State<ControlState>,
    directory: Directory,
    PathParam(id): PathParam<String>,
    QueryParams(asked): QueryParams<Asked>,
    FileBody(body): FileBody,
) -> Result<Response, Refusal> {
    let (id, wanted) = (parsed(&id)?, patched(&patch::read(&Resource::read(&body)?)?)?);
    let changed = state.accounts.change_provisioned_group(&directory.actor, id, &wanted).await?;
    if asked.selects() {
        return Ok(answer::resource(StatusCode::OK, &asked.select(view(&changed, &directory))));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The members are in no group then.
pub async fn remove(
    State(state): State<ControlState>,
    directory: Directory,
    PathParam(id): PathParam<String>,
) -> Result<Response, Refusal> {
    let id = parsed(&id)?;
    state.accounts.remove_group(&directory.actor, &id.to_string(), true).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn view(known: &ProvisionedGroup, directory: &Directory) -> Value {
    let ProvisionedGroup { group, external_id, members } = known;
    let id = group.id.to_string();
    let members = members.iter().map(|member| {
        let at = directory.location("Users", &member.to_string());
        json!({"value": member, "$ref": at, "type": "User"})
    });
    let location = directory.location("Groups", &id);
    let mut view = json!({
        "schemas": [GROUP],
        "id": id,
        "displayName": group.name,
        "members": members.collect::<Vec<_>>(),
        "meta": answer::meta("Group", &location, Some((group.created_at, group.updated_at))),
    });
    if let Some(external_id) = external_id {
        view["externalId"] = json!(external_id);
    }
    view
}

/// What a patch says.
fn patched(edits: &[Edit]) -> Result<ProvisionedGroupChange, Refusal> {
    let mut change = ProvisionedGroupChange::default();
    for edit in edits {
        match edit.path.attribute.as_str() {
            "displayname" => {
                edit.demand_value("displayName")?;
                change.name = Some(text("displayName", edit.value.as_ref())?);
            }
            "externalid" => {
                edit.demand_whole("externalId")?;
                let value = edit.value.as_ref().filter(|_| edit.op != Op::Remove);
                change.external_id = Some(optional_text("externalId", value)?);
            }
            MEMBERS => change.members.push(members(edit)?),
            _ => edit.pass_over()?,
        }
    }
    Ok(change)
}

fn members(edit: &Edit) -> Result<MembersChange, Refusal> {
    match (edit.op, edit.path.filter.as_slice(), &edit.value) {
        _ if edit.path.sub_attribute.is_some() => {
            Err(Refusal::bad(ScimType::InvalidPath, "members are added and removed as a whole"))
        }
        (Op::Remove, [Comparison { attribute, value: Value::String(id) }], _) if attribute == "value" => {
            Ok(MembersChange::Remove(id.parse().into_iter().collect()))
        }
        (_, [_, ..], _) => {
            let text = "members are removed by members[value eq \"ID\"], and added without a filter";
            Err(Refusal::bad(ScimType::InvalidPath, text))
        }
        // Entra ID says so which ones are to go.
        (Op::Remove, [], Some(value)) => {
            let ids = ids(value)?.into_iter();
            Ok(MembersChange::Remove(ids.filter_map(|id| id.parse().ok()).collect()))
        }
        (Op::Remove | Op::Replace, [], None) => Ok(MembersChange::Replace(Vec::new())),
        (Op::Replace, [], Some(value)) => given(value).map(MembersChange::Replace),
        (Op::Add, [], value) => Ok(MembersChange::Add(value.as_ref().map_or(Ok(Vec::new()), given)?)),
    }
}

/// Members who have to be users here.
fn given(value: &Value) -> Result<Vec<UserId>, Refusal> {
    let parsed = ids(value)?.into_iter().map(|id| {
        id.parse().map_err(|_| invalid(MEMBERS, &format!("there is no user {id}; groups cannot be members")))
    });
    parsed.collect()
}

/// The ids of members, however many there are.
fn ids(value: &Value) -> Result<Vec<&str>, Refusal> {
    match value {
        Value::Array(members) => members.iter().map(id_of).collect(),
        member => Ok(vec![id_of(member)?]),
    }
}

fn id_of(member: &Value) -> Result<&str, Refusal> {
    let id = match member {
        Value::String(id) => Some(id.as_str()),
        Value::Object(fields) => field(fields, "value").and_then(Value::as_str),
        _ => None,
    };
    id.ok_or_else(|| invalid(MEMBERS, "one has no value, which is the id of a user"))
}

/// The groups of a filter; `None` for one that no group meets.
fn query(filter: Option<&str>) -> Result<Option<GroupQuery>, Refusal> {
    let mut query = GroupQuery::default();
    for comparison in filter.map(filter::parse).transpose()?.unwrap_or_default() {
        let Comparison { attribute, value } = comparison;
        let is_met = match (attribute.as_str(), value) {
            ("id", Value::String(id)) => id.parse().is_ok_and(|id| narrow(&mut query.id, id)),
            ("displayname", Value::String(name)) => narrow(&mut query.name, name),
            ("externalid", Value::String(id)) => narrow(&mut query.external_id, id),
            ("members" | "members.value", Value::String(id)) => {
                id.parse().is_ok_and(|id| narrow(&mut query.member, id))
            }
            _ => {
                let text = "groups are found by id, displayName, externalId and members.value";
                return Err(Refusal::bad(ScimType::InvalidFilter, text));
            }
        };
        if !is_met {
            return Ok(None);
        }
    }
    Ok(Some(query))
}

fn parsed(id: &str) -> Result<GroupId, Refusal> {
    id.parse().map_err(|_| Refusal::not_found("group", id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(operations: &Value) -> Result<ProvisionedGroupChange, Refusal> {
        let body = json!({ "Operations": operations }).to_string();
        patched(&patch::read(&Resource::read(body.as_bytes())?)?)
    }

    #[test]
    fn members_are_edited_in_every_form_that_directories_send() {
        let (a, b) = (UserId::new(), UserId::new());
        let filtered = format!("members[value eq \"{a}\"]");
        for (operation, expected) in [
            (
                json!({"op": "Add", "path": "members", "value": [{"$ref": null, "value": a}, {"value": b}]}),
                MembersChange::Add(vec![a, b]),
            ),
            (json!({"op": "add", "path": "members", "value": {"value": a}}), MembersChange::Add(vec![a])),
            (json!({"op": "add", "value": {"members": [{"value": b}]}}), MembersChange::Add(vec![b])),
            (
                json!({"op": "Remove", "path": "members", "value": [{"$ref": null, "value": a}]}),
                MembersChange::Remove(vec![a]),
            ),
            (json!({"op": "remove", "path": filtered}), MembersChange::Remove(vec![a])),
            (json!({"op": "remove", "path": "members[value eq \"x\"]"}), MembersChange::Remove(vec![])),
            (json!({"op": "remove", "path": "members", "value": []}), MembersChange::Remove(vec![])),
            (json!({"op": "remove", "path": "members"}), MembersChange::Replace(vec![])),
            (
                json!({"op": "replace", "path": "members", "value": [{"value": a}]}),
                MembersChange::Replace(vec![a]),
            ),
        ] {
            let change = changes(&json!([operation])).expect("a change");
            assert_eq!(change.members, [expected], "{operation}");
        }
    }

    #[test]
    fn a_group_is_renamed_as_okta_and_entra_do_it() {
        let okta = json!([{"op": "replace", "value": {"id": "x", "displayName": "devs"}}]);
        let entra = json!([{"op": "Replace", "path": "displayName", "value": "devs"}]);
        for operations in [okta, entra] {
            assert_eq!(changes(&operations).expect("a change").name.as_deref(), Some("devs"));
        }
        let refused = changes(&json!([{"op": "remove", "path": "displayName"}])).expect_err("it stays");
        assert_eq!(refused.scim_type(), Some(ScimType::Mutability));
    }

    #[test]
    fn members_that_cannot_be_are_refused() {
        for (operation, expected) in [
            (json!({"op": "add", "path": "members", "value": [{"value": "x"}]}), ScimType::InvalidValue),
            (json!({"op": "add", "path": "members", "value": [{"display": "x"}]}), ScimType::InvalidValue),
            (json!({"op": "add", "path": "members", "value": [5]}), ScimType::InvalidValue),
            (json!({"op": "replace", "path": "members[value eq \"x\"]", "value": []}), ScimType::InvalidPath),
            (json!({"op": "remove", "path": "members[display eq \"x\"]"}), ScimType::InvalidPath),
            (json!({"op": "remove", "path": "members.value"}), ScimType::InvalidPath),
        ] {
            let refused = changes(&json!([operation])).expect_err("no change");
            assert_eq!(refused.scim_type(), Some(expected), "{operation}");
        }
    }
}
