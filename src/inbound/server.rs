//! Accepting connections: bounded in number and in what they may keep waiting, without Nagle, under TLS if configured.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::activity::{self, Activity, Expired, Timeouts};
use super::connection::Connection;
use super::connection_limit::ConnectionLimit;
use super::preface::{self, Protocol};
use super::request_body::RequestBody;
use super::send_timeout;
use super::stream::{Socket, Stream};
use super::tls::Tls;
use super::upgrade::Upgrade;

/// Connections beyond the limit that are answered with a refusal at the same time, and how long each may take.
const TURNED_AWAY_AT_ONCE: usize = 256;
const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(5);
/// Bodies of refused requests that are drained at once, of all callers; one address takes at most half.
const DROPPED_AT_ONCE: usize = 256;
/// The share of one address in what is still free: alone it comes to eight of nine places.
const SHARE: usize = 8;
/// Connections that the system holds ready, at most, and are accepted when the server stops.
const BACKLOG: usize = 1024;
/// How long, from then on, a request is waited for that is on its way to an open connection.
const LAST_REQUESTS: Duration = Duration::from_secs(1);
/// HTTP/2 callers that do not answer a ping are gone.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Answers the requests of a server.
pub trait Handler: Send + Sync + 'static {
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers a request of `caller`.
    fn handle(
        self: Arc<Self>,
        head: Parts,
        body: RequestBody,
        caller: SocketAddr,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// The answer to a request on a connection beyond the limit.
    fn no_capacity(&self, head: &Parts) -> Response<Self::Body>;
}

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time; more are turned away with a refusal.
    pub connections: usize,
    /// How long a connection's opening and the head of a request may take.
    pub header_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// How long a caller may read nothing of what is sent; `None` for no limit.
    pub stall_timeout: Option<Duration>,
}

/// The protocols of a server.
#[derive(Clone, Copy, Debug)]
pub struct Protocols {
    /// HTTP/1.1 beside HTTP/2.
    pub http1: bool,
    /// Streams of one HTTP/2 connection at the same time.
    pub streams: u32,
    /// HTTP/2 flow-control windows, per stream and per connection; `None` for hyper's.
    pub windows: Option<(u32, u32)>,
}

/// One listening socket and its handler.
pub struct Server<H> {
    listener: Arc<TcpListener>,
    serving: Arc<Serving<H>>,
}

/// What connections are served with. They do not hold the socket: it closes when the last is accepted, however long
/// their answers go on.
struct Serving<H> {
    tls: Option<Arc<Tls>>,
    handler: Arc<H>,
    http1: Option<http1::Builder>,
    http2: http2::Builder<TokioExecutor>,
    timeouts: Timeouts,
    permits: Arc<ConnectionLimit>,
    refusals: Arc<ConnectionLimit>,
    dropping: Arc<ConnectionLimit>,
    stall_timeout: Option<Duration>,
}

/// How a server and its connections learn that the node leaves.
#[derive(Clone, Debug)]
pub struct Shutdown {
    leaving: CancellationToken,
    stop: CancellationToken,
    give_up: CancellationToken,
    /// How long a request is waited for that is on its way to an open connection.
    patience: Duration,
}

impl Shutdown {
    /// With `leaving`, callers are asked to go elsewhere with their next requests, and whoever comes all the same is served.
    /// With `stop`, nobody is accepted any more; connections finish their requests, and one that is on its way, and close.
    /// With `give_up` they close at once.
    #[must_use]
    pub fn new(leaving: CancellationToken, stop: CancellationToken, give_up: CancellationToken) -> Self {
        Self { leaving, stop, give_up, patience: LAST_REQUESTS }
    }

    /// Callers hear of it with `stop`, and only what has come by then is answered.
    #[must_use]
    pub fn abrupt(stop: CancellationToken, give_up: CancellationToken) -> Self {
        Self { leaving: stop.clone(), stop, give_up, patience: Duration::ZERO }
    }

    /// Done when a connection that has said nothing is not waited for any more.
    async fn no_opening(&self) {
        self.stop.cancelled().await;
        let _ = self.give_up.run_until_cancelled(sleep(self.patience)).await;
    }

    /// Done when no further request is waited for on a connection. Its last answer may have begun before anybody left, and
    /// not say that the connection will close; then its end is answered with the next request, as callers in a loop do.
    async fn no_request(&self, activity: &Activity, timeouts: Timeouts) {
        self.no_opening().await;
        if !self.patience.is_zero() {
            let quiet = activity.expired(Timeouts { idle: self.patience, ..timeouts });
            let _ = self.give_up.run_until_cancelled(quiet).await;
        }
    }
}

/// A connection that has been accepted.
struct Accepted {
    connection: Arc<Connection>,
    shutdown: Shutdown,
    /// It is beyond the limit: its first request is refused.
    refused: bool,
}

