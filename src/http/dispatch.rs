//! Which plane a request is for. The data plane is reached by a match on the path's first segment, without a router:
//! its requests are the ones that have to be cheap.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use http::{HeaderValue, Method, Request, Response, Version, header};
use tower::ServiceExt;

use super::body::Body;
use super::cors::{self, Cors, Verdict};
use super::stall::Stalls;
use crate::dialect::route;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::RequestId;
use crate::inbound::RequestBody;
use crate::proxy::{self, Gateway, Head};

/// Both planes.
pub struct Dispatch {
    gateway: Arc<Gateway>,
    control: Router,
    stalls: Arc<Stalls<Box<Body>>>,
    pub(super) cors: Option<Arc<Cors>>,
}

impl Dispatch {
    /// A dispatch between the data plane and the control plane's routes.
    #[must_use]
    pub fn new(
        gateway: Arc<Gateway>,
        control: Router,
        stalls: Arc<Stalls<Box<Body>>>,
        cors: Option<Arc<Cors>>,
    ) -> Self {
        Self { gateway, control, stalls, cors }
    }

    /// Answers one request.
    pub async fn call(self: Arc<Self>, request: Request<RequestBody>, caller: SocketAddr) -> Response<Body> {
        let path = request.uri().path();
        let marks = match cors::judge(self.cors.as_deref(), request.method(), path, request.headers()) {
            Verdict::Answered(response) => return response,
            Verdict::Call(marks) => marks,
        };
        if request.version() == Version::HTTP_2 {
            let stalls = Arc::clone(&self.stalls);
            let answer = self.answer(request, caller).await;
            return marks.on(answer).map(|body| Body::Observed(stalls.observe(Box::new(body))));
        }
        marks.on(self.answer(request, caller).await)
    }

    async fn answer(self: Arc<Self>, request: Request<RequestBody>, caller: SocketAddr) -> Response<Body> {
        let (head, body) = request.into_parts();
        if let Some(route) = route::find(&head.method, head.uri.path(), &head.headers) {
            let head = Head {
                method: head.method,
                query: head.uri.query().map(Cow::Borrowed),
                headers: head.headers,
            };
            return self.gateway.serve(route, head, body).await.map(Body::Data);
        }
        if head.uri.path() == "/" && matches!(head.method, Method::GET | Method::HEAD) {
            return probe(&head.method);
        }
        if let Some((provider, advice)) = route::meant(head.uri.path()) {
            let failure = Failure::new(Kind::NotFound, advice);
            return proxy::refusal::response(provider, &failure, RequestId::new()).map(Body::Data);
        }
        // In a box, or every call of the data plane would take the room of one here.
        Box::pin(self.control(Request::from_parts(head, body), caller)).await
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

/// Claude Code asks for the root before anything else, to see whether somebody is there.
fn probe(method: &Method) -> Response<Body> {
    let text = if *method == Method::HEAD { "" } else { "sproxy\n" };
    let mut response = Response::new(Body::Data(proxy::Body::from(text.to_owned())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
