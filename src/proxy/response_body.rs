//! The body of what the data plane answers: words of the gateway's own, or a provider's answer. A metered answer passes
//! untouched while a meter reads along. Under `durability = "committed"` its end is held until the record is in the
//! database, so that nobody has an answer that the books do not know.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::aborted::Aborted;
use super::detach::Drainer;
use super::metered_stream::{MeteredStream, Step};
use crate::config::{Durability, HangUp};
use crate::dialect::convert::ConvertedAnswer;
use crate::dialect::usage_chunk::Remover;
use crate::ledger::{NotCommitted, Receipt};
use crate::transport::ResponseBody;

/// A body on its way to a caller.
pub enum Body {
    /// The gateway's own words; none once they are said.
    Own(Option<Bytes>),
    /// A provider's answer, metered.
    Metered(Box<MeteredBody>),
    /// An answer that costs nothing and is in no book.
    Unmetered(Box<ResponseBody>),
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Own(Some(text.into()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let piece = match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Self::Metered(answer) => answer.poll_piece(cx),
            Self::Unmetered(answer) => answer.poll_piece(cx).map_err(|e| Aborted::BrokeOff(e.to_string())),
        };
        piece.map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Metered(answer) => answer.is_done(),
            Self::Unmetered(answer) => answer.exact_len() == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let len = match self {
            Self::Own(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Metered(answer) => answer.exact_len(),
            Self::Unmetered(answer) => answer.exact_len(),
        };
        len.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A metered answer on its way through.
pub struct MeteredBody {
    /// None once it was left to a [`Drainer`].
    stream: Option<MeteredStream>,
    change: Change,
    /// What [`MeteredBody::prefetch`] has read already.
    prefetched: Option<Bytes>,
    state: State,
    durability: Durability,
    on_hangup: HangUp,
    drainer: Arc<Drainer>,
}

/// What the caller gets otherwise than the provider has sent it.
pub(super) enum Change {
    None,
    /// The one event that the gateway asked for on the caller's behalf is taken away.
    RemoveUsage(Box<Remover>),
    /// It is an answer in another API.
    Convert(Box<ConvertedAnswer>),
}

impl Change {
    /// `is_last`: the provider's answer is complete with this piece, and booked.
    fn pass(&mut self, piece: Bytes, is_last: bool) -> Result<Bytes, Aborted> {
        match self {
            Self::None => Ok(piece),
            Self::RemoveUsage(remover) => Ok(remover.pass(piece)),
            Self::Convert(answer) => {
                let made = answer.push(&piece).map_err(|error| Aborted::BrokeOff(error.to_string()))?;
                let ending = if is_last { answer.take_ending() } else { Bytes::new() };
                Ok(if ending.is_empty() { made } else { [made, ending].concat().into() })
            }
        }
    }

    /// What is left to say once the provider's answer has ended.
    fn finish(&mut self) -> Result<Option<Bytes>, Aborted> {
        let rest = match self {
            Self::None => return Ok(None),
            Self::RemoveUsage(remover) => remover.finish(),
            Self::Convert(answer) => answer.finish().map_err(|error| Aborted::BrokeOff(error.to_string()))?,
        };
        Ok(Some(rest).filter(|rest| !rest.is_empty()))
    }
}

enum State {
    Passing,
    /// The record is on its way to the database; these last bytes wait for it.
    HeldForCommit {
        last: Option<Bytes>,
        committed: Pin<Box<dyn Future<Output = Result<(), NotCommitted>> + Send>>,
        ended: bool,
    },
    /// The answer broke off; what came before is being written.
    Broken(String),
    Done,
}

impl MeteredBody {
    pub(super) fn new(
        stream: MeteredStream,
        change: Change,
        durability: Durability,
        on_hangup: HangUp,
        drainer: Arc<Drainer>,
    ) -> Self {
        Self {
            stream: Some(stream),
            change,
            prefetched: None,
            state: State::Passing,
            durability,
            on_hangup,
            drainer,
        }
    }

    /// Takes what has arrived together with the answer's head, without waiting for more, so that both go out as one
    /// piece. An answer that is there as a whole waits here for its record.
    ///
    /// Where a length was announced, the first bytes are waited for: they tell whether it can be kept.
    ///
    /// # Errors
    /// [`Aborted`]: nothing of the answer may be shown.
    pub(super) async fn prefetch(&mut self, has_length: bool) -> Result<(), Aborted> {
        let first = poll_fn(|cx| match self.poll_through(cx) {
            Poll::Pending if !has_length && !matches!(self.state, State::HeldForCommit { .. }) => {
                Poll::Ready(None)
            }
            polled => polled,
        });
        self.prefetched = first.await.transpose()?;
        let begins = |prefetched: &Bytes| prefetched.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
        if has_length
            && matches!(self.change, Change::RemoveUsage(_))
            && matches!(self.prefetched.as_ref().and_then(begins), Some(b'{' | b'['))
        {
            // A document: nothing is taken out of it, and its length stands.
            self.change = Change::None;
        }
        Ok(())
    }

    /// Whether everything has been handed on.
    pub(super) fn is_done(&self) -> bool {
        self.prefetched.is_none() && matches!(self.state, State::Done)
    }

    /// How many bytes are still to come, where that is known.
    pub(super) fn exact_len(&self) -> Option<u64> {
        let is_unchanged = matches!(self.change, Change::None);
        let remaining = self.stream.as_ref().filter(|_| is_unchanged)?.remaining?;
        Some(remaining + self.prefetched.as_ref().map_or(0, |prefetched| prefetched.len() as u64))
    }

    /// The next bytes for the caller.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        match self.prefetched.take() {
            Some(prefetched) => Poll::Ready(Some(Ok(prefetched))),
            None => self.poll_through(cx),
        }
    }

    fn poll_through(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        loop {
            match &mut self.state {
                State::Done => return Poll::Ready(None),
                State::Broken(reason) => {
                    let aborted = Aborted::BrokeOff(std::mem::take(reason));
                    self.state = State::Done;
                    return Poll::Ready(Some(Err(aborted)));
                }
                State::HeldForCommit { last, committed, ended } => {
                    let committed = ready!(committed.as_mut().poll(cx));
                    let (last, ended) = (last.take(), *ended);
                    self.state = if ended || committed.is_err() { State::Done } else { State::Passing };
                    if let Err(error) = committed {
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    if let Some(stream) = &mut self.stream {
                        stream.recorder.released();
                    }
                    if let Some(last) = last {
                        return Poll::Ready(Some(Ok(last)));
                    }
                }
                State::Passing => {
                    let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
                    match ready!(stream.poll_step(cx, false)) {
                        Step::More(piece) => match self.change.pass(piece, false) {
                            Ok(piece) if piece.is_empty() => {}
                            passed => return Poll::Ready(Some(passed)),
                        },
                        Step::Complete(piece, receipt) => match self.change.pass(piece, true) {
                            Ok(piece) => {
                                let piece = Some(piece).filter(|piece| !piece.is_empty());
                                self.hold(piece, receipt, false);
                            }
                            Err(error) => return Poll::Ready(Some(Err(error))),
                        },
                        Step::Ended(receipt) => match self.change.finish() {
                            Ok(rest) => self.hold(rest, receipt, true),
                            Err(error) => {
                                self.state = State::Done;
                                return Poll::Ready(Some(Err(error)));
                            }
                        },
                        Step::Broken(reason) => {
                            tracing::warn!(%reason, "an answer broke off");
                            self.state = State::Broken(reason);
                            // hyper drops what it has not written yet when a body fails. Pending lets it write first.
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                    }
                }
            }
        }
    }

    /// Keeps the last bytes back until the record is committed, if it has to be.
    fn hold(&mut self, last: Option<Bytes>, receipt: Option<Receipt>, ended: bool) {
        let receipt = receipt.filter(|_| self.durability == Durability::Committed);
        let committed: Pin<Box<dyn Future<Output = _> + Send>> = match receipt {
            Some(receipt) => Box::pin(receipt.committed()),
            None => Box::pin(std::future::ready(Ok(()))),
        };
        self.state = State::HeldForCommit { last, committed, ended };
    }
}

impl Drop for MeteredBody {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        if self.on_hangup == HangUp::Drain && !stream.recorder.is_settled() {
            self.drainer.adopt(stream);
        }
    }
}
