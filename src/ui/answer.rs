//! What all answers to browsers have in common: headers that keep pages from being misused, and refusals that people can
//! read.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use maud::html;

use crate::domain::failure::Failure;
use crate::http::problem::{ApiError, Problem};
use crate::ui::{assets, next, shell};

/// Nothing from elsewhere, nothing inline, and no other page around it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    // Without a referrer a form would not say its origin either.
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

/// Makes an answer one for a browser.
pub async fn for_browsers(request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let answer = next.run(request).await;
    let problem = answer.extensions().get::<Arc<Problem>>().cloned();
    with_headers(match problem {
        None => answer,
        Some(problem) if is_signed_out(&problem, &method) => to_sign_in(&uri),
        Some(problem) => told(&problem),
    })
}

/// What a node says to a browser at `path` that has no pages to give yet.
#[must_use]
pub fn while_waiting(path: &str, failure: Failure) -> Response {
    if let Some(asset) = path.strip_prefix(assets::PATH) {
        return with_headers(assets::answer(asset));
    }
    let refused = ApiError::from(failure).into_response();
    let problem = refused.extensions().get::<Arc<Problem>>().cloned();
    with_headers(problem.map_or(refused, |problem| told(&problem)))
}

fn with_headers(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.extend(HEADERS);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

fn is_signed_out(problem: &Problem, method: &Method) -> bool {
    problem.status == StatusCode::UNAUTHORIZED && method == Method::GET
}

fn to_sign_in(uri: &Uri) -> Response {
    let wanted = uri.path_and_query().map_or("/ui/", |path| path.as_str());
    let to = HeaderValue::from_str(&next::sign_in_and_then(wanted));
    let to = to.unwrap_or(HeaderValue::from_static("/ui/login"));
    (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response()
}

fn told(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let page = shell::bare(
        problem.title,
        html! {
            h1 { (problem.title) }
            p { (sentence(&problem.detail)) }
            p.muted { (what_to_do(status, problem.retry_after)) }
            p.row {
                @if status == StatusCode::UNAUTHORIZED {
                    a.button.primary href="/ui/login" { "Sign in" }
                } @else {
                    a.button.primary href="/ui/" { "To the start" }
                }
            }
        },
    );
    let mut answer = (status, page).into_response();
    if let Some(seconds) = problem.retry_after {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}

/// What programs are told begins small, and without a full stop.
fn sentence(detail: &str) -> String {
    let mut letters = detail.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn what_to_do(status: StatusCode, retry_after: Option<u64>) -> String {
    match (status, retry_after) {
        (_, Some(1)) => "Load the page again in a second.".to_owned(),
        (_, Some(seconds)) => format!("Load the page again in {seconds} seconds."),
        (StatusCode::UNAUTHORIZED, _) => "Your session is over. Sign in, and do it again.".to_owned(),
        (StatusCode::FORBIDDEN, _) => "If you need this, ask an admin of the gateway.".to_owned(),
        (StatusCode::NOT_FOUND, _) => {
            "It may have been removed, or the address has a typing error.".to_owned()
        }
        (StatusCode::BAD_REQUEST | StatusCode::CONFLICT, _) => {
            "Go back with your browser, put it right, and send it again.".to_owned()
        }
        (StatusCode::SERVICE_UNAVAILABLE, _) => {
            "Calls are answered meanwhile. Load the page again in a moment.".to_owned()
        }
        _ => "If it happens again, tell an admin when it did: the node's log has the details.".to_owned(),
    }
}
