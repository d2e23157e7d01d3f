//! Refusals in SCIM's form (RFC 7644, section 3.12).

use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::accounts;
use crate::http::problem::{ApiError, Problem};

/// The media type of everything that SCIM says.
pub const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/scim+json");

/// What exactly is wrong, in the protocol's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScimType {
    InvalidFilter,
    InvalidPath,
    InvalidSyntax,
    InvalidValue,
    Mutability,
    NoTarget,
    Uniqueness,
}

impl ScimType {
    fn as_str(self) -> &'static str {
        match self {
            Self::InvalidFilter => "invalidFilter",
            Self::InvalidPath => "invalidPath",
            Self::InvalidSyntax => "invalidSyntax",
            Self::InvalidValue => "invalidValue",
            Self::Mutability => "mutability",
            Self::NoTarget => "noTarget",
            Self::Uniqueness => "uniqueness",
        }
    }
}

/// Why a request is refused.
#[derive(Debug)]
pub struct Refusal {
    error: ApiError,
    scim_type: Option<ScimType>,
}

impl Refusal {
    /// A request that is wrong in itself.
    pub fn bad(scim_type: ScimType, detail: impl Into<String>) -> Self {
        Self { error: ApiError::invalid(detail), scim_type: Some(scim_type) }
    }

    /// A resource that is not there, such as a `user`.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self { error: ApiError::not_found(format!("there is no {what} {id}")), scim_type: None }
    }

    #[cfg(test)]
    pub fn scim_type(&self) -> Option<ScimType> {
        self.scim_type
    }
}

impl From<accounts::Error> for Refusal {
    fn from(error: accounts::Error) -> Self {
        let scim_type = match &error {
            accounts::Error::Conflict(_) => Some(ScimType::Uniqueness),
            accounts::Error::Invalid(_) => Some(ScimType::InvalidValue),
            // Whatever else there is, the protocol has no word for it.
            _ => None,
        };
        Self { error: error.into(), scim_type }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer = self.error.into_response();
        if let Some(scim_type) = self.scim_type {
            answer.extensions_mut().insert(scim_type);
        }
        answer
    }
}

/// What this version does not do: 501.
pub fn not_implemented(detail: &str) -> Response {
    told(StatusCode::NOT_IMPLEMENTED, None, detail).into_response()
}

/// Makes every refusal one that directories understand, whoever has refused.
pub async fn in_scim(request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    let Some(problem) = answer.extensions().get::<Arc<Problem>>().cloned() else { return answer };
    let scim_type = answer.extensions().get::<ScimType>().copied();
    let mut told = told(answer.status(), scim_type, &problem.detail).into_response();
    let headers = answer.headers().iter().filter(|(name, _)| !told.headers().contains_key(*name));
    let headers: Vec<_> = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
    told.headers_mut().extend(headers);
    told
}

fn told(status: StatusCode, scim_type: Option<ScimType>, detail: &str) -> impl IntoResponse {
    let mut body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": status.as_u16().to_string(),
        "detail": detail,
    });
    if let Some(scim_type) = scim_type {
        body["scimType"] = json!(scim_type.as_str());
    }
    (status, [(CONTENT_TYPE, MEDIA_TYPE)], body.to_string())
}
