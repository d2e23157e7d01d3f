//! One HTTP/1.1 connection to an upstream, driven by whoever waits for its answer.
//!
//! hyper's usual client runs each connection in a task of its own and hands chunks over a channel: a wake-up and a
//! switch per chunk, which is most of what a streaming gateway costs. Here the request and then the answer's body
//! poll the connection themselves, and everything that has arrived goes on as one piece.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

use super::connect::Stream;
use super::pause::Pause;

/// Connections that were idle longer are not trusted any more: servers close them about then.
const IDLE_MAX: Duration = Duration::from_secs(55);
/// Idle connections kept per target, whatever the number in use may be.
const PARKED_MAX: usize = 1024;

type Driver = Connection<TokioIo<Stream>, Full<Bytes>>;

/// A connection that is not in anybody else's hands.
pub(super) struct Line {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    /// How long an answer may let itself be waited for.
    pause: Pause,
    /// The driver has come to its end and must not be polled again.
    ended: bool,
}

/// Why an exchange failed.
pub(super) enum Failed {
    /// The connection broke.
    Broken {
        error: hyper::Error,
        /// It was closed before the request went out, so nobody can have read it.
        unread: bool,
    },
    /// No answer came in time.
    Late,
}

impl Line {
    /// A line whose answers may each take `answer_max` to begin.
    pub(super) async fn open(stream: Stream, answer_max: Duration) -> hyper::Result<Box<Self>> {
        let (sender, driver) = Builder::new().handshake(TokioIo::new(stream)).await?;
        Ok(Box::new(Self { sender, driver, pause: Pause::new(answer_max), ended: false }))
    }

    /// Lets the connection read and write what it can.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.driver).poll(cx);
        self.ended = polled.is_ready();
        polled
    }

    /// Sends a request and waits for the answer's head. Whoever reads its body drives the line that comes back with it.
    pub(super) async fn exchange(
        mut self: Box<Self>,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Box<Self>), Failed> {
        let mut sending = pin!(self.sender.send_request(request));
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
            match (sending.as_mut().poll(cx), driven) {
                (Poll::Ready(Ok(answer)), _) => Poll::Ready(Ok(answer)),
                (Poll::Ready(Err(_)), Poll::Ready(Err(error))) | (Poll::Ready(Err(error)), _) => {
                    Poll::Ready(Err(Failed::Broken { unread: error.is_canceled(), error }))
                }
                (Poll::Pending, _) => self.pause.poll_exceeded(cx).map(|()| Err(Failed::Late)),
            }
        })
        .await;
        self.pause.over();
        answered.map(|answer| (answer, self))
    }
}

/// The idle connections of one target, the last used first.
pub(super) struct Parked {
    lines: Mutex<Vec<(Box<Line>, Instant)>>,
    max: usize,
}

impl Parked {
    pub(super) fn new(max: usize) -> Self {
        Self { lines: Mutex::new(Vec::new()), max: max.min(PARKED_MAX) }
    }

    /// A connection that is still open as far as can be seen.
    pub(super) async fn take(&self) -> Option<Box<Line>> {
        loop {
            let (mut line, since) = self.lines.lock().pop()?;
            if since.elapsed() > IDLE_MAX {
                // The ones below have been idle even longer.
                let others = std::mem::take(&mut *self.lines.lock());
                drop(others);
                return None;
            }
            let open = poll_fn(|cx| {
                let open = line.drive(cx).is_pending() && !line.sender.is_closed();
                Poll::Ready(open && matches!(line.sender.poll_ready(cx), Poll::Ready(Ok(()))))
            })
            .await;
            if open {
                return Some(line);
            }
        }
    }

    /// Closes the connections that are not trusted any more.
    pub(super) fn close_idle(&self) {
        let mut lines = self.lines.lock();
        // The last used come last.
        let kept_from = lines.partition_point(|(_, since)| since.elapsed() > IDLE_MAX);
        let closed: Vec<_> = lines.drain(..kept_from).collect();
        if lines.len() < lines.capacity() / 4 {
            lines.shrink_to_fit();
        }
        drop(lines);
        drop(closed); // outside the lock: each one is a call to the system
    }

    /// Takes a line back whose answer has been read to its end, if it can carry another.
    pub(super) fn put_back(&self, mut line: Box<Line>, cx: &mut Context<'_>) {
        if line.drive(cx).is_ready() || line.sender.is_closed() {
            return;
        }
        let mut lines = self.lines.lock();
        if lines.len() < self.max {
            lines.push((line, Instant::now()));
        }
    }
}
