//! SCIM 2.0 (RFC 7643, RFC 7644): a company's directory, such as Entra ID or Okta, says who may call and who is in which
//! group, and people who leave the company are refused at once.
//!
//! The leader answers, and followers relay. Everything is behind a token of its own ([`token`]).

mod answer;
mod discovery;
mod filter;
mod groups;
mod patch;
mod refusal;
mod resource;
mod schemas;
pub mod token;
mod users;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};

use crate::domain::failure::{Failure, Kind};
use crate::http::input::bearer;
use crate::http::problem::ApiError;
use crate::http::routes::answer_by_leader;
use crate::http::state::ControlState;

/// Every route of SCIM.
pub fn router(state: ControlState) -> Router {
    Router::new()
        .route("/scim/v2/ServiceProviderConfig", get(discovery::configuration))
        .route("/scim/v2/ResourceTypes", get(discovery::resource_types))
        .route("/scim/v2/ResourceTypes/{id}", get(discovery::resource_type))
        .route("/scim/v2/Schemas", get(discovery::schemas))
        .route("/scim/v2/Schemas/{id}", get(discovery::schema))
        .route("/scim/v2/Users", get(users::list).post(users::create))
        .route(
            "/scim/v2/Users/{id}",
            get(users::show).put(users::replace).patch(users::change).delete(users::remove),
        )
        .route("/scim/v2/Groups", get(groups::list).post(groups::create))
        .route(
            "/scim/v2/Groups/{id}",
            get(groups::show).put(groups::replace).patch(groups::change).delete(groups::remove),
        )
        .route("/scim/v2/.search", post(search))
        .route("/scim/v2/{*rest}", any(nothing_there))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .with_state(state.clone())
        .layer(from_fn_with_state(state.clone(), admit))
        .layer(from_fn_with_state(state, answer_by_leader))
        .layer(from_fn(refusal::in_scim))
}

/// Lets in whoever has the token. Where none is configured, nothing is there.
async fn admit(State(state): State<ControlState>, request: Request, next: Next) -> Response {
    let Some(token) = &state.scim else { return nothing_there().await.into_response() };
    let refused = match bearer(request.headers()) {
        Some(credential) if token.is(credential) => return next.run(request).await,
        Some(_) => "this is not the token that is configured as auth.scim.token",
        None => "send `authorization: Bearer TOKEN`, with the token that is configured as auth.scim.token",
    };
    ApiError::from(Failure::new(Kind::Unauthenticated, refused)).into_response()
}

async fn search() -> Response {
    refusal::not_implemented("resources of several kinds cannot be searched at once: ask /Users or /Groups")
}

async fn nothing_there() -> ApiError {
    ApiError::not_found("there is no such resource")
}
