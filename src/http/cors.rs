//! Pages in browsers that call the data plane from another origin: what the Fetch standard's CORS protocol wants to
//! hear. The control plane is not for them.
//!
//! Credentials travel in headers that a page sets itself, never in cookies, so `access-control-allow-credentials` is
//! never said, and `*` may stand for "every header of the answer": the provider's are an open list.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::body::Body;
use crate::config::CorsOrigins;
use crate::dialect::route;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::RequestId;
use crate::domain::provider::Provider;
use crate::proxy;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
const ANY: HeaderValue = HeaderValue::from_static("*");
/// Two hours, in seconds: no browser but Firefox remembers it for longer.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The origins whose pages may call the data plane.
pub struct Cors {
    allowed: Allowed,
}

enum Allowed {
    Any,
    Only(Vec<HeaderValue>),
}

/// How to proceed with a call that a page may have made.
pub(super) enum Verdict {
    /// A preflight request, with its answer.
    Answered(Response<Body>),
    /// A call; its answer gets these headers.
    Call(CorsHeaders),
}

/// The CORS headers of an answer; none by default.
#[derive(Default)]
pub(super) struct CorsHeaders {
    /// `access-control-allow-origin`
    origin: Option<HeaderValue>,
    /// Whether the answer depends on the origin (`vary`).
    varies: bool,
}

impl Cors {
    /// `None` where no page may call: then nothing needs checking.
    #[must_use]
    pub fn new(origins: &CorsOrigins) -> Option<Self> {
        let allowed = match origins {
            CorsOrigins::Any => Allowed::Any,
            CorsOrigins::Only(origins) if origins.is_empty() => return None,
            CorsOrigins::Only(origins) => Allowed::Only(
                origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect(),
            ),
        };
        Some(Self { allowed })
    }

    /// The value of `access-control-allow-origin`.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
        match &self.allowed {
            Allowed::Any => Some(ANY),
            Allowed::Only(allowed) => allowed.iter().find(|one| *one == origin).cloned(),
        }
    }
}

impl CorsHeaders {
    pub(super) fn on(self, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        if self.origin.is_some() {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
        }
        self.put_origin(headers);
        response
    }

    fn put_origin(self, headers: &mut HeaderMap) {
        if let Some(origin) = self.origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
    }
}

/// Decides how to proceed with a request.
pub(super) fn judge(cors: Option<&Cors>, method: &Method, path: &str, headers: &HeaderMap) -> Verdict {
    let judged = cors.and_then(|cors| Some((cors, route::dialect_of(method, path, headers)?)));
    let Some((cors, dialect)) = judged else { return Verdict::Call(CorsHeaders::default()) };
    let cors_headers =
        CorsHeaders { origin: cors.allowed(headers), varies: matches!(cors.allowed, Allowed::Only(_)) };
    let is_preflight = *method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if is_preflight {
        Verdict::Answered(preflight(headers, dialect, cors_headers))
    } else {
        Verdict::Call(cors_headers)
    }
}

/// Answers a request with what is known of it by its head, as far as it is not a browser's question.
pub(super) fn answer(
    cors: Option<&Cors>,
    head: &Parts,
    answer: impl FnOnce() -> Response<Body>,
) -> Response<Body> {
    match judge(cors, &head.method, head.uri.path(), &head.headers) {
        Verdict::Answered(response) => response,
        Verdict::Call(cors_headers) => cors_headers.on(answer()),
    }
}

/// The answer to a preflight request, which has no credential and needs no provider.
fn preflight(request: &HeaderMap, dialect: Provider, cors_headers: CorsHeaders) -> Response<Body> {
    let mut response = if cors_headers.origin.is_some() {
        let mut response = Response::new(Body::Data(proxy::Body::from(String::new())));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        // Here `*` would leave out `authorization`.
        for asked in request.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.append(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        response
    } else {
        let failure = Failure::new(
            Kind::Forbidden,
            "pages of this origin may not call: the operator can add it to http.cors_origins",
        );
        proxy::error_response::response(dialect, &failure, RequestId::new()).map(Body::Data)
    };
    cors_headers.put_origin(response.headers_mut());
    response
}
