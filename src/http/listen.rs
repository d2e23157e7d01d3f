//! The HTTP door: both planes behind it, HTTP/1.1 and HTTP/2 in front.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::body::Body;
use super::cors;
use super::dispatch::Dispatch;
use super::problem::MEDIA_TYPE;
use crate::inbound::tls::{Files, acceptor};
use crate::inbound::{Handler, Limits, Protocols, RequestBody, Server};
use crate::proxy;

/// Streams of one HTTP/2 connection at the same time.
const STREAMS_MAX: u32 = 1_000;

impl Handler for Dispatch {
    type Body = Body;

    fn handle(
        self: Arc<Self>,
        head: Parts,
        body: RequestBody,
        caller: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send {
        self.call(head, body, caller)
    }

    fn no_capacity(&self, head: &Parts) -> Response<Body> {
        cors::answer(self.cors.as_deref(), head, turned_away)
    }
}

/// What a request hears for whose connection there is no place.
pub(super) fn turned_away() -> Response<Body> {
    let text = json!({
        "type": "about:blank",
        "title": "too many connections",
        "status": 503,
        "detail": "this node serves as many connections as http.max_connections and its file descriptors allow, or as many of this address; \
                   try again, or another node",
    });
    let mut answer = Response::new(Body::Data(proxy::Body::from(text.to_string())));
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// A door on a socket that is bound already.
#[must_use]
pub fn door<H: Handler>(
    listener: Arc<TcpListener>,
    tls: Option<TlsAcceptor>,
    handler: Arc<H>,
    limits: Limits,
) -> Server<H> {
    let protocols = Protocols { http1: true, streams: STREAMS_MAX, windows: None };
    Server::new(listener, tls, handler, protocols, limits)
}

/// Reads a certificate chain and its key for a TLS door.
///
/// # Errors
/// The file that cannot be used, with the reason.
pub fn tls(cert: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    acceptor(Files { section: "http.", cert, key, client_ca: None }, &[b"h2", b"http/1.1"])
}
