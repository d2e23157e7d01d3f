//! Users, groups, limits and API keys on the wire.

use crate::domain::group::{Group, Limits};
use crate::domain::user::{ApiKey, Identity, Role, User};
use crate::wire::malformed::{Malformed, parse, parse_some};
use crate::wire::{moment, v1};

/// A user, password hash included: followers check passwords nowhere, but a leader that lost its disk gets it back.
#[must_use]
pub fn user_to_wire(user: &User) -> v1::User {
    v1::User {
        id: user.id.to_string(),
        name: user.name.clone(),
        group_id: user.group_id.map(|id| id.to_string()).unwrap_or_default(),
        role: user.role.for_older().as_str().to_owned(),
        active: user.active,
        password_hash: user.password_hash.clone(),
        limits: Some(limits_to_wire(&user.limits)),
        tokens_valid_from: Some(moment::to_wire(user.tokens_valid_from)),
        created_at: Some(moment::to_wire(user.created_at)),
        updated_at: Some(moment::to_wire(user.updated_at)),
        last_login_at: user.last_login_at.map(moment::to_wire),
        exact_role: user.role.exact().unwrap_or_default().to_owned(),
        manages: user.manages.iter().map(ToString::to_string).collect(),
        identity_issuer: user.identity.as_ref().map(|identity| identity.issuer.clone()).unwrap_or_default(),
        identity_subject: user.identity.as_ref().map(|identity| identity.subject.clone()).unwrap_or_default(),
        external_id: user.external_id.clone().unwrap_or_default(),
    }
}

/// A user as another node holds it.
///
/// # Errors
/// [`Malformed`] with the first field that is not valid.
pub fn user_from_wire(user: v1::User) -> Result<User, Malformed> {
    let role = Role::of_kept(parse("role", &user.role)?, Some(&user.exact_role));
    // What a role of tomorrow manages is not for the weaker one that it is taken for.
    let manages = user.manages.iter().filter(|_| role == Role::Manager);
    Ok(User {
        id: parse("id", &user.id)?,
        name: user.name,
        group_id: parse_some("group_id", &user.group_id)?,
        role,
        manages: manages.map(|group| parse("manages", group)).collect::<Result<_, _>>()?,
        active: user.active,
        password_hash: user.password_hash,
        limits: limits_from_wire(user.limits.ok_or_else(|| Malformed::missing("limits"))?),
        tokens_valid_from: moment::required("tokens_valid_from", user.tokens_valid_from)?,
        created_at: moment::required("created_at", user.created_at)?,
        updated_at: moment::required("updated_at", user.updated_at)?,
        last_login_at: user.last_login_at.map(moment::from_wire),
        identity: identity_from_wire(user.identity_issuer, user.identity_subject),
        external_id: Some(user.external_id).filter(|id| !id.is_empty()),
    })
}

fn identity_from_wire(issuer: String, subject: String) -> Option<Identity> {
    (!issuer.is_empty() && !subject.is_empty()).then_some(Identity { issuer, subject })
}

#[must_use]
pub fn group_to_wire(group: &Group) -> v1::Group {
    v1::Group {
        id: group.id.to_string(),
        name: group.name.clone(),
        limits: Some(limits_to_wire(&group.limits)),
        created_at: Some(moment::to_wire(group.created_at)),
        updated_at: Some(moment::to_wire(group.updated_at)),
    }
}

/// A group as another node holds it. Limits that are missing are an error: read as unlimited they would open the door.
///
/// # Errors
/// [`Malformed`] with the first field that is not valid.
pub fn group_from_wire(group: v1::Group) -> Result<Group, Malformed> {
    Ok(Group {
        id: parse("id", &group.id)?,
        name: group.name,
        limits: limits_from_wire(group.limits.ok_or_else(|| Malformed::missing("limits"))?),
        created_at: moment::required("created_at", group.created_at)?,
        updated_at: moment::required("updated_at", group.updated_at)?,
    })
}

/// An API key: its digest, never the key.
#[must_use]
pub fn key_to_wire(key: &ApiKey) -> v1::ApiKey {
    v1::ApiKey {
        id: key.id.to_string(),
        user_id: key.user_id.to_string(),
        name: key.name.clone(),
        prefix: key.prefix.clone(),
        digest: key.digest.to_vec(),
        created_at: Some(moment::to_wire(key.created_at)),
        last_used_at: key.last_used_at.map(moment::to_wire),
        expires_at: key.expires_at.map(moment::to_wire),
    }
}

/// An API key as another node holds it.
///
/// # Errors
/// [`Malformed`] with the first field that is not valid.
pub fn key_from_wire(key: v1::ApiKey) -> Result<ApiKey, Malformed> {
    Ok(ApiKey {
        id: parse("id", &key.id)?,
        user_id: parse("user_id", &key.user_id)?,
        name: key.name,
        prefix: key.prefix,
        digest: key.digest.try_into().map_err(|_| Malformed::invalid("digest", "is not 32 bytes long"))?,
        created_at: moment::required("created_at", key.created_at)?,
        last_used_at: key.last_used_at.map(moment::from_wire),
        expires_at: key.expires_at.map(moment::from_wire),
    })
}

