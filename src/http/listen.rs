//! The HTTP server: both planes behind it, HTTP/1.1 and HTTP/2 in front.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http::request::Parts;
use tokio::net::TcpListener;

use super::body::Body;
use super::cors;
use super::dispatch::Dispatch;
use super::refusal::refuse;
use crate::domain::failure::{Failure, Kind};
use crate::inbound::tls::{Files, Tls};
use crate::inbound::{Handler, Limits, Protocols, RequestBody, Server};

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
        cors::answer(self.cors.as_deref(), head, || turned_away(head))
    }
}

/// The answer to a request on a connection beyond the limit.
pub(super) fn turned_away(head: &Parts) -> Response<Body> {
    let text = "this node serves as many connections as http.max_connections and its file descriptors allow, or as many of \
                this address; try again, or another node";
    refuse(head, Failure::new(Kind::Unavailable, text).retry_after(Duration::from_secs(1)))
}

/// A server on a socket that is bound already.
#[must_use]
pub fn server<H: Handler>(
    listener: Arc<TcpListener>,
    tls: Option<Arc<Tls>>,
    handler: Arc<H>,
    limits: Limits,
) -> Server<H> {
    let protocols = Protocols { http1: true, streams: STREAMS_MAX, windows: None };
    Server::new(listener, tls, handler, protocols, limits)
}

/// Reads a certificate chain and its key for a TLS server.
///
/// # Errors
/// The file that cannot be used, with the reason.
pub fn tls(cert: &Path, key: &Path) -> Result<Arc<Tls>, String> {
    Tls::read(Files { section: "http.", cert, key, client_ca: None }, &[b"h2", b"http/1.1"])
}
