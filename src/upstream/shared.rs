//! One HTTP/2 connection to an upstream, shared by every call to it.

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::connect::Stream;

/// The connection in use, if there is one. Its frames interleave the answers of many calls, so that here a task has
/// to read it; the task ends with the connection, or with the target.
pub(super) struct Shared(Mutex<Option<Open>>);

struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        // A connection that still answers calls must outlive its place here: only a closed one is ended.
        if self.sender.is_closed() {
            self.driver.abort();
        }
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// A handle on the connection, if it is open.
    pub(super) fn sender(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut open = self.0.lock();
        if open.as_ref().is_some_and(|open| open.sender.is_closed()) {
            *open = None;
        }
        open.as_ref().map(|open| open.sender.clone())
    }

    /// Takes a fresh connection into use.
    pub(super) async fn open(&self, stream: Stream) -> hyper::Result<SendRequest<Full<Bytes>>> {
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(std::time::Duration::from_secs(30))
            .adaptive_window(true)
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to an upstream ended");
            }
        })
        .abort_handle();
        *self.0.lock() = Some(Open { sender: sender.clone(), driver });
        Ok(sender)
    }
}
