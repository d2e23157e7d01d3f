//! What the mock has answered completely, so that a test can compare books.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Sums of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Successful answers.
    pub requests: u64,
    /// Their input tokens, cached ones included.
    pub input: u64,
    /// Their output tokens.
    pub output: u64,
    /// Error answers; they have no tokens.
    pub errors: u64,
}

#[derive(Clone, Debug)]
pub struct ServedAnswer {
    pub model: Arc<str>,
    /// Its contribution to the sums.
    pub sums: Sums,
}

/// Everything answered completely, per model.
#[derive(Debug, Default)]
pub struct ServedTotals(Mutex<BTreeMap<Arc<str>, Sums>>);

impl ServedTotals {
    pub fn per_model(&self) -> BTreeMap<Arc<str>, Sums> {
        let mut models = self.0.lock().clone();
        models.retain(|_, sums| *sums != Sums::default());
        models
    }

    fn change(&self, served: &ServedAnswer, change: impl Fn(u64, u64) -> u64) {
        let mut served_totals = self.0.lock();
        let sums = served_totals.entry(served.model.clone()).or_default();
        sums.requests = change(sums.requests, served.sums.requests);
        sums.input = change(sums.input, served.sums.input);
        sums.output = change(sums.output, served.sums.output);
        sums.errors = change(sums.errors, served.sums.errors);
    }
}

/// A connection's answers whose last bytes may not have reached the socket yet.
///
/// They are counted before that, and taken back if the connection ends first: so a caller that has the whole
/// answer always finds it in the books, and one that hung up finds it gone.
#[derive(Debug)]
pub struct Connection {
    served_totals: Arc<ServedTotals>,
    unflushed: Mutex<Vec<ServedAnswer>>,
}

impl Connection {
    /// A connection that counts into `served_totals`.
    pub fn new(served_totals: Arc<ServedTotals>) -> Self {
        Self { served_totals, unflushed: Mutex::new(Vec::new()) }
    }

    /// The last byte of an answer has been handed to the connection.
    pub fn answered(&self, served: ServedAnswer) {
        self.served_totals.change(&served, u64::saturating_add);
        self.unflushed.lock().push(served);
    }

    fn flushed(&self) {
        self.unflushed.lock().clear();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for served in self.unflushed.get_mut() {
            self.served_totals.change(served, u64::saturating_sub);
        }
    }
}

/// A stream that notifies its connection when everything written was passed to the socket.
#[derive(Debug)]
pub struct FlushTracking<S> {
    stream: S,
    connection: Arc<Connection>,
}

impl<S> FlushTracking<S> {
    /// `stream`, watched for `connection`.
    pub fn new(stream: S, connection: Arc<Connection>) -> Self {
        Self { stream, connection }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FlushTracking<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FlushTracking<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.connection.flushed();
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
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
