//! Who may see and do what on pages: all of it in this file.

use crate::domain::principal::Principal;
use crate::domain::user::Role;

/// What a page is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// One's own account.
    Own,
    /// Everybody's, and the gateway itself.
    Gateway,
}

#[must_use]
pub fn may_see(who: &Principal, area: Area) -> bool {
    match area {
        Area::Own => true,
        Area::Gateway => who.role == Role::Admin,
    }
}
