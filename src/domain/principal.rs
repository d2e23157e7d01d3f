//! Who a request turned out to come from.

use std::sync::Arc;

use crate::domain::ids::{GroupId, Jti, KeyId, UserId};
use crate::domain::quota::Allowance;
use crate::domain::user::Role;

/// How a caller proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    ApiKey(KeyId),
    /// A signed, short-lived access token.
    AccessToken(Jti),
    /// A session of a browser, for pages only.
    Browser(Jti),
    /// The admin token in the node's own data directory.
    LocalAdmin,
}

impl Credential {
    /// The word for its kind in the API and the audit log.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::ApiKey(_) => "api_key",
            Self::AccessToken(_) => "access_token",
            Self::Browser(_) => "browser",
            Self::LocalAdmin => "local_admin",
        }
    }
}

/// An authenticated caller. Cheap to clone: the names are shared with the accounts snapshot.
#[derive(Clone, Debug)]
pub struct Principal {
    pub user_id: UserId,
    /// The user's name at the time of the request.
    pub user: Arc<str>,
    /// The user's group and its name, if any.
    pub group: Option<(GroupId, Arc<str>)>,
    /// The user's own limits.
    pub allowance: Arc<Allowance>,
    /// The limits shared with the group, if there is one.
    pub group_allowance: Option<Arc<Allowance>>,
    /// What the caller may do on the control plane.
    pub role: Role,
    /// The groups whose members a manager manages; of any other role none.
    pub manages: Arc<[GroupId]>,
    pub credential: Credential,
}

impl Principal {
    /// Whether the limits of the user and of the group both let `model` be called.
    #[must_use]
    pub fn permits_model(&self, model: &str) -> bool {
        self.allowance.permits_model(model)
            && self.group_allowance.as_ref().is_none_or(|group| group.permits_model(model))
    }
}
