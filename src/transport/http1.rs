//! One HTTP/1.1 connection, driven by whoever waits for its answer.
//!
//! hyper's usual client runs each connection in a task of its own and hands chunks over a channel: a wake-up and a
//! switch per chunk, which is most of what a streaming gateway costs. Here the request and then the answer's body
//! poll the connection themselves, and everything that has arrived goes on as one piece.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

use super::connect::MaybeTlsStream;
use super::early_answer::IgnoreWriteErrors;
use super::idle_timeout::IdleTimeout;

/// Connections that were idle for longer are not reused: servers close them about then.
const IDLE_MAX: Duration = Duration::from_secs(55);
/// Idle connections kept per endpoint, whatever the number in use may be.
const KEPT_MAX: usize = 1024;

type Driver = Connection<TokioIo<IgnoreWriteErrors<MaybeTlsStream>>, Full<Bytes>>;

/// A connection that nobody else uses.
pub(super) struct Http1Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    /// The time limit for the head of an answer.
    answer_timeout: IdleTimeout,
    /// The driver has come to its end and must not be polled again.
    ended: bool,
    /// The last answer was framed in a way that leaves doubt where the next one would begin.
    is_suspect: bool,
}

/// Why an exchange failed.
pub(super) enum Failed {
    /// The connection was closed before anything of the request went out; here it is again, where hyper still had it.
    NotSent(Option<Box<Request<Full<Bytes>>>>, hyper::Error),
    Broken(hyper::Error),
    Late,
}

impl Http1Connection {
    /// A connection whose answers may each take `answer_max` to begin.
    pub(super) async fn open(stream: MaybeTlsStream, answer_max: Duration) -> hyper::Result<Box<Self>> {
        let (sender, driver) = Builder::new().handshake(TokioIo::new(IgnoreWriteErrors::new(stream))).await?;
        let answer_timeout = IdleTimeout::new(answer_max);
        Ok(Box::new(Self { sender, driver, answer_timeout, ended: false, is_suspect: false }))
    }

    /// Lets the connection read and write what it can.
    pub(super) fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.driver).poll(cx);
        self.ended = polled.is_ready();
        polled
    }

    /// Sends a request and waits for the answer's head. Whoever reads its body drives the connection that comes back
    /// with it.
    pub(super) async fn exchange(
        mut self: Box<Self>,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Box<Self>), Failed> {
        let mut sending = pin!(self.sender.try_send_request(request));
        let answered = poll_fn(|cx| {
            // The answer may be there although the connection has ended, so the connection's own error, which
            // says more than "cancelled", counts only if there is none.
            let driven = if self.ended {
                Poll::Ready(Ok(()))
            } else {
                let driven = Pin::new(&mut self.driver).poll(cx);
                self.ended = driven.is_ready();
                driven
            };
            match sending.as_mut().poll(cx) {
                Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer)),
                Poll::Ready(Err(mut failed)) => {
                    let unsent = failed.take_message().map(Box::new);
                    let error = failed.into_error();
                    Poll::Ready(Err(match (unsent, driven) {
                        (None, Poll::Ready(Err(driven))) if !error.is_canceled() => Failed::Broken(driven),
                        (None, _) if !error.is_canceled() => Failed::Broken(error),
                        (unsent, _) => Failed::NotSent(unsent, error),
                    }))
                }
                Poll::Pending => self.answer_timeout.poll_exceeded(cx).map(|()| Err(Failed::Late)),
            }
        })
        .await;
        self.answer_timeout.over();
        answered.map(|mut answer| {
            let headers = answer.headers_mut();
            if headers.contains_key(TRANSFER_ENCODING) && headers.remove(CONTENT_LENGTH).is_some() {
                // RFC 9112, 6.3: the coding is what frames the body, the length is not to be passed on, and whoever
                // sends both cannot be trusted with where the next answer begins.
                self.is_suspect = true;
            }
            (answer, self)
        })
    }
}

/// The idle connections to one endpoint, the last used first.
pub(super) struct IdlePool {
    connections: Mutex<Vec<(Box<Http1Connection>, Instant)>>,
    max: usize,
}

impl IdlePool {
    pub(super) fn new(max: usize) -> Self {
        Self { connections: Mutex::new(Vec::new()), max: max.min(KEPT_MAX) }
    }

    /// A connection that has not been seen to close.
    pub(super) async fn take(&self) -> Option<Box<Http1Connection>> {
        loop {
            let (mut connection, since) = self.connections.lock().pop()?;
            if since.elapsed() > IDLE_MAX {
                // Those below have mostly been idle even longer, but one may have come back in between.
                drop(connection);
                self.close_idle();
                continue;
            }
            let open = poll_fn(|cx| Poll::Ready(connection.is_reusable(cx))).await;
            if open {
                return Some(connection);
            }
        }
    }

    /// Closes connections that were idle for longer than [`IDLE_MAX`].
    pub(super) fn close_idle(&self) {
        let mut connections = self.connections.lock();
        // The last used come last.
        let kept_from = connections.partition_point(|(_, since)| since.elapsed() > IDLE_MAX);
        let closed: Vec<_> = connections.drain(..kept_from).collect();
        if connections.len() < connections.capacity() / 4 {
            connections.shrink_to_fit();
        }
        drop(connections);
        drop(closed); // outside the lock: each one is a call to the system
    }

    /// Takes a connection back whose answer has been read to its end, if it can carry another.
    pub(super) fn put_back(&self, mut connection: Box<Http1Connection>, cx: &mut Context<'_>) {
        // An answer that came before the whole request was written leaves a connection that still writes.
        if connection.is_suspect || !connection.is_reusable(cx) {
            return;
        }
        let mut connections = self.connections.lock();
        if connections.len() < self.max {
            connections.push((connection, Instant::now()));
        }
    }
}

impl Http1Connection {
    fn is_reusable(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_connection(cx).is_pending()
            && !self.sender.is_closed()
            && matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())))
    }
}
