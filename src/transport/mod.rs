//! How bytes get to another HTTP server and back: TCP, TLS and ALPN, connections that are kept, HTTP/1.1 and HTTP/2.
//! Which server, and whether, is decided elsewhere.
//!
//! A gateway's cost is decided here. An HTTP/1.1 connection is not a task of its own: the answer's body drives it (see
//! `http1`), so a chunk travels from socket to socket in one poll of one task.

mod body;
mod client;
mod connect;
mod early_answer;
mod error;
mod http1;
mod http2;
mod idle_timeout;
mod proxy;
mod slots;

use std::path::PathBuf;
use std::time::Duration;

pub use body::{BodyError, ResponseBody};
pub use client::{Client, ClientStats};
pub use error::Error;
pub use proxy::Proxy;

/// Where a [`Client`] sends, and within which limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `http` or `https`, and the host. What stands behind it is not looked at: requests bring their whole path.
    pub url: http::Uri,
    /// Which versions of HTTP are spoken.
    pub http2: Http2,
    /// The proxy on the way there.
    pub proxy: Option<Proxy>,
    /// Authorities to trust besides the public ones, as PEM.
    pub ca_file: Option<PathBuf>,
    /// To a connection.
    pub connect_timeout: Duration,
    /// To the head of an answer.
    pub answer_timeout: Duration,
    /// Between two pieces of an answer.
    pub idle_timeout: Duration,
    /// How long a request may wait for a stream of HTTP/2.
    pub queue_timeout: Duration,
    /// Requests in flight.
    pub max_connections: usize,
    /// Connections that speak HTTP/2.
    pub http2_connections: usize,
}

/// Whether HTTP/2 is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2 {
    /// Never.
    No,
    /// If the other side chooses it during the TLS handshake.
    Offered,
    /// Without asking.
    Only,
}
