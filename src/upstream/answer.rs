//! An upstream's answer: its head, and a body that is read in the pieces in which it arrives.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http_body::Body;
use hyper::body::Incoming;

use super::line::{Line, Parked};
use super::pause::Pause;
use super::target::{InFlight, Target};

/// The most that is handed on as one piece; more waits in the kernel, which is the backpressure.
const PIECE_MAX: usize = 64 * 1024;

/// What an upstream answered.
pub struct Answer {
    /// Status and headers, as they came.
    pub head: Parts,
    /// The body.
    pub body: AnswerBody,
    /// Who answered.
    pub target: Arc<Target>,
}

impl Answer {
    pub(super) fn new(head: Parts, mut body: AnswerBody, target: Arc<Target>, in_flight: InFlight) -> Self {
        body.pause = Some(Pause::new(target.idle_timeout()));
        body.in_flight = Some(in_flight);
        Self { head, body, target }
    }
}

/// The body of an answer.
pub struct AnswerBody {
    from: Source,
    /// An error that came behind bytes which had to be handed on first.
    failed: Option<BodyError>,
    pause: Option<Pause>,
    in_flight: Option<InFlight>,
}

enum Source {
    Exclusive { line: Box<Line>, incoming: Incoming, home: Arc<Parked> },
    Multiplexed(Incoming),
    Nowhere,
}

/// An answer that broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection failed or closed before the end.
    #[error("the upstream's answer broke off: {0}")]
    Cut(#[from] hyper::Error),
    /// The upstream sent nothing for too long.
    #[error("the upstream sent nothing for {}", humantime::format_duration(*.0))]
    Paused(Duration),
}

pub(super) fn multiplexed(answer: http::Response<Incoming>) -> (Parts, AnswerBody) {
    let (head, incoming) = answer.into_parts();
    (head, AnswerBody::reading(Source::Multiplexed(incoming)))
}

/// The body drives the line, and brings it back to `home` at its end.
pub(super) fn exclusive(
    (answer, line): (http::Response<Incoming>, Box<Line>),
    home: Arc<Parked>,
) -> (Parts, AnswerBody) {
    let (head, incoming) = answer.into_parts();
    (head, AnswerBody::reading(Source::Exclusive { line, incoming, home }))
}

impl AnswerBody {
    fn reading(from: Source) -> Self {
        Self { from, failed: None, pause: None, in_flight: None }
    }

    /// How many bytes are still to come, where that is known.
    #[must_use]
    pub fn exact_len(&self) -> Option<u64> {
        match &self.from {
            Source::Exclusive { incoming, .. } | Source::Multiplexed(incoming) => {
                incoming.size_hint().exact()
            }
            Source::Nowhere => Some(0),
        }
    }

    /// Everything that has arrived, as one piece; `None` at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(error) = self.failed.take() {
            self.close();
            return Poll::Ready(Some(Err(error)));
        }
        let mut piece = Piece::default();
        let ended = loop {
            match self.poll_frame(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    piece.push(bytes);
                    if piece.len() >= PIECE_MAX {
                        break false;
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failed = Some(error.into());
                    break false;
                }
                Poll::Ready(None) => break true,
                Poll::Pending => break false,
            }
        };
        if ended {
            self.finish(cx);
        }
        if let Some(bytes) = piece.take() {
            if let Some(pause) = &mut self.pause {
                pause.over();
            }
            return Poll::Ready(Some(Ok(bytes)));
        }
        if ended {
            return Poll::Ready(None);
        }
        if let Some(error) = self.failed.take() {
            self.close();
            return Poll::Ready(Some(Err(error)));
        }
        let Some(pause) = &mut self.pause else { return Poll::Pending };
        ready!(pause.poll_exceeded(cx));
        let limit = pause.limit();
        self.close();
        Poll::Ready(Some(Err(BodyError::Paused(limit))))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        loop {
            let polled = match &mut self.from {
                Source::Exclusive { line, incoming, .. } => {
                    // Errors of the connection reach the body too, with the bytes before them in order.
                    let _ = line.drive(cx);
                    Pin::new(incoming).poll_frame(cx)
                }
                Source::Multiplexed(incoming) => Pin::new(incoming).poll_frame(cx),
                Source::Nowhere => return Poll::Ready(None),
            };
            match ready!(polled) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    // Trailers are not part of any dialect; they end here.
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
            }
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        if let Source::Exclusive { line, home, .. } = std::mem::replace(&mut self.from, Source::Nowhere) {
            home.put_back(line, cx);
        }
        self.close();
    }

    fn close(&mut self) {
        self.from = Source::Nowhere;
        self.in_flight = None;
        self.pause = None;
    }
}

/// Frames that arrived together; the common single one is not copied.
#[derive(Default)]
struct Piece {
    first: Option<Bytes>,
    rest: BytesMut,
}

impl Piece {
    fn len(&self) -> usize {
        if self.rest.is_empty() { self.first.as_ref().map_or(0, Bytes::len) } else { self.rest.len() }
    }

    fn push(&mut self, bytes: Bytes) {
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(&bytes);
        } else if let Some(first) = self.first.take() {
            self.rest.reserve((first.len() + bytes.len()).max(4096));
            self.rest.extend_from_slice(&first);
            self.rest.extend_from_slice(&bytes);
        } else {
            self.first = Some(bytes);
        }
    }

    fn take(self) -> Option<Bytes> {
        if self.rest.is_empty() { self.first } else { Some(self.rest.freeze()) }
    }
}