fn limits_to_wire(limits: &Limits) -> v1::Limits {
    v1::Limits {
        daily_tokens: limits.daily_tokens,
        monthly_tokens: limits.monthly_tokens,
        rpm: limits.rpm,
        monthly_nanousd: limits.monthly_nanousd,
        concurrent: limits.concurrent,
        max_tokens: limits.max_tokens,
        models: limits.models.clone().map(|globs| v1::ModelGlobs { globs }),
    }
}

fn limits_from_wire(limits: v1::Limits) -> Limits {
    Limits {
        daily_tokens: limits.daily_tokens,
        monthly_tokens: limits.monthly_tokens,
        rpm: limits.rpm,
        monthly_nanousd: limits.monthly_nanousd,
        concurrent: limits.concurrent,
        max_tokens: limits.max_tokens,
        models: limits.models.map(|models| models.globs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Timestamp;
    use crate::domain::ids::{GroupId, KeyId, UserId};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000 + 7)
    }

    fn limits() -> Limits {
        Limits {
            daily_tokens: Some(0),
            monthly_tokens: Some(2),
            rpm: Some(3),
            monthly_nanousd: Some(4),
            concurrent: Some(5),
            max_tokens: Some(6),
            models: Some(vec![]),
        }
    }

    #[test]
    fn accounts_arrive_as_they_were_sent() {
        let user = User {
            id: UserId::new(),
            name: "alice".to_owned(),
            group_id: Some(GroupId::new()),
            role: Role::Manager,
            manages: [GroupId::new(), GroupId::new()].into(),
            active: true,
            password_hash: Some("$argon2id$".to_owned()),
            limits: limits(),
            tokens_valid_from: at(1),
            created_at: at(2),
            updated_at: at(3),
            last_login_at: Some(at(4)),
            identity: identity_from_wire("https://login.example".to_owned(), "248289761001".to_owned()),
            external_id: Some("701984".to_owned()),
        };
        assert_eq!(user_from_wire(user_to_wire(&user)).expect("readable"), user);
        let group = Group {
            id: GroupId::new(),
            name: "research".to_owned(),
            limits: Limits::default(),
            created_at: at(1),
            updated_at: at(2),
        };
        assert_eq!(group_from_wire(group_to_wire(&group)).expect("readable"), group);
        let key = ApiKey {
            id: KeyId::new(),
            user_id: user.id,
            name: "laptop".to_owned(),
            prefix: "sk-sp-abcd".to_owned(),
            digest: [9; 32],
            created_at: at(1),
            last_used_at: Some(at(2)),
            expires_at: None,
        };
        assert_eq!(key_from_wire(key_to_wire(&key)).expect("readable"), key);
    }

    fn user(role: Role, manages: &[GroupId]) -> User {
        User {
            id: UserId::new(),
            name: "alice".to_owned(),
            group_id: None,
            role,
            manages: manages.iter().copied().collect(),
            active: true,
            password_hash: None,
            limits: Limits::default(),
            tokens_valid_from: at(1),
            created_at: at(2),
            updated_at: at(3),
            last_login_at: None,
            identity: None,
            external_id: None,
        }
    }

    #[test]
    fn a_node_that_knows_only_admins_and_users_reads_every_role_and_none_as_more_than_it_is() {
        for (role, as_old) in
            [(Role::Admin, "admin"), (Role::Auditor, "user"), (Role::Manager, "user"), (Role::User, "user")]
        {
            let group = GroupId::new();
            let managed = if role == Role::Manager { vec![group] } else { Vec::new() };
            let sent = user(role, &managed);
            let said = user_to_wire(&sent);
            assert_eq!(said.role, as_old, "{role}");
            assert_eq!(user_from_wire(said.clone()).expect("readable"), sent);
            // As it comes back from such a node.
            let from_old = v1::User { exact_role: String::new(), manages: Vec::new(), ..said };
            let read = user_from_wire(from_old).expect("readable");
            assert_eq!((read.role, read.manages.len()), (role.for_older(), 0));
        }
    }

    #[test]
    fn a_role_of_tomorrow_is_taken_for_the_weaker_one_beside_it() {
        let said = v1::User {
            exact_role: "operator".to_owned(),
            manages: vec!["of another kind".to_owned()],
            ..user_to_wire(&user(Role::User, &[]))
        };
        let read = user_from_wire(said).expect("readable");
        assert_eq!((read.role, read.manages.len()), (Role::User, 0));
    }

    #[test]
    fn limits_that_got_lost_are_an_error_and_not_a_licence() {
        let group = v1::Group { id: GroupId::new().to_string(), limits: None, ..v1::Group::default() };
        assert_eq!(group_from_wire(group).expect_err("refused"), Malformed::missing("limits"));
    }
}
