//! An answer of the mock: prebuilt bytes, sent at once or paced, to the end or cut off.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use memchr::memmem;
use tokio::time::Sleep;

use crate::mock::answer_body::{AnswerBody, ID};
use crate::mock::connection::Connection;
use crate::mock::served_totals::ServedAnswer;
use crate::mock::steering::Place;

/// An [`AnswerBody`] in one piece, ready to be sent any number of times.
#[derive(Debug)]
pub struct PrebuiltAnswer {
    whole: Bytes,
    /// Where each chunk ends.
    ends: Vec<usize>,
    /// Offsets of [`ID`].
    ids: Vec<usize>,
    pub content_type: &'static str,
    pub is_stream: bool,
}

impl PrebuiltAnswer {
    /// Joins the chunks. `has_ids` is false for compressed ones.
    pub fn new(body: &AnswerBody, has_ids: bool) -> Self {
        let whole = body.frames.concat();
        let mut end = 0;
        let ends = body.frames.iter().map(|frame| {
            end += frame.len();
            end
        });
        Self {
            ends: ends.collect(),
            ids: if has_ids { memmem::find_iter(&whole, ID).collect() } else { Vec::new() },
            whole: whole.into(),
            content_type: body.content_type,
            is_stream: body.is_stream,
        }
    }

    /// The bytes of the answer with this number.
    fn numbered(&self, number: u64) -> Bytes {
        if self.ids.is_empty() {
            return self.whole.clone();
        }
        let digits = format!("{number:012x}");
        let mut bytes = BytesMut::from(&self.whole[..]);
        for &at in &self.ids {
            if let Some(id) = bytes.get_mut(at..at + ID.len()) {
                id.copy_from_slice(digits.as_bytes());
            }
        }
        bytes.freeze()
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    Complete,
    /// The connection breaks off; in HTTP/2 the stream is reset.
    Cut(Place),
    /// The connection is reset.
    Reset(Place),
    /// Nothing more comes.
    Hang(Place),
}

/// The mock breaks off on purpose.
#[derive(Debug, thiserror::Error)]
pub enum FailedOnPurpose {
    #[error("failing on purpose")]
    Closed,
    /// With the reason that hyper gives.
    #[error("refusing on purpose")]
    Refused(#[source] h2::Error),
}

impl FailedOnPurpose {
    /// A stream that was not processed (RFC 9113, 8.7).
    pub fn refused_stream() -> Self {
        Self::Refused(h2::Reason::REFUSED_STREAM.into())
    }
}

/// The body of an answer that is being sent.
#[derive(Debug)]
pub struct Body {
    rest: Bytes,
    /// Lengths of the chunks that are still to come, the next one last.
    pieces: Vec<usize>,
    delay: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    end: BodyEnd,
    flushed: bool,
    has_length: bool,
    receipt: Option<(ServedAnswer, Arc<Connection>)>,
}

impl Body {
    /// A body of one chunk and known length that is not counted.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let rest = bytes.into();
        Self {
            pieces: vec![rest.len()],
            rest,
            delay: Duration::ZERO,
            pause: None,
            end: BodyEnd::Complete,
            flushed: false,
            has_length: true,
            receipt: None,
        }
    }

    /// The answer `built`, chunk by chunk with `delay` in between, or in one chunk without; counted when it has
    /// gone out as a whole.
    pub fn new(
        built: &PrebuiltAnswer,
        number: u64,
        delay: Duration,
        end: BodyEnd,
        receipt: (ServedAnswer, Arc<Connection>),
    ) -> Self {
        let rest = built.numbered(number);
        let mut pieces = Vec::new();
        match end {
            BodyEnd::Complete if delay.is_zero() || !built.is_stream => pieces.push(rest.len()),
            BodyEnd::Complete => pieces = lengths(&built.ends),
            BodyEnd::Cut(place) | BodyEnd::Reset(place) | BodyEnd::Hang(place) if built.is_stream => {
                pieces = lengths(&built.ends);
                pieces.drain(..pieces.len() - place.of(pieces.len()));
            }
            BodyEnd::Cut(place) | BodyEnd::Reset(place) | BodyEnd::Hang(place) => {
                pieces.extend((place.of(2) > 0).then_some(rest.len() / 2));
            }
        }
        let has_length = !built.is_stream;
        Self { rest, pieces, delay, pause: None, end, flushed: false, has_length, receipt: Some(receipt) }
    }

    fn piece(&mut self, length: usize) -> Bytes {
        let piece = self.rest.split_to(length.min(self.rest.len()));
        if self.pieces.is_empty() && self.end == BodyEnd::Complete {
            if let Some((served, connection)) = self.receipt.take() {
                connection.answered(served);
            }
        } else if !self.delay.is_zero() {
            self.pause = Some(Box::pin(tokio::time::sleep(self.delay)));
        }
        piece
    }
}

/// The lengths of chunks that end at `ends`, last one first.
fn lengths(ends: &[usize]) -> Vec<usize> {
    let starts = std::iter::once(&0).chain(ends);
    let mut lengths: Vec<usize> = ends.iter().zip(starts).map(|(end, start)| end - start).collect();
    lengths.reverse();
    lengths
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = FailedOnPurpose;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FailedOnPurpose>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        if let Some(length) = self.pieces.pop() {
            return Poll::Ready(Some(Ok(Frame::data(self.piece(length)))));
        }
        match self.end {
            BodyEnd::Complete => Poll::Ready(None),
            BodyEnd::Hang(_) => Poll::Pending,
            // What was sent before has to reach the socket first; the connection flushes when it has to wait.
            BodyEnd::Cut(_) | BodyEnd::Reset(_) if !self.flushed => {
                self.flushed = true;
                self.pause = Some(Box::pin(tokio::time::sleep(Duration::from_millis(1))));
                self.poll_frame(cx)
            }
            BodyEnd::Cut(_) => Poll::Ready(Some(Err(FailedOnPurpose::Closed))),
            BodyEnd::Reset(_) => {
                if let Some((_, connection)) = &self.receipt {
                    connection.abort();
                }
                Poll::Ready(Some(Err(FailedOnPurpose::Closed)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.end == BodyEnd::Complete
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_length { SizeHint::with_exact(self.rest.len() as u64) } else { SizeHint::default() }
    }
}
