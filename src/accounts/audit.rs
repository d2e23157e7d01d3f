//! The audit log: who changed what, from what to what. Never a secret: users appear here without their password hash,
//! keys without their digest.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::accounts::error::Error;
use crate::accounts::{Accounts, Change};
use crate::domain::clock::Timestamp;
use crate::domain::group::{Group, Limits};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::principal::{Credential, Principal};
use crate::domain::user::{ApiKey, User};
use crate::store::{AuditEntry, AuditRepo};

/// Who makes a change, as the audit log names them, and as what they may be told to make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    name: String,
    /// What they have proved themselves with.
    credential: Option<&'static str>,
    /// Where they are.
    address: Option<IpAddr>,
    /// The user whose rights they have; `None`: whoever has the machine, who may do everything.
    pub(super) user: Option<UserId>,
}

impl Actor {
    /// The gateway itself, at its first start.
    #[must_use]
    pub fn system() -> Self {
        Self { name: "system".to_owned(), credential: None, address: None, user: None }
    }

    /// An identity provider, by what it says of somebody.
    #[must_use]
    pub fn provider() -> Self {
        Self { name: "identity provider".to_owned(), ..Self::system() }
    }

    /// The directory that provisions people (SCIM).
    #[must_use]
    pub fn provisioner() -> Self {
        Self { name: "scim".to_owned(), credential: Some("scim_token"), ..Self::system() }
    }

    /// The same, calling from `address`.
    #[must_use]
    pub fn at(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }
}

impl From<&Principal> for Actor {
    fn from(principal: &Principal) -> Self {
        let (name, user) = match principal.credential {
            Credential::LocalAdmin => ("local-admin".to_owned(), None),
            Credential::ApiKey(_) | Credential::AccessToken(_) | Credential::Browser(_) => {
                (format!("user {}", principal.user), Some(principal.user_id))
            }
        };
        Self { name, credential: Some(principal.credential.kind()), address: None, user }
    }
}

impl Change {
    /// Writes an entry into the change's transaction. `before` and `after` are null for what was or is not there.
    pub(super) async fn audit(
        &self,
        actor: &Actor,
        action: &str,
        subject: String,
        before: Value,
        after: Value,
    ) -> Result<(), Error> {
        let entry = entry(self.now, actor, action, subject, before, after);
        Ok(AuditRepo::on(&self.tx).append(&entry).await?)
    }
}

impl Accounts {
    /// Records a change that was made outside of accounts: to a peer or a target.
    ///
    /// # Errors
    /// The database's.
    pub async fn note(
        &self,
        actor: &Actor,
        action: &str,
        subject: String,
        before: Value,
        after: Value,
    ) -> Result<(), Error> {
        let entry = entry(self.now(), actor, action, subject, before, after);
        Ok(AuditRepo::on(&self.inner.store).append(&entry).await?)
    }
}

fn entry(
    at: Timestamp,
    actor: &Actor,
    action: &str,
    subject: String,
    before: Value,
    after: Value,
) -> AuditEntry {
    let (before, after) = difference(before, after);
    AuditEntry {
        id: Uuid::now_v7(),
        at,
        actor: actor.name.clone(),
        credential: actor.credential.map(str::to_owned),
        address: actor.address.map(|address| address.to_string()),
        action: action.to_owned(),
        subject,
        detail: json!({"before": before, "after": after}).to_string(),
    }
}

/// Of two objects, only what differs; of anything else, both whole.
pub(super) fn difference(before: Value, after: Value) -> (Value, Value) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let differs = |a: &Map<String, Value>, b: &Map<String, Value>| {
                let fields = a.iter().filter(|(name, value)| b.get(*name) != Some(value));
                Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
            };
            (differs(&before, &after), differs(&after, &before))
        }
        whole => whole,
    }
}

/// Never the password hash. Groups by the names that they have now.
pub(super) fn of_user(user: &User, accounts: &Accounts) -> Value {
    let name =
        |id: &GroupId| accounts.group_name(*id).map_or_else(|| id.to_string(), |name| name.to_string());
    let mut fields = of_limits(&user.limits);
    fields.insert("name".into(), json!(user.name));
    fields.insert("group_id".into(), json!(user.group_id));
    fields.insert("group".into(), json!(user.group_id.as_ref().map(name)));
    fields.insert("role".into(), json!(user.role));
    fields.insert("manages".into(), json!(user.manages.iter().map(name).collect::<Vec<_>>()));
    fields.insert("active".into(), json!(user.active));
    fields.insert("has_password".into(), json!(user.password_hash.is_some()));
    if let Some(external_id) = &user.external_id {
        fields.insert("external_id".into(), json!(external_id));
    }
    Value::Object(fields)
}

pub(super) fn of_group(group: &Group) -> Value {
    let mut fields = of_limits(&group.limits);
    fields.insert("name".into(), json!(group.name));
    Value::Object(fields)
}

pub(super) fn of_key(key: &ApiKey, owner: &str) -> Value {
    json!({"id": key.id, "user": owner, "name": key.name, "prefix": key.prefix, "expires_at": key.expires_at})
}

fn of_limits(limits: &Limits) -> Map<String, Value> {
    match serde_json::to_value(limits) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_shows_what_changed_and_nothing_else() {
        let (before, after) = difference(json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}));
        assert_eq!((before, after), (json!({"b": 2}), json!({"b": 3})));
        assert_eq!(difference(Value::Null, json!({"a": 1})), (Value::Null, json!({"a": 1})));
    }
}
