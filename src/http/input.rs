//! What comes in on the control plane: who asks, and path, query and body as types. Whatever does not fit is refused
//! here with a problem that says why, so that handlers only see what is right.

use std::net::IpAddr;
use std::ops::Deref;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::accounts::Actor;
use crate::domain::failure::{Failure, Kind};
use crate::domain::permission::{Permission, Scope};
use crate::domain::principal::Principal;
use crate::http::problem::ApiError;
use crate::http::state::ControlState;

/// The largest body of a control-plane request; the largest sensible one is a user with a few hundred globs.
const BODY_MAX: usize = 256 * 1024;
/// The largest file; a follower relays no larger request.
const FILE_MAX: usize = 1024 * 1024;

/// The authenticated caller, whoever it is.
pub struct Caller {
    pub principal: Principal,
    pub address: IpAddr,
}

/// The authenticated caller, who is an admin.
pub struct Admin(pub Caller);

/// Somebody may read what is about the whole cluster.
pub struct ClusterReader;

/// Somebody may read about people, and about whom.
pub struct PeopleReader(pub Scope);

/// The authenticated caller, who may change people; which of them is checked when they are changed.
pub struct PeopleManager(pub Caller);

/// The client's address, from trusted sources only.
pub struct ClientAddr(pub IpAddr);

/// The body as it is, a file.
pub struct FileBody(pub Bytes);

/// One segment of the path.
pub struct PathParam<T>(pub T);

/// The query, every parameter of which is known.
pub struct QueryParams<T>(pub T);

/// The body, JSON whose every field is known.
pub struct JsonBody<T>(pub T);

impl FromRequestParts<ControlState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        let credential = bearer(&parts.headers).ok_or_else(|| {
            Failure::new(Kind::Unauthenticated, "send `authorization: Bearer KEY-or-access-token`")
        })?;
        let principal = state.accounts.authenticate_operator(credential, state.clock.now())?;
        Ok(Self { principal, address: state.sites.callers.address(&parts.headers, &parts.extensions) })
    }
}

impl Deref for Caller {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Self {
        Self::from(&caller.principal).at(caller.address)
    }
}

/// The caller, if their role has a permission, and whom they reach with it.
async fn permitted(
    parts: &mut Parts,
    state: &ControlState,
    permission: Permission,
) -> Result<(Caller, Scope), ApiError> {
    let caller = Caller::from_request_parts(parts, state).await?;
    let scope = permission.of(&caller)?;
    Ok((caller, scope))
}

impl FromRequestParts<ControlState> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        permitted(parts, state, Permission::Administer).await.map(|(caller, _)| Self(caller))
    }
}

impl FromRequestParts<ControlState> for ClusterReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        permitted(parts, state, Permission::ReadCluster).await.map(|_| Self)
    }
}

impl FromRequestParts<ControlState> for PeopleReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        permitted(parts, state, Permission::ReadPeople).await.map(|(_, scope)| Self(scope))
    }
}

impl FromRequestParts<ControlState> for PeopleManager {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        permitted(parts, state, Permission::ManagePeople).await.map(|(caller, _)| Self(caller))
    }
}

impl FromRequestParts<ControlState> for ClientAddr {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        Ok(Self(state.sites.callers.address(&parts.headers, &parts.extensions)))
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<ControlState> for PathParam<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(reason) => Err(ApiError::invalid(reason.body_text())),
        }
    }
}

impl<T: DeserializeOwned> FromRequestParts<ControlState> for QueryParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &ControlState) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(reason) => Err(ApiError::invalid(reason.body_text())),
        }
    }
}

impl<T: DeserializeOwned> FromRequest<ControlState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &ControlState) -> Result<Self, ApiError> {
        let body = whole(request).await?;
        // The parser would also take an array for an object, field by field.
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(ApiError::invalid("the body has to be a JSON object"));
        }
        // The parser's message names the field and the place; it never repeats the value of a known field.
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|reason| ApiError::invalid(format!("the body is not what is expected: {reason}")))
    }
}

/// All of a body, which may be a few hundred thousand bytes.
///
/// # Errors
/// 413 for a larger one, 400 for one that broke off.
pub async fn whole(request: Request) -> Result<Bytes, ApiError> {
    whole_up_to(BODY_MAX, request).await
}

async fn whole_up_to(bytes_max: usize, request: Request) -> Result<Bytes, ApiError> {
    let body = Limited::new(request.into_body(), bytes_max).collect().await.map_err(|reason| {
        if reason.is::<LengthLimitError>() {
            Failure::new(Kind::TooLarge, format!("the body is larger than {bytes_max} bytes"))
        } else {
            Failure::new(Kind::Invalid, "the body could not be read")
        }
    })?;
    Ok(body.to_bytes())
}

impl FromRequest<ControlState> for FileBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &ControlState) -> Result<Self, ApiError> {
        whole_up_to(FILE_MAX, request).await.map(Self)
    }
}

/// The credential of `authorization: Bearer`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}
