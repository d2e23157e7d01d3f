//! Which plane a request is for. The data plane is reached by a match on the path's first segment, without a router:
//! its requests are the ones that have to be cheap.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use tower::ServiceExt;

use super::body::Body;
use super::cors::{self, Cors, Verdict};
use super::refusal::refuse;
use super::stall::StallDetector;
use crate::dialect::route;
use crate::domain::failure::{Failure, Kind};
use crate::inbound::RequestBody;
use crate::proxy::{self, Gateway, Head};

pub struct Dispatch {
    gateway: Arc<Gateway>,
    control: Router,
    stall_detector: Arc<StallDetector<Box<Body>>>,
    pub(super) cors: Option<Arc<Cors>>,
}

impl Dispatch {
    /// Dispatches between the data plane and the control plane's routes.
    #[must_use]
    pub fn new(
        gateway: Arc<Gateway>,
        control: Router,
        stall_detector: Arc<StallDetector<Box<Body>>>,
        cors: Option<Arc<Cors>>,
    ) -> Self {
        Self { gateway, control, stall_detector, cors }
    }

    /// Answers one request. No `async fn`: that would keep room for the head twice as long as it runs.
    #[allow(clippy::manual_async_fn, reason = "see above")]
    pub fn call(
        self: Arc<Self>,
        mut head: Parts,
        body: RequestBody,
        caller: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send {
        async move {
            let cors_headers =
                match cors::judge(self.cors.as_deref(), &head.method, head.uri.path(), &head.headers) {
                    Verdict::Answered(response) => return response,
                    Verdict::Call(cors_headers) => cors_headers,
                };
            let is_http2 = head.version == Version::HTTP_2;
            let answer = if let Some(route) = route::find(&head.method, head.uri.path(), &head.headers) {
                let mut head = Head {
                    method: head.method,
                    query: head.uri.query().map(Cow::Borrowed),
                    headers: head.headers,
                    upgrade: head.extensions.remove().map(Box::new),
                };
                self.gateway.serve(route, &mut head, body).await.map(Body::Data)
            } else {
                // In a box, or every call of the data plane would take the room of one here.
                Box::pin(self.off_data_plane(head, body, caller)).await
            };
            let answer = cors_headers.on(answer);
            if is_http2 {
                return answer.map(|body| Body::Tracked(self.stall_detector.track(Box::new(body))));
            }
            answer
        }
    }

    /// Answers requests that are not for the data plane.
    async fn off_data_plane(&self, head: Parts, body: RequestBody, caller: SocketAddr) -> Response<Body> {
        if head.uri.path() == "/" && matches!(head.method, Method::GET | Method::HEAD) {
            return if wants_pages(&head) { to_pages() } else { probe(&head.method) };
        }
        if is_page(head.uri.path()) {
            return self.control(Request::from_parts(head, body), caller).await;
        }
        if let Some((_, advice)) = route::meant(head.uri.path()) {
            return refuse(&head, Failure::new(Kind::NotFound, advice));
        }
        self.control(Request::from_parts(head, body), caller).await
    }

    async fn control(&self, request: Request<RequestBody>, caller: SocketAddr) -> Response<Body> {
        let mut request = request.map(axum::body::Body::new);
        // Logins are limited by where they come from.
        request.extensions_mut().insert(ConnectInfo(caller));
        let answer: Result<_, Infallible> = self.control.clone().oneshot(request).await;
        match answer {
            Ok(response) => response.map(Body::Control),
            Err(never) => match never {},
        }
    }
}

/// Whether a path is one of the pages, whose names may be those of a provider's, too.
pub(super) fn is_page(path: &str) -> bool {
    path == "/device" || path.strip_prefix("/ui").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether it is a person who looks what is here; programs do not ask for HTML.
fn wants_pages(head: &Parts) -> bool {
    let accepted = head.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    head.method == Method::GET
        && accepted.flat_map(|value| value.split(',')).any(|range| range.trim().starts_with("text/html"))
}

fn to_pages() -> Response<Body> {
    let mut response = Response::new(Body::Data(proxy::Body::from(String::new())));
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/ui/"));
    response
}

/// Claude Code asks for the root before anything else, to see whether somebody is there.
fn probe(method: &Method) -> Response<Body> {
    let text = if *method == Method::HEAD { "" } else { "sproxy\n" };
    let mut response = Response::new(Body::Data(proxy::Body::from(text.to_owned())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
