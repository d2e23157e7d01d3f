//! Users and their API keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::clock::Timestamp;
use crate::domain::group::Limits;
use crate::domain::ids::{GroupId, KeyId, UserId};

/// What a user may do on the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Admin,
    /// Their own keys, usage and quota.
    User,
}

impl Role {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no role.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no role: use admin or user")]
pub struct NotARole(pub String);

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        [Self::Admin, Self::User]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| NotARole(text.to_owned()))
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
