//! Which role may do what on the control plane: one table, asked by every handler, page and service.

use std::fmt;
use std::sync::Arc;

use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::GroupId;
use crate::domain::principal::Principal;
use crate::domain::user::Role;

/// What a part of the control plane asks of a caller. Everybody may see to their own keys, usage and limits besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Change anything, and read what opens anything.
    Administer,
    /// Read what is about the whole cluster: nodes, targets, alerts, the audit log.
    ReadCluster,
    /// Read people, groups, keys, usage and statistics: everybody's, or those of one's groups.
    ReadPeople,
    /// Change people and their keys: everybody's, or those of one's groups.
    ManagePeople,
}

impl Permission {
    /// The roles that have it, the mightiest first.
    #[must_use]
    pub fn roles(self) -> &'static [Role] {
        match self {
            Self::Administer => &[Role::Admin],
            Self::ReadCluster => &[Role::Admin, Role::Auditor],
            Self::ReadPeople => &[Role::Admin, Role::Auditor, Role::Manager],
            Self::ManagePeople => &[Role::Admin, Role::Manager],
        }
    }

    /// Whose data `caller` reaches with it.
    ///
    /// # Errors
    /// [`RoleNeeded`] when the caller's role does not have it.
    pub fn of(self, caller: &Principal) -> Result<Scope, RoleNeeded> {
        if !self.roles().contains(&caller.role) {
            return Err(RoleNeeded::new("this", self, caller.role));
        }
        Ok(Scope::of(caller.role, || Arc::clone(&caller.manages)))
    }
}

/// Whose data somebody reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Everybody,
    /// Members of these groups, and what was used as a member of them.
    Groups(Arc<[GroupId]>),
}

impl Scope {
    /// That of a role; `manages` are the groups of a manager.
    pub fn of(role: Role, manages: impl FnOnce() -> Arc<[GroupId]>) -> Self {
        match role {
            Role::Admin | Role::Auditor => Self::Everybody,
            Role::Manager => Self::Groups(manages()),
            Role::User => Self::Groups(Arc::new([])),
        }
    }

    /// Whether members of `group`, or those who are in none, belong to it.
    #[must_use]
    pub fn covers(&self, group: Option<GroupId>) -> bool {
        match self {
            Self::Everybody => true,
            Self::Groups(groups) => group.is_some_and(|group| groups.contains(&group)),
        }
    }

    /// The groups that a list is to be held to; `None`: it is not.
    #[must_use]
    pub fn groups(&self) -> Option<&[GroupId]> {
        match self {
            Self::Everybody => None,
            Self::Groups(groups) => Some(groups),
        }
    }
}

/// A caller's role is not enough: which is needed, and which it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleNeeded {
    /// What it is needed for, as the subject of a sentence.
    what: String,
    needed: Permission,
    has: Role,
}

impl RoleNeeded {
    /// `what` begins a sentence: "removing a group".
    #[must_use]
    pub fn new(what: impl Into<String>, needed: Permission, has: Role) -> Self {
        Self { what: what.into(), needed, has }
    }
}

impl fmt::Display for RoleNeeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.needed.roles().iter().map(|role| role.as_str()).collect();
        let needed = match words.as_slice() {
            [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            words => words.join(", "),
        };
        write!(f, "{} needs the role {needed}; yours is {}", self.what, self.has)
    }
}

impl std::error::Error for RoleNeeded {}

impl From<RoleNeeded> for Failure {
    fn from(needed: RoleNeeded) -> Self {
        Self::new(Kind::Forbidden, needed.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_roles_that_would_do_and_the_callers_own() {
        let text = |needed, has| RoleNeeded::new("this", needed, has).to_string();
        assert_eq!(text(Permission::Administer, Role::User), "this needs the role admin; yours is user");
        assert_eq!(
            text(Permission::ReadPeople, Role::User),
            "this needs the role admin, auditor or manager; yours is user"
        );
    }

    #[test]
    fn whoever_is_in_no_group_is_reached_by_those_who_reach_everybody_alone() {
        let (one, other) = (GroupId::new(), GroupId::new());
        let scope = Scope::Groups(Arc::new([one]));
        assert!(scope.covers(Some(one)) && !scope.covers(Some(other)) && !scope.covers(None));
        assert!(Scope::Everybody.covers(None));
        assert_eq!(Scope::of(Role::User, || Arc::new([one])).groups(), Some(&[][..]));
    }
}
