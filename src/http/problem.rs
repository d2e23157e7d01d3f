//! Failure → HTTP, once: RFC 9457 problem details for everything the control plane refuses.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{IntoResponses, ToSchema};

use crate::domain::failure::{Failure, Kind};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error answer (RFC 9457). It is also an extension of the response, for whoever tells it in another form.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem and never changes: `urn:sproxy:problem:` and a word.
    #[serde(rename = "type")]
    #[schema(example = "urn:sproxy:problem:not-found")]
    pub kind: &'static str,
    /// The kind of problem, for people.
    pub title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What is wrong in this case, and what to do.
    pub detail: String,
    /// Seconds after which a retry can succeed; as the header `retry-after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// The error type of handlers.
#[derive(Debug)]
pub struct ApiError {
    failure: Failure,
    status: StatusCode,
}

/// What handlers return.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// A request that cannot be understood.
    pub fn invalid(message: impl Into<String>) -> Self {
        Failure::new(Kind::Invalid, message).into()
    }

    /// A resource that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Failure::new(Kind::NotFound, message).into()
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.failure.kind
    }

    /// A resource without that method: 405, which no kind of failure has.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let failure = Failure::new(Kind::Invalid, "this resource does not have that method");
        Self { failure, status: StatusCode::METHOD_NOT_ALLOWED }
    }
}

impl<E: Into<Failure>> From<E> for ApiError {
    fn from(error: E) -> Self {
        let failure = error.into();
        Self { status: failure.kind.http_status(), failure }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

/// The stable name and the title of each kind of problem.
fn words_of(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Invalid => ("urn:sproxy:problem:invalid", "The request is not valid"),
        Kind::Unauthenticated => ("urn:sproxy:problem:unauthenticated", "A valid credential is needed"),
        Kind::Forbidden => ("urn:sproxy:problem:forbidden", "Not allowed"),
        Kind::NotFound => ("urn:sproxy:problem:not-found", "Not found"),
        Kind::Conflict => ("urn:sproxy:problem:conflict", "In conflict with what is there"),
        Kind::TooLarge => ("urn:sproxy:problem:too-large", "The request is too large"),
        Kind::QuotaSpent => ("urn:sproxy:problem:quota-spent", "A quota is spent"),
        Kind::RateLimited => ("urn:sproxy:problem:rate-limited", "Too many requests"),
        Kind::Unavailable => ("urn:sproxy:problem:unavailable", "Not possible at the moment"),
        Kind::Upstream => ("urn:sproxy:problem:upstream-failed", "The upstream failed"),
        Kind::UpstreamTimeout => ("urn:sproxy:problem:upstream-timeout", "The upstream took too long"),
        Kind::Internal => ("urn:sproxy:problem:internal", "Something went wrong here"),
    }
}

/// The refusals of a request that reads.
pub struct ReadErrors;

/// The refusals of a request that changes something.
pub struct WriteErrors;

/// The refusals of a request for a session.
pub struct AuthErrors;

impl IntoResponses for ReadErrors {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        use Kind::{Forbidden, Internal, Invalid, NotFound, Unauthenticated, Unavailable};
        documented(&[Invalid, Unauthenticated, Forbidden, NotFound, Internal, Unavailable])
    }
}

impl IntoResponses for WriteErrors {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let mut all = ReadErrors::responses();
        all.extend(documented(&[Kind::Conflict, Kind::TooLarge]));
        all
    }
}

impl IntoResponses for AuthErrors {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let mut all = ReadErrors::responses();
        all.extend(documented(&[Kind::TooLarge, Kind::RateLimited]));
        all.remove(StatusCode::NOT_FOUND.as_str());
        all
    }
}

fn documented(kinds: &[Kind]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let problem = |kind: Kind| {
        let schema = Ref::from_schema_name("Problem");
        let content = ContentBuilder::new().schema(Some(schema)).build();
        ResponseBuilder::new().description(words_of(kind).1).content(MEDIA_TYPE, content).build()
    };
    kinds.iter().map(|kind| (kind.http_status().as_str().to_owned(), problem(*kind).into())).collect()
}

impl ApiError {
    /// What whoever asked is told. What is wrong here itself goes to the log alone.
    #[must_use]
    pub fn into_problem(self) -> Problem {
        let Self { failure, status } = self;
        let (kind, title) = if status == StatusCode::METHOD_NOT_ALLOWED {
            ("urn:sproxy:problem:method-not-allowed", "Method not allowed")
        } else {
            words_of(failure.kind)
        };
        let detail = if failure.kind == Kind::Internal {
            // What is broken here is for the log; a caller can do nothing with it, or too much.
            tracing::error!(error = %failure.message, "a control-plane request failed");
            "the node's log has the details".to_owned()
        } else {
            failure.message
        };
        let retry_after = failure.retry_after.map(|wait| wait.as_millis().div_ceil(1_000).max(1));
        let retry_after = retry_after.and_then(|seconds| u64::try_from(seconds).ok());
        Problem { kind, title, status: status.as_u16(), detail, retry_after }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind) = (self.status, self.failure.kind);
        let problem = self.into_problem();
        let retry_after = problem.retry_after;
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut answer = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        answer.extensions_mut().insert(Arc::new(problem));
        let headers = answer.headers_mut();
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if kind == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    async fn answer(failure: Failure) -> (http::response::Parts, serde_json::Value) {
        let (parts, body) = ApiError::from(failure).into_response().into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        (parts, serde_json::from_slice(&bytes).expect("JSON"))
    }

    #[tokio::test]
    async fn a_problem_says_what_and_when_to_come_back() {
        let failure = Failure::new(Kind::RateLimited, "slow down").retry_after(Duration::from_millis(1_200));
        let (head, problem) = answer(failure).await;
        assert_eq!(
            (head.status.as_u16(), &head.headers["retry-after"]),
            (429, &HeaderValue::from_static("2"))
        );
        assert_eq!(head.headers["content-type"], MEDIA_TYPE);
        let expected = serde_json::json!({
            "type": "urn:sproxy:problem:rate-limited", "title": "Too many requests", "status": 429,
            "detail": "slow down", "retry_after": 2
        });
        assert_eq!(problem, expected);
    }

    #[tokio::test]
    async fn what_is_broken_here_is_not_told() {
        let (head, problem) =
            answer(Failure::new(Kind::Internal, "/var/lib/secret: permission denied")).await;
        assert_eq!(head.status.as_u16(), 500);
        assert!(!problem.to_string().contains("secret"));
    }
}
