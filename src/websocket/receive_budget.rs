//! Memory of messages that are still coming. A library that hands over whole messages has them in its own buffers until
//! then; here their bytes are counted as they arrive.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The room for what arrives.
pub trait ReceiveBudget: Send {
    /// More of a message has arrived.
    ///
    /// # Errors
    /// There is no room for it: the connection is given up.
    fn received(&mut self, bytes: usize) -> Result<(), NoRoom>;

    /// A message was handed over as a whole: its memory is its receiver's from here on.
    fn delivered(&mut self);
}

/// There is no memory left for what somebody sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no memory left for a message")
    }
}

impl std::error::Error for NoRoom {}

/// For a side that is trusted: a message's limit of length is all there is.
#[derive(Clone, Copy, Debug)]
pub struct Unlimited;

impl ReceiveBudget for Unlimited {
    fn received(&mut self, _bytes: usize) -> Result<(), NoRoom> {
        Ok(())
    }

    fn delivered(&mut self) {}
}

pub(super) type SharedBudget = Arc<Mutex<dyn ReceiveBudget>>;

/// A connection whose incoming bytes are counted.
pub(super) struct Counted {
    io: TokioIo<Upgraded>,
    budget: SharedBudget,
}

impl Counted {
    pub(super) fn new(upgraded: Upgraded, budget: SharedBudget) -> Self {
        Self { io: TokioIo::new(upgraded), budget }
    }

    /// Reads what nobody keeps.
    pub(super) async fn read_uncounted(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.read(buffer).await
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        let counted = self.budget.lock().received(read);
        Poll::Ready(counted.map_err(|no_room| io::Error::new(io::ErrorKind::OutOfMemory, no_room)))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