impl<H: Handler> Server<H> {
    /// A server on a socket that is bound already.
    #[must_use]
    pub fn new(
        listener: Arc<TcpListener>,
        tls: Option<Arc<Tls>>,
        handler: Arc<H>,
        protocols: Protocols,
        limits: Limits,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        // Its own timer does not tell a connection without a request from a head that does not end.
        http1.header_read_timeout(None);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(protocols.streams)
            .keep_alive_interval(PING_EVERY);
        if let Some((stream, connection)) = protocols.windows {
            http2.initial_stream_window_size(stream).initial_connection_window_size(connection);
        }
        Self {
            listener,
            serving: Arc::new(Serving {
                tls,
                handler,
                http1: protocols.http1.then_some(http1),
                http2,
                timeouts: Timeouts { head: limits.header_timeout, idle: limits.idle_timeout },
                permits: ConnectionLimit::new(limits.connections, SHARE),
                refusals: ConnectionLimit::new(TURNED_AWAY_AT_ONCE, SHARE),
                dropping: ConnectionLimit::new(DROPPED_AT_ONCE, 1),
                stall_timeout: limits.stall_timeout,
            }),
        }
    }

    /// Accepts until it is told to stop, and lets go of its socket then. Connections go on in `tasks`.
    pub async fn run(self, shutdown: Shutdown, tasks: TaskTracker) {
        let Self { listener, serving } = self;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.stop.cancelled() => break,
            };
            match accepted {
                Ok((socket, caller)) => serving.accept(socket, caller, &shutdown, &tasks),
                Err(error) => {
                    // Out of file descriptors, mostly: it passes when connections close.
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        // To its caller a connection that the system holds ready is open already.
        for _ in 0..BACKLOG {
            let Some(Ok((socket, caller))) = listener.accept().now_or_never() else { break };
            serving.accept(socket, caller, &shutdown, &tasks);
        }
    }
}

impl<H: Handler> Serving<H> {
    /// Gives a connection a place, or one among those that are refused.
    fn accept(
        self: &Arc<Self>,
        socket: TcpStream,
        caller: SocketAddr,
        shutdown: &Shutdown,
        tasks: &TaskTracker,
    ) {
        let permit = self.permits.enter(caller.ip());
        let refused = permit.is_none();
        let Some(permit) = permit.or_else(|| self.refusals.enter(caller.ip())) else { return };
        let connection = Connection {
            caller,
            activity: Arc::new(Activity::new()),
            dropping: Arc::clone(&self.dropping),
            tasks: tasks.clone(),
            _permit: permit,
        };
        let shutdown = shutdown.clone();
        let mut accepted = Accepted { connection: Arc::new(connection), shutdown, refused };
        let server = Arc::clone(self);
        if refused {
            // Its own sign to finish: it is given with the first answer.
            accepted.shutdown.stop = accepted.shutdown.stop.child_token();
            let serving = timeout(TURNED_AWAY_WITHIN, server.serve_connection(socket, accepted));
            tasks.spawn(async move { drop(serving.await) });
        } else {
            tasks.spawn(server.serve_connection(socket, accepted));
        }
    }

    async fn serve_connection(self: Arc<Self>, socket: TcpStream, accepted: Accepted) {
        let prepared = socket.set_nodelay(true).and_then(|()| {
            let limit = self.stall_timeout;
            limit.map_or(Ok(()), |limit| send_timeout::limit(&socket, limit))
        });
        if let Err(error) = prepared {
            tracing::debug!(%error, "a connection was gone before it began");
            return;
        }
        let deadline = Instant::now() + self.timeouts.head;
        match self.tls.clone() {
            None => self.open(socket, accepted, deadline).await,
            // In a box, or every connection in clear would take the room of one under TLS.
            Some(tls) => Box::pin(self.open_under_tls(tls.acceptor(), socket, accepted, deadline)).await,
        }
    }

