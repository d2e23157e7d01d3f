//! The body of a request, and what becomes of the rest of it when nobody wants it any more.
//!
//! A request that is refused by its head has an answer while its body is still coming. Closing then makes the caller's
//! system throw the answer away with what it could not send: most clients report a broken connection and never see the
//! status. So what is left is read and dropped, within bounds, and only then is the connection closed (RFC 9112, 9.6).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::activity::Request;
use super::connection::Connection;

/// The most bytes of a body that are drained.
const BYTES_MAX: usize = 64 << 20;
/// How long draining a body may take.
const TIME_MAX: Duration = Duration::from_secs(30);
/// How long a body that is drained may pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The body of a request. Dropped before its end, the rest is read and dropped in the background, within bounds.
pub struct RequestBody {
    /// `None` once there is nothing more to read.
    incoming: Option<Incoming>,
    connection: Arc<Connection>,
    /// The caller waits for `100 Continue`, which reading the body sends.
    waits_to_be_asked: bool,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, headers: &HeaderMap, connection: Arc<Connection>) -> Self {
        let has_ended = incoming.is_end_stream();
        connection.activity.set_body_ended(has_ended);
        let incoming = Some(incoming).filter(|_| !has_ended);
        Self { incoming, connection, waits_to_be_asked: headers.contains_key(header::EXPECT) }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        this.waits_to_be_asked = false;
        let frame = std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx));
        let has_ended = match &frame {
            None => true,
            Some(Ok(_)) => incoming.is_end_stream(),
            Some(Err(_)) => false,
        };
        if has_ended {
            this.connection.activity.set_body_ended(true);
        }
        if has_ended || matches!(frame, Some(Err(_))) {
            this.incoming = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // Who waits to be asked has not begun to send, and learns from the answer that it need not.
        let Some(rest) = self.incoming.take().filter(|_| !self.waits_to_be_asked) else { return };
        let connection = Arc::clone(&self.connection);
        let Some(place) = connection.dropping.enter(connection.caller.ip()) else { return };
        let tasks = connection.tasks.clone();
        tasks.spawn(async move {
            // It holds the connection as a request does.
            let request = Request::begin(&connection.activity);
            if let Ok(Some(())) = timeout(TIME_MAX, read_and_drop(rest)).await {
                connection.activity.set_body_ended(true);
            }
            drop((request, place));
        });
    }
}

/// `None` if the body broke off, paused for too long or was too long.
async fn read_and_drop(mut body: Incoming) -> Option<()> {
    let mut read = 0;
    while read <= BYTES_MAX {
        match timeout(PAUSE_MAX, body.frame()).await.ok()? {
            None => return Some(()),
            Some(frame) => read += frame.ok()?.data_ref().map_or(0, Bytes::len),
        }
    }
    None
}
