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
