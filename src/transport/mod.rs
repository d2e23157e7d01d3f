//! How bytes get to another HTTP server and back: TCP, TLS and ALPN, connections that are kept, HTTP/1.1 and HTTP/2, and the way from there to a WebSocket.
//! Which server, and whether, is decided elsewhere.
//!
//! A gateway's cost is decided here. An HTTP/1.1 connection is not a task of its own: the answer's body drives it (see
//! `http1`), so a chunk travels from socket to socket in one poll of one task.

mod body;
mod client;
mod connect;
mod early_answer;
mod error;
mod exchange;
mod http1;
mod http2;
mod idle_timeout;
mod proxy;
mod slots;
mod websocket;

use std::path::PathBuf;
use std::time::Duration;

pub use body::{BodyError, ResponseBody, Translate};
pub use client::{Client, ClientStats};
pub use connect::tls_config;
pub use error::Error;
pub use exchange::{Exchange, refusal};
pub use proxy::Proxy;
pub use websocket::{ConnectionSlot, Opened};

/// The destination of a [`Client`], and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `http` or `https`, and the host. The path is ignored: requests bring their whole path.
    pub url: http::Uri,
    /// The versions of HTTP that are used.
    pub http2: Http2,
    /// The proxy to reach it through.
    pub proxy: Option<Proxy>,
    /// Authorities to trust besides the public ones, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time to the head of an answer.
    pub answer_timeout: Duration,
    /// Time between two chunks of an answer.
    pub idle_timeout: Duration,
    /// Time to the end of an answer.
    pub total_timeout: Duration,
    /// How long a request may wait for a stream of HTTP/2.
    pub queue_timeout: Duration,
    /// Maximum of requests in flight.
    pub max_connections: usize,
    /// Maximum of HTTP/2 connections.
    pub http2_connections: usize,
}

/// Whether HTTP/2 is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2 {
    No,
    /// If the other side chooses it during the TLS handshake.
    Offered,
    /// With prior knowledge.
    Only,
}
