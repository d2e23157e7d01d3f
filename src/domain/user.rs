//! Users and their API keys.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::clock::Timestamp;
use crate::domain::group::Limits;
use crate::domain::ids::{GroupId, KeyId, UserId};

/// What a user may do on the control plane; see [`Permission`](crate::domain::permission::Permission).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// Reads everything that is no secret, and changes nothing.
    Auditor,
    /// The members of the groups that are given to them ([`User::manages`]).
    Manager,
    /// Their own keys, usage and quota.
    #[default]
    User,
}

impl Role {
    /// Every role, the mightiest first.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Auditor, Self::Manager, Self::User];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Manager => "manager",
            Self::User => "user",
        }
    }

    /// The nearest role that may do no more, of those that versions of sproxy know which have only admins and users. They
    /// work in one cluster, and on one database, with this one.
    #[must_use]
    pub fn for_older(self) -> Self {
        match self {
            Self::Admin => Self::Admin,
            Self::Auditor | Self::Manager | Self::User => Self::User,
        }
    }

    /// The word that is kept beside [`Self::for_older`], where that does not say it all.
    #[must_use]
    pub fn exact(self) -> Option<&'static str> {
        (self.for_older() != self).then(|| self.as_str())
    }

    /// The role of which `older` and `exact` are kept. A word that this version does not know, or that does not belong to
    /// `older`, which an older version has changed meanwhile, gives nobody more than `older`.
    #[must_use]
    pub fn of_kept(older: Self, exact: Option<&str>) -> Self {
        let exact = exact.and_then(|word| word.parse::<Self>().ok());
        exact.filter(|role| role.for_older() == older).unwrap_or(older)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no role.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no role: use admin, auditor, manager or user")]
pub struct NotARole(pub String);

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| NotARole(text.to_owned()))
    }
}

/// A person or service that may call.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Never changes.
    pub id: UserId,
    /// Unique among users; what people type.
    pub name: String,
    /// The group whose limits are shared, if any.
    pub group_id: Option<GroupId>,
    /// What they may do on the control plane.
    pub role: Role,
    /// The groups whose members a [`Role::Manager`] sees and manages; of any other role none.
    pub manages: BTreeSet<GroupId>,
    /// False: refused everywhere from the next request on.
    pub active: bool,
    /// argon2id in PHC form; `None` if the user cannot log in and has API keys only.
    pub password_hash: Option<String>,
    /// The user's own limits, beside those of the group.
    pub limits: Limits,
    /// Access tokens issued before this moment are refused (revoke-all, password change).
    pub tokens_valid_from: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When the user last logged in with a password.
    pub last_login_at: Option<Timestamp>,
    /// Who the user is at an identity provider, if they sign in there.
    pub identity: Option<Identity>,
    /// The id by which the directory that provisions users (SCIM) knows the user.
    pub external_id: Option<String>,
}

/// Somebody as an identity provider knows them. Nobody else of that provider has ever the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider: an issuer's URL, or [`Identity::LDAP`].
    pub issuer: String,
    /// Never changes, whatever becomes of names and addresses.
    pub subject: String,
}

impl Identity {
    /// The issuer of whoever is known by an entry of the LDAP directory.
    pub const LDAP: &str = "ldap";
}

/// An API key as it is kept: its digest, never the key.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// Never changes.
    pub id: KeyId,
    pub user_id: UserId,
    /// A label for people.
    pub name: String,
    /// The first characters of the key, enough to recognise it.
    pub prefix: String,
    /// SHA-256 of the key.
    pub digest: [u8; 32],
    pub created_at: Timestamp,
    /// When it was last used, to within a minute.
    pub last_used_at: Option<Timestamp>,
    /// Refused from this moment on; `None` if it never expires.
    pub expires_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_kept_in_two_words_that_never_add_up_to_more_than_either_version_gave() {
        for role in Role::ALL {
            assert_eq!(Role::of_kept(role.for_older(), role.exact()), role);
            assert_eq!(role.as_str().parse::<Role>().expect("a role"), role);
        }
        assert_eq!(Role::of_kept(Role::User, Some("of tomorrow")), Role::User);
        assert_eq!(Role::of_kept(Role::User, Some("admin")), Role::User, "an admin is one in both words");
        assert_eq!(
            Role::of_kept(Role::Admin, Some("manager")),
            Role::Admin,
            "an older version has raised them"
        );
    }
}
