//! Refusals before either plane has looked at a request: by its head alone, in the dialect of a call, or as a problem.

use axum::response::IntoResponse;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};

use super::body::Body;
use super::problem::ApiError;
use crate::dialect::route;
use crate::domain::failure::Failure;
use crate::domain::ids::RequestId;
use crate::proxy::error_response;

const X_SPROXY_REQUEST_ID: HeaderName = HeaderName::from_static("x-sproxy-request-id");

/// Refuses a request.
pub(super) fn refuse(head: &Parts, failure: Failure) -> Response<Body> {
    let Some(dialect) = route::dialect_of(&head.method, head.uri.path(), &head.headers) else {
        return ApiError::from(failure).into_response().map(Body::Control);
    };
    let request_id = RequestId::new();
    let mut answer = error_response::response(dialect, &failure, request_id).map(Body::Data);
    if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
        answer.headers_mut().insert(X_SPROXY_REQUEST_ID, value);
    }
    answer
}
