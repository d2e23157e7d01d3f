//! One connection of the mock: what was answered on it, and how it ends if it shall not end well.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::mock::script::Script;
use crate::mock::served_totals::{ServedAnswer, ServedTotals};

/// The state of a connection, shared by its requests.
///
/// Answers are counted when their last bytes are handed over, which may be before these have reached the socket, and
/// taken back if the connection ends first: so a caller that has the whole answer always finds it in the books, and one
/// that hung up finds it gone.
#[derive(Debug)]
pub struct Connection {
    served_totals: Arc<ServedTotals>,
    unflushed: Mutex<Vec<ServedAnswer>>,
    script: Arc<Script>,
    is_http2: bool,
    /// Streams so far.
    streams: AtomicU32,
    /// The last request has been read to its end: what comes next is another.
    is_between_requests: AtomicBool,
    /// It ends with a reset, whatever is under way.
    is_aborted: AtomicBool,
    closes_after_answer: AtomicBool,
    is_over: AtomicBool,
    /// The last stream that is still served, to be told in a GOAWAY.
    goaway: Mutex<Option<u32>>,
    reader: AtomicWaker,
    /// What goes on when HTTP is over.
    next: Mutex<Option<Next>>,
}

struct Next(Pin<Box<dyn Future<Output = ()> + Send>>);

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}

impl Connection {
    pub fn new(served_totals: Arc<ServedTotals>, script: Arc<Script>, is_http2: bool) -> Self {
        Self {
            served_totals,
            unflushed: Mutex::default(),
            script,
            is_http2,
            streams: AtomicU32::new(0),
            is_between_requests: AtomicBool::new(true),
            is_aborted: AtomicBool::new(false),
            closes_after_answer: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            goaway: Mutex::new(None),
            reader: AtomicWaker::new(),
            next: Mutex::new(None),
        }
    }

    /// HTTP is over with the present answer, and `work` follows.
    pub fn go_on_with(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        *self.next.lock() = Some(Next(work));
    }

    /// Does what follows, if HTTP is over.
    pub async fn go_on(&self) {
        let next = self.next.lock().take();
        if let Some(Next(work)) = next {
            work.await;
        }
    }

    pub fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// The head of a request has come; its stream's id, in HTTP/2: clients number theirs 1, 3, 5, …
    pub fn begin_request(&self) -> u32 {
        self.streams.fetch_add(1, Ordering::AcqRel).saturating_mul(2).saturating_add(1)
    }

    /// A request has been read to its end.
    pub fn request_is_read(&self) {
        self.is_between_requests.store(true, Ordering::Release);
    }

    /// The last byte of an answer has been handed over.
    pub fn answered(&self, served: ServedAnswer) {
        self.served_totals.add(&served);
        self.unflushed.lock().push(served);
    }

    /// Ends it at once, with a reset.
    pub fn abort(&self) {
        self.is_aborted.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// Ends it without a word when what is being answered is out.
    pub fn close_after_answer(&self) {
        self.closes_after_answer.store(true, Ordering::Release);
    }

    /// Says in HTTP/2 that this stream and later ones are not processed. Earlier ones go on.
    pub fn go_away_before(&self, stream: u32) {
        self.goaway.lock().get_or_insert(stream.saturating_sub(2));
        self.reader.wake();
    }

    /// What was written is out. True: nothing more is to come.
    fn flushed(&self) -> bool {
        let had_answers = !std::mem::take(&mut *self.unflushed.lock()).is_empty();
        let is_over = had_answers && self.closes_after_answer.load(Ordering::Acquire);
        if is_over {
            self.is_over.store(true, Ordering::Release);
        }
        is_over
    }

    fn check_aborted(&self) -> io::Result<()> {
        if self.is_aborted.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for served in self.unflushed.get_mut() {
            self.served_totals.remove(served);
        }
    }
}

/// A socket that does what its connection has been told.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// A GOAWAY that is being written.
    inserted: Vec<u8>,
    /// Everything that was written is whole frames.
    is_between_frames: bool,
}

impl Wire {
    pub fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection, inserted: Vec::new(), is_between_frames: true }
    }

    /// Writes the GOAWAY that is due, between two frames of others.
    fn poll_insert(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_between_frames && self.inserted.is_empty() {
            let last = self.connection.goaway.lock().filter(|last| *last != TOLD);
            if let Some(last) = last {
                self.inserted = goaway(last);
                *self.connection.goaway.lock() = Some(TOLD);
            }
        }
        while !self.inserted.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.inserted))?;
            self.inserted.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Has the end of an answer, behind which the connection closes, leave together with the end of the connection: whoever
    /// has read the answer would otherwise send the next request while this process waits for its turn to close.
    fn hold_last_bytes(&self) {
        #[cfg(target_os = "linux")]
        if self.connection.closes_after_answer.load(Ordering::Acquire) {
            let _sent_apart = SockRef::from(&self.stream).set_tcp_cork(true);
        }
    }

    /// Whether a request that is about to come is not to be read. Those to the mock itself always are.
    fn poll_is_unread(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut first = [0; OWN.len()];
        let mut first = ReadBuf::new(&mut first);
        ready!(self.stream.poll_peek(cx, &mut first))?;
        let is_call = first.filled().starts_with(b"POST ") && first.filled() != OWN;
        Poll::Ready(Ok(is_call && self.connection.script.takes_unread()))
    }
}

/// What the mock's own requests begin with.
const OWN: &[u8] = b"POST /mock/";
/// In place of a stream's id, which has 31 bits: that the GOAWAY is out.
const TOLD: u32 = u32::MAX;

/// A GOAWAY without an error (RFC 9113, 6.8).
fn goaway(last_stream: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&last_stream.to_be_bytes());
    frame.extend_from_slice(&0_u32.to_be_bytes());
    frame
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.connection.is_aborted.load(Ordering::Acquire) {
            // Closing then is a reset.
            let _gone = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let connection = self.connection.clone();
        connection.reader.register(cx.waker());
        connection.check_aborted()?;
        if connection.is_over.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        if self.poll_insert(cx)?.is_pending() {
            return Poll::Pending;
        }
        let is_next_request = connection.is_between_requests.load(Ordering::Acquire);
        if is_next_request
            && !connection.is_http2
            && !connection.script.is_empty()
            && ready!(self.poll_is_unread(cx))?
        {
            connection.abort();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            connection.is_between_requests.store(false, Ordering::Release);
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.check_aborted()?;
        ready!(self.poll_insert(cx))?;
        self.is_between_frames = false;
        self.hold_last_bytes();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check_aborted()?;
        // Whoever writes frames flushes when they are out.
        self.is_between_frames = true;
        ready!(self.poll_insert(cx))?;
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) && self.connection.flushed() {
            let _gone = SockRef::from(&self.stream).shutdown(Shutdown::Write);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.check_aborted()?;
        ready!(self.poll_insert(cx))?;
        self.is_between_frames = false;
        self.hold_last_bytes();
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
