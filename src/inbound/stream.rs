//! The bytes of one connection, as hyper reads and writes them.
//!
//! A caller may close its side when it has sent its request, and wait for the answer (RFC 9112, 9.6: a half-closed
//! connection). What arrives then is the same as when a caller is gone, so hyper, told of it, would take it for gone.
//! Here the end is kept back while the answer has not begun, and the caller is asked whether it is there, with an
//! interim answer that it may not mind: the system of one that is gone refuses it. Once an answer has begun, an end is
//! taken as it mostly is meant; and whatever is written to a caller that is gone tells at once, as ever. For one that
//! went silent later there is TCP's keepalive, which is slow: a system answers it for a minute after the socket was
//! closed.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::activity::Activity;
use super::preface::Protocol;

/// Sent to a caller of HTTP/1.1 to find out whether it is still there.
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Interval of TCP keepalive probes, and how many may go unanswered.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASKED_IN_VAIN_MAX: u32 = 3;
/// Interval at which the result of that is checked.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOKS_MAX: u8 = 4;

/// A connection, in clear or under TLS.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A connection whose first bytes have been read already.
pub(super) struct Stream<S> {
    socket: S,
    first: Bytes,
    activity: Arc<Activity>,
    protocol: Protocol,
    half_closed: Option<HalfClosed>,
    /// All that hyper has written so far was flushed, so that an interim answer may be inserted.
    is_flushed: bool,
}

/// The caller has closed its side.
struct HalfClosed {
    /// The time of the next check.
    look: Pin<Box<Sleep>>,
    /// Checks left for whether its request was complete.
    looks_left: u8,
    /// It was complete, and the caller was probed.
    waits: bool,
}

impl<S: Socket> Stream<S> {
    /// `socket`, from which `first` has been read.
    pub(super) fn new(socket: S, first: Bytes, protocol: Protocol, activity: Arc<Activity>) -> Self {
        Self { socket, first, activity, protocol, half_closed: None, is_flushed: true }
    }

    /// Probes a caller that has sent its request and then closed its side.
    fn ask(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let keepalive =
            TcpKeepalive::new().with_time(ASK_EVERY).with_interval(ASK_EVERY).with_retries(ASKED_IN_VAIN_MAX);
        SockRef::from(self.socket.tcp()).set_tcp_keepalive(&keepalive)?;
        if self.is_flushed && self.activity.takes_interim() {
            match Pin::new(&mut self.socket).poll_write(cx, INTERIM)? {
                // In part it would be in the way of the answer; but nothing is on its way that could leave it no room.
                Poll::Ready(written) if written < INTERIM.len() => {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                Poll::Ready(_) => drop(Pin::new(&mut self.socket).poll_flush(cx)?),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// The caller has closed its side: decides when to report that, or that the caller is gone.
    fn poll_half_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Some(half) = &mut self.half_closed else { return Poll::Ready(Ok(())) };
            if !self.activity.has_request() || (!half.waits && half.looks_left == 0) {
                return Poll::Ready(Ok(()));
            }
            // Not at once: most answers are there before it matters.
            if !half.waits && half.looks_left < LOOKS_MAX && self.activity.awaits_an_answer() {
                half.waits = true;
                self.ask(cx)?;
                continue;
            }
            if let Some(error) = self.socket.tcp().take_error()? {
                return Poll::Ready(Err(error));
            }
            ready!(half.look.as_mut().poll(cx));
            half.look.as_mut().reset(Instant::now() + LOOK_EVERY);
            half.looks_left = half.looks_left.saturating_sub(1);
        }
    }
}

impl<S: Socket> AsyncRead for Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            let length = this.first.len().min(buffer.remaining());
            buffer.put_slice(&this.first[..length]);
            this.first.advance(length);
            return Poll::Ready(Ok(()));
        }
        if this.half_closed.is_some() {
            return this.poll_half_closed(cx);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buffer))?;
        if this.protocol == Protocol::Http2 {
            return Poll::Ready(Ok(()));
        }
        if buffer.filled().len() > before {
            this.activity.received();
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() == 0 || !this.activity.has_request() || this.activity.is_answering() {
            return Poll::Ready(Ok(()));
        }
        // Whether the request is whole shows when its body has been taken from hyper, a moment later.
        let look = Box::pin(sleep(LOOK_EVERY));
        this.half_closed = Some(HalfClosed { look, looks_left: LOOKS_MAX, waits: false });
        this.poll_half_closed(cx)
    }
}

impl<S: Socket> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
