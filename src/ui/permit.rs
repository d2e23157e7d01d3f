//! Who may see and do what on pages: all of it in this file.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::domain::failure::{Failure, Kind};
use crate::domain::principal::Principal;
use crate::domain::user::Role;
use crate::http::browser::SignedIn;
use crate::http::control::ControlState;
use crate::http::problem::ApiError;

/// The roles that somebody can be given.
pub const ROLES: [Role; 2] = [Role::Admin, Role::User];

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

/// Somebody signed in who may see what is about everybody.
pub struct Overseer(pub Principal);

impl FromRequestParts<ControlState> for Overseer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        let SignedIn(who) = <SignedIn as FromRequestParts<_>>::from_request_parts(parts, state).await?;
        if may_see(&who, Area::Gateway) {
            return Ok(Self(who));
        }
        Err(Failure::new(Kind::Forbidden, "this page is for admins: it needs the role admin").into())
    }
}
