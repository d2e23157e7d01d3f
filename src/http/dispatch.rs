//! Which plane a request is for. The data plane is reached by a match on the path's first segment, without a router:
//! its requests are the ones that have to be cheap.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::IntoResponse;
use futures_util::StreamExt;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tower::ServiceExt;

use super::body::Body;
use super::problem::Refused;
use crate::domain::failure::{Failure, Kind};
use crate::proxy::{self, Gateway, Head};

/// Both planes.
pub struct Dispatch {
    gateway: Arc<Gateway>,
    control: Router,
    home: Handle,
}

impl Dispatch {
    /// A dispatch between the data plane, which is served where a request arrives, and the control plane's routes,
    /// which are served on `home`: work that may be long must not hold up the calls that share its thread, and what
    /// it opens (a connection to the database) must outlive that thread.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, control: Router, home: Handle) -> Self {
        Self { gateway, control, home }
    }

    /// Answers one request.
    pub async fn call(self: Arc<Self>, request: Request<Incoming>, caller: SocketAddr) -> Response<Body> {
        let (head, body) = request.into_parts();
        if let Some(route) = proxy::find_route(&head.method, head.uri.path(), &head.headers) {
            let head = Head { method: head.method, query: head.uri.query(), headers: head.headers };
            return self.gateway.serve(route, head, body).await.map(Body::Data);
        }
        if head.uri.path() == "/" && matches!(head.method, Method::GET | Method::HEAD) {
            return probe(&head.method);
        }
        let mut request = Request::from_parts(head, axum::body::Body::new(body));
        // Logins are limited by where they come from.
        request.extensions_mut().insert(ConnectInfo(caller));
        let control = self.control.clone();
        let answering = self.home.spawn(async move { control.oneshot(request).await.map(at_home) });
        match answering.await {
            Ok(Ok(response)) => response.map(Body::Control),
            Ok(Err(never)) => match never {},
            Err(error) => {
                tracing::error!(%error, "a request to the control plane failed");
                let failure = Failure::new(Kind::Internal, "something went wrong here; see the node's log");
                Refused::from(failure).into_response().map(Body::Control)
            }
        }
    }
}

/// Pieces of a long answer that wait for a slow caller.
const PIECES_AHEAD: usize = 2;

/// An answer that is made while it is sent goes on being made where it began.
fn at_home(response: Response<axum::body::Body>) -> Response<axum::body::Body> {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| {
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        tokio::spawn(async move {
            let mut pieces = body.into_data_stream();
            while let Some(piece) = pieces.next().await {
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        axum::body::Body::from_stream(ReceiverStream::new(receiver))
    })
}

/// Claude Code asks for the root before anything else, to see whether somebody is there.
fn probe(method: &Method) -> Response<Body> {
    let text = if *method == Method::HEAD { "" } else { "sproxy\n" };
    let mut response = Response::new(Body::Data(proxy::Body::from(text.to_owned())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