    async fn open_under_tls(
        self: Arc<Self>,
        tls: TlsAcceptor,
        socket: TcpStream,
        accepted: Accepted,
        deadline: Instant,
    ) {
        match timeout_at(deadline, tls.accept(socket)).await {
            Ok(Ok(stream)) => self.open(stream, accepted, deadline).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    /// Detects the protocol from the first bytes, and serves the connection.
    async fn open<S: Socket>(self: Arc<Self>, mut socket: S, accepted: Accepted, deadline: Instant) {
        let opened = tokio::select! {
            opened = timeout_at(deadline, preface::read(&mut socket)) => opened,
            () = accepted.shutdown.no_opening() => return,
        };
        let (protocol, first) = match opened {
            Ok(Ok(Some(opening))) => opening,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a connection was gone before it said anything");
                return;
            }
            Err(_) => {
                tracing::debug!(caller = %accepted.connection.caller, "a connection did not open in time");
                return;
            }
        };
        let activity = Arc::clone(&accepted.connection.activity);
        let (requests, shutdown) = (self.requests_of(&accepted), accepted.shutdown.clone());
        match protocol {
            Protocol::Http1 => {
                let Some(http1) = &self.http1 else { return };
                let stream = TokioIo::new(Stream::new(socket, first, protocol, Arc::clone(&activity)));
                let connection = http1.serve_connection(stream, requests).with_upgrades();
                let goodbye = shutdown.no_request(&activity, self.timeouts);
                let finish = http1::UpgradeableConnection::graceful_shutdown;
                drive(connection, finish, accepted, goodbye, self.timeouts).await;
            }
            Protocol::Http2 => {
                activity.opened();
                // A GOAWAY loses no request. Who comes while the node leaves would have one before the first answer.
                let is_late = accepted.refused || shutdown.leaving.is_cancelled();
                let goodbye = if is_late { shutdown.stop } else { shutdown.leaving };
                let stream = TokioIo::new(Stream::new(socket, first, protocol, activity));
                let connection = self.http2.serve_connection(stream, requests);
                // In a box, for the same reason as TLS.
                let goodbye = goodbye.cancelled();
                let finish = http2::Connection::graceful_shutdown;
                Box::pin(drive(connection, finish, accepted, goodbye, self.timeouts)).await;
            }
        }
    }

    fn requests_of(&self, accepted: &Accepted) -> Requests<H> {
        Requests {
            handler: Arc::clone(&self.handler),
            connection: Arc::clone(&accepted.connection),
            leaving: accepted.shutdown.leaving.clone(),
            give_up: accepted.shutdown.give_up.clone(),
            refused: accepted.refused.then(|| accepted.shutdown.stop.clone()),
        }
    }
}

/// The requests of one connection.
struct Requests<H> {
    handler: Arc<H>,
    connection: Arc<Connection>,
    leaving: CancellationToken,
    give_up: CancellationToken,
    /// The connection is beyond the limit: it ends after the first answer.
    refused: Option<CancellationToken>,
}

impl<H: Handler> Service<Request<Incoming>> for Requests<H> {
    type Response = Response<ResponseBody<H::Body>>;
    type Error = Infallible;
    /// In a box that goes when the answer begins: hyper holds room for this as long as the connection lasts.
    type Future = ResponseFuture<H::Body>;

    fn call(&self, request: Request<Incoming>) -> ResponseFuture<H::Body> {
        let running = activity::Request::begin(&self.connection.activity);
        let (mut head, body) = request.into_parts();
        if let Some(upgrade) = head.extensions.remove::<OnUpgrade>() {
            // In the place of hyper's own, which knows nothing of places, and of nodes that leave.
            head.extensions.insert(Upgrade::new(
                upgrade,
                Arc::clone(&self.connection),
                self.leaving.clone(),
                self.give_up.clone(),
            ));
        }
        self.connection.activity.asked(head.version == Version::HTTP_11);
        let is_http1 = head.version < Version::HTTP_2;
        let body = RequestBody::new(body, &head.headers, Arc::clone(&self.connection));
        if let Some(stop) = &self.refused {
            stop.cancel();
            let mut answer = self.handler.no_capacity(&head);
            if is_http1 {
                say_close(&mut answer);
            }
            return Box::pin(async move { Ok(answer.map(|body| ResponseBody { body, _running: running })) });
        }
        let (handler, caller) = (Arc::clone(&self.handler), self.connection.caller);
        let leaving = self.leaving.clone();
        Box::pin(async move {
            let mut answer = handler.handle(head, body, caller).await;
            running.answering();
            if is_http1 && leaving.is_cancelled() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                say_close(&mut answer);
            }
            Ok(answer.map(|body| ResponseBody { body, _running: running }))
        })
    }
}

/// Closes the connection after this answer, and says so: its caller sends the next request on another.
fn say_close<B>(answer: &mut Response<B>) {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

type ResponseFuture<B> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<B>>, Infallible>> + Send>>;

/// Serves a connection to its end: the caller's, the node's, which begins with `goodbye`, or that of the time it may be
/// without a request.
async fn drive<C, E>(
    connection: C,
    finish: impl FnOnce(Pin<&mut C>),
    accepted: Accepted,
    goodbye: impl Future<Output = ()>,
    timeouts: Timeouts,
) where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut connection = pin!(connection);
    let activity = &accepted.connection.activity;
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        () = goodbye => None,
        expired = activity.expired(timeouts) => {
            tracing::debug!(caller = %accepted.connection.caller, ?expired, "a connection was without a request for too long");
            match expired {
                Expired::Head => return,
                Expired::Idle => None,
            }
        }
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        finish(connection.as_mut());
        // A caller that does not take its leave is left.
        let brief = Timeouts { idle: timeouts.head, ..timeouts };
        tokio::select! {
            biased;
            ended = connection => ended,
            () = accepted.shutdown.give_up.cancelled() => return,
            _ = activity.expired(brief) => return,
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The body of an answer; its request is over when it is dropped.
struct ResponseBody<B> {
    body: B,
    _running: activity::Request,
}

impl<B: Body + Unpin> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Binds a socket for a server.
///
/// # Errors
/// The setting that names the address, the address, and the system's reason.
pub async fn bind(setting: &str, address: SocketAddr) -> io::Result<TcpListener> {
    let named = |error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    ": set {setting} to another address (port 0 takes a free one), or stop what listens there"
                )
            }
            _ => String::new(),
        };
        io::Error::new(error.kind(), format!("{setting}: cannot listen on {address}: {error}{advice}"))
    };
    TcpListener::bind(address).await.map_err(named)
}
