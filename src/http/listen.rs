//! Accepting connections: bounded in number, without Nagle, under TLS if configured, HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dispatch::Dispatch;

/// Streams of one HTTP/2 connection at the same time.
const STREAMS_MAX: u32 = 1_000;
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// One listening socket and what is behind it.
pub struct Door {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    dispatch: Arc<Dispatch>,
    builder: auto::Builder<TokioExecutor>,
    room: Arc<Semaphore>,
}

/// What a door is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time; more are told 503.
    pub connections: usize,
    /// How long a caller may take to send a request's head.
    pub header_timeout: Duration,
}

/// How connections learn that the node leaves.
#[derive(Clone)]
struct Leave {
    /// Finish the requests you are at.
    stop: CancellationToken,
    /// Close.
    give_up: CancellationToken,
}

impl Door {
    /// A door on a socket that is bound already.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        dispatch: Arc<Dispatch>,
        limits: Limits,
    ) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(Duration::from_secs(30));
        let room = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        Self { listener, tls, dispatch, builder, room }
    }

    /// Accepts until `stop`. Connections go on in `tasks`: they finish the requests they are at, and close; with
    /// `give_up` they close at once.
    pub async fn run(self, stop: CancellationToken, give_up: CancellationToken, tasks: TaskTracker) {
        let door = Arc::new(self);
        let leave = Leave { stop, give_up };
        loop {
            let accepted = tokio::select! {
                accepted = door.listener.accept() => accepted,
                () = leave.stop.cancelled() => return,
            };
            match accepted {
                Ok((socket, caller)) => {
                    tasks.spawn(Arc::clone(&door).welcome(socket, caller, leave.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, mostly: it passes when connections close.
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn welcome(self: Arc<Self>, mut socket: TcpStream, caller: SocketAddr, leave: Leave) {
        let Ok(_place) = self.room.try_acquire() else {
            let _ = timeout(HANDSHAKE_MAX, socket.write_all(full().as_bytes())).await;
            return;
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it began");
            return;
        }
        match &self.tls {
            None => self.serve(socket, caller, leave).await,
            // In a box, or every connection in clear would take the room of one under TLS.
            Some(tls) => Box::pin(self.serve_under_tls(tls, socket, caller, leave)).await,
        }
    }

    async fn serve_under_tls(&self, tls: &TlsAcceptor, socket: TcpStream, caller: SocketAddr, leave: Leave) {
        match timeout(HANDSHAKE_MAX, tls.accept(socket)).await {
            Ok(Ok(stream)) => self.serve(stream, caller, leave).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn serve<S>(&self, stream: S, caller: SocketAddr, leave: Leave)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let dispatch = Arc::clone(&self.dispatch);
        let service = service_fn(move |request: Request<Incoming>| {
            let dispatch = Arc::clone(&dispatch);
            // In a box that goes when the answer begins: hyper holds room for this as long as the connection lasts.
            Box::pin(async move { Ok::<_, Infallible>(dispatch.call(request, caller).await) })
        });
        let mut connection = std::pin::pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = leave.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = leave.give_up.cancelled() => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// What a connection hears that comes when there are as many as there may be.
fn full() -> String {
    let body = json!({
        "type": "about:blank",
        "title": "too many connections",
        "status": 503,
        "detail": "this node serves as many connections as http.max_connections allows; try again, or another node",
    })
    .to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Binds a socket for a door, or for anything else that listens.
///
/// # Errors
/// The address with the system's reason.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
    TcpListener::bind(address).await.map_err(named)
}

/// Reads a certificate chain and its key for a TLS door.
///
/// # Errors
/// The file that cannot be used, with the reason.
pub fn tls(cert: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| format!("http.tls_cert {}: {e}", cert.display()))?;
    let key_der =
        PrivateKeyDer::from_pem_file(key).map_err(|e| format!("http.tls_key {}: {e}", key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|e| format!("http.tls_cert {} and http.tls_key {}: {e}", cert.display(), key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
