//! Who may see and do what on pages: asked of the same table as the API's own.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::domain::permission::{Permission, Scope};
use crate::domain::principal::Principal;
use crate::http::browser::SignedIn;
use crate::http::control::ControlState;
use crate::http::input::Caller;
use crate::http::problem::ApiError;

/// What a page is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// One's own account.
    Own,
    /// Everybody, or the members of the groups that one manages.
    People,
    /// The gateway itself.
    Cluster,
}

#[must_use]
pub fn may_see(who: &Principal, area: Area) -> bool {
    match area {
        Area::Own => true,
        Area::People => Permission::ReadPeople.of(who).is_ok(),
        Area::Cluster => Permission::ReadCluster.of(who).is_ok(),
    }
}

/// Whether changes to people and their keys are offered.
#[must_use]
pub fn may_manage(who: &Principal) -> bool {
    Permission::ManagePeople.of(who).is_ok()
}

#[must_use]
pub fn may_administer(who: &Principal) -> bool {
    Permission::Administer.of(who).is_ok()
}

/// Somebody signed in who may read about people, and about whom.
pub struct PeopleReader {
    pub who: Caller,
    pub scope: Scope,
}

/// Somebody signed in who may read what is about the whole cluster.
pub struct ClusterReader(pub Caller);

/// Somebody signed in who may change people; which of them is checked when they are changed.
pub struct PeopleManager {
    pub who: Caller,
    pub scope: Scope,
}

/// An admin who is signed in.
pub struct Admin(pub Caller);

async fn permitted(
    parts: &mut Parts,
    state: &ControlState,
    permission: Permission,
) -> Result<(Caller, Scope), ApiError> {
    let SignedIn(who) = <SignedIn as FromRequestParts<_>>::from_request_parts(parts, state).await?;
    let scope = permission.of(&who)?;
    Ok((who, scope))
}

impl FromRequestParts<ControlState> for PeopleReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        let (who, scope) = permitted(parts, state, Permission::ReadPeople).await?;
        Ok(Self { who, scope })
    }
}

impl FromRequestParts<ControlState> for PeopleManager {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        let (who, scope) = permitted(parts, state, Permission::ManagePeople).await?;
        Ok(Self { who, scope })
    }
}

impl FromRequestParts<ControlState> for ClusterReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        permitted(parts, state, Permission::ReadCluster).await.map(|(who, _)| Self(who))
    }
}

impl FromRequestParts<ControlState> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        permitted(parts, state, Permission::Administer).await.map(|(who, _)| Self(who))
    }
}
