//! A request over one stream of an HTTP/2 connection, and its answer.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::response::Parts;
use http::{HeaderValue, Method, Request, Version};
use tokio::time::timeout;

use super::pool::StreamPermit;

/// Headers of a connection, which HTTP/2 does not have (RFC 9113, 8.2.2).
const NOT_IN_HTTP2: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Why an exchange failed.
pub(in crate::transport) enum Failed {
    /// The other side has certainly not begun to process the request.
    NotProcessed(String),
    Broken(String),
    Late,
}

/// Sends a request, in absolute form, over a stream and waits for the answer's head.
pub(in crate::transport) async fn exchange(
    permit: StreamPermit,
    request: &Request<Bytes>,
    answer_max: Duration,
) -> Result<(Parts, Http2Body), Failed> {
    let written = permit.written();
    let before = written.load(Ordering::Acquire);
    let body = request.body().clone();
    let mut sender = permit.sender();
    let (answer, mut stream) = sender
        .send_request(head(request), body.is_empty())
        .map_err(|error| Failed::NotProcessed(error.to_string()))?;
    if !body.is_empty() {
        // It is held once, by reference, and goes out as the other side's windows allow. If that fails there may yet
        // be an answer, which says more.
        let _unsent = stream.send_data(body, true);
    }
    drop((sender, stream));
    let answered = timeout(answer_max, answer).await.map_err(|_| Failed::Late)?;
    let (head, stream) = answered
        .map_err(|error| {
            let nothing_left = error.is_io() && written.load(Ordering::Acquire) == before;
            if nothing_left || is_not_processed(&error) {
                Failed::NotProcessed(error.to_string())
            } else {
                Failed::Broken(error.to_string())
            }
        })?
        .into_parts();
    let left = if stream.is_end_stream() {
        Some(0)
    } else {
        head.headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok())
    };
    Ok((head, Http2Body { stream, left, _permit: permit }))
}

/// RFC 9113, 8.7: a refused stream was not processed, nor was one above the last that a GOAWAY names; h2 tells only
/// those of the GOAWAY.
fn is_not_processed(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
}

fn head(request: &Request<Bytes>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.version_mut() = Version::HTTP_2;
    let headers = head.headers_mut();
    headers.clone_from(request.headers());
    for name in &NOT_IN_HTTP2 {
        headers.remove(name);
    }
    let len = request.body().len();
    if len > 0 || matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    head
}

/// The body of an answer on one stream. The other side may send more once what came was taken.
pub(in crate::transport) struct Http2Body {
    stream: RecvStream,
    /// Bytes still to come, where the answer says how many.
    left: Option<u64>,
    _permit: StreamPermit,
}

impl Http2Body {
    pub(in crate::transport) fn exact_len(&self) -> Option<u64> {
        self.left
    }

    /// The next bytes; `None` at the end. Trailers are not part of any dialect; they end here.
    pub(in crate::transport) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, h2::Error>>> {
        loop {
            let Some(data) = ready!(self.stream.poll_data(cx)) else {
                return Poll::Ready(None);
            };
            let bytes = match data {
                Ok(bytes) => bytes,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            // A stream that is closed by now needs no window.
            let _closed = self.stream.flow_control().release_capacity(bytes.len());
            self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
    }
}
