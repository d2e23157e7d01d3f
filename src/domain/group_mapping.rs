//! What the groups that an identity provider or a directory knows mean here.

use std::collections::BTreeMap;

/// Groups elsewhere, and what their members are here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMapping {
    /// Their groups, and ours. Empty: they do not decide who is in which.
    pub groups: BTreeMap<String, String>,
    /// Those whose members are admins. Empty: they do not decide who is one.
    pub admin_groups: Vec<String>,
    /// Those whose members may sign in. Empty: everybody.
    pub allowed_groups: Vec<String>,
}

/// What somebody is here by their groups elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The group, by name, or `None` for no group. `None` of all: it is decided here.
    pub group: Option<Option<String>>,
    /// `None`: it is decided here.
    pub is_admin: Option<bool>,
}

impl GroupMapping {
    /// Whether groups elsewhere decide anything.
    #[must_use]
    pub fn is_used(&self) -> bool {
        !self.groups.is_empty() || !self.admin_groups.is_empty() || !self.allowed_groups.is_empty()
    }

    /// What a member of `theirs` is; `same` compares names. `None`: somebody who may not sign in.
    #[must_use]
    pub fn judge(&self, theirs: &[&str], same: fn(&str, &str) -> bool) -> Option<Mapped> {
        let is_in = |wanted: &str| theirs.iter().any(|group| same(group, wanted));
        let is_in_any = |wanted: &[String]| wanted.iter().any(|wanted| is_in(wanted));
        if !self.allowed_groups.is_empty() && !is_in_any(&self.allowed_groups) {
            return None;
        }
        let ours = self.groups.iter().find(|(theirs, _)| is_in(theirs)).map(|(_, ours)| ours.clone());
        Some(Mapped {
            group: (!self.groups.is_empty()).then_some(ours),
            is_admin: (!self.admin_groups.is_empty()).then(|| is_in_any(&self.admin_groups)),
        })
    }
}
