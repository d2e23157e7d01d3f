//! One HTTP/2 connection: its handshake, and the task that drives it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::transport::connect::MaybeTlsStream;

/// What one stream may send before it is read: the memory that an answer takes whose caller does not read it.
const STREAM_WINDOW: u32 = 512 * 1024;
/// Streams that share a connection, whatever more the other side would allow.
pub(super) const STREAMS_MAX: u32 = 128;
/// What h2 has for the other side's limit before its SETTINGS have come.
pub(super) const NOT_TOLD: usize = usize::MAX - 1;
/// Large enough for all streams: a caller that does not read must not block the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX;
/// Events are not expected to be smaller, on average.
const EVENT_MIN: usize = 32;
/// What h2 adds up for DATA frames that wait to be read: 256 bytes less what each of them carries. At its end it closes
/// the connection, with all its streams. With its own budget that happens when 128 callers do not read and events have
/// fewer than 170 bytes: the window is to hold them up before that, alone.
const DATA_FRAME_BUDGET: usize = CONNECTION_WINDOW as usize / EVENT_MIN * (256 - EVENT_MIN);
const HEADERS_MAX: u32 = 64 * 1024;
/// A connection with calls in flight is pinged after so much silence.
const PING_AFTER: Duration = Duration::from_secs(30);
/// The time limit for the answer to a ping.
const PONG_WITHIN: Duration = Duration::from_secs(20);

/// A connection with the state that drives it.
pub(super) struct Driver {
    connection: Connection<WriteCounter, Bytes>,
    keep_alive: Option<KeepAlive>,
    received: Arc<AtomicU64>,
}

/// Shakes hands; the other side's SETTINGS are not waited for.
pub(super) async fn open(
    stream: MaybeTlsStream,
) -> Result<(SendRequest<Bytes>, Driver, Arc<AtomicU64>), h2::Error> {
    let (written, received) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let stream = WriteCounter { stream, written: Arc::clone(&written), received: Arc::clone(&received) };
    let (sender, mut connection) = Builder::new()
        .enable_push(false)
        .initial_max_send_streams(NOT_TOLD)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(DATA_FRAME_BUDGET)
        .max_header_list_size(HEADERS_MAX)
        .handshake(stream)
        .await?;
    let keep_alive = connection.ping_pong().map(KeepAlive::new);
    Ok((sender, Driver { connection, keep_alive, received }, written))
}

impl Driver {
    /// Drives the connection to its end. `limit` is called with how many streams the other side allows, whenever that
    /// may have changed; `is_busy` says whether answers are waited for.
    pub(super) async fn run(mut self, limit: impl Fn(usize), is_busy: impl Fn() -> bool) {
        let ended = poll_fn(|cx| {
            let polled = Pin::new(&mut self.connection).poll(cx);
            limit(self.connection.max_concurrent_send_streams());
            if let Poll::Ready(ended) = polled {
                return Poll::Ready(ended.map_err(|error| error.to_string()));
            }
            let Some(keep_alive) = &mut self.keep_alive else { return Poll::Pending };
            let received = self.received.load(Ordering::Relaxed);
            keep_alive
                .poll_dead(cx, received, is_busy())
                .map(|()| Err("it does not answer a ping".to_owned()))
        })
        .await;
        if let Err(reason) = ended {
            tracing::debug!(%reason, "an HTTP/2 connection ended");
        }
    }
}

/// Pings a connection that has fallen silent.
struct KeepAlive {
    ping_pong: PingPong,
    /// Bytes received at the last activity.
    seen: u64,
    timer: Pin<Box<Sleep>>,
    is_asked: bool,
}

impl KeepAlive {
    fn new(ping_pong: PingPong) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + PING_AFTER));
        Self { ping_pong, seen: 0, timer, is_asked: false }
    }

    /// Ready when the connection is dead.
    fn poll_dead(&mut self, cx: &mut Context<'_>, received: u64, is_busy: bool) -> Poll<()> {
        if self.is_asked && self.ping_pong.poll_pong(cx).is_ready() {
            self.wait(PING_AFTER);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let is_news = received != self.seen;
            self.seen = received;
            match (is_news || !is_busy, self.is_asked) {
                // Any byte shows that the connection is alive, an answer to the ping or not.
                (true, _) => self.wait(PING_AFTER),
                (false, true) => return Poll::Ready(()),
                (false, false) if self.ping_pong.send_ping(Ping::opaque()).is_ok() => {
                    self.wait(PONG_WITHIN);
                    self.is_asked = true;
                    // Registers for the answer.
                    let _not_yet = self.ping_pong.poll_pong(cx);
                }
                // The last one is still unanswered.
                (false, false) => self.wait(PONG_WITHIN),
            }
        }
    }

    fn wait(&mut self, how_long: Duration) {
        self.is_asked = false;
        self.timer.as_mut().reset(Instant::now() + how_long);
    }
}

/// Counts what is written, so that it can be told for certain that nothing was, and what is read, which shows that the
/// connection is alive.
struct WriteCounter {
    stream: MaybeTlsStream,
    written: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl WriteCounter {
    fn count(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(len)) = &polled {
            self.written.fetch_add(*len as u64, Ordering::Release);
        }
        polled
    }
}

impl AsyncRead for WriteCounter {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.received.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for WriteCounter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.count(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.count(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
