//! An answer on its way with its meter and its recorder: what goes on even if nobody waits for it any more.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;

use super::held::Held;
use super::recorder::Recorder;
use super::send::Answered;
use crate::domain::usage::{Outcome, TokenSource};
use crate::ledger::Receipt;
use crate::metering::{End, Meter, Progress};
use crate::transport::{BodyError, ResponseBody};
use crate::upstream::InFlight;

/// The parts of an answer that go on without a caller: the answer, what reads it, and the recorder it is for.
pub(super) struct MeteredStream {
    pub(super) body: ResponseBody,
    pub(super) meter: Box<dyn Meter>,
    pub(super) recorder: Recorder,
    pub(super) status: StatusCode,
    pub(super) is_streaming: bool,
    /// Bytes still to come, where the answer said how many.
    pub(super) remaining: Option<u64>,
    /// What has been read, and metered, already.
    pub(super) held: Held,
    /// The target's key is in use for so long.
    pub(super) _in_flight: InFlight,
}

type PolledPiece = Poll<Option<Result<Bytes, BodyError>>>;

/// How the stream goes on after a piece.
pub(super) enum Step {
    /// More is to come.
    More(Bytes),
    /// These bytes make the answer complete; its record is settled.
    Complete(Bytes, Option<Receipt>),
    /// The answer has ended; its record is settled, now or before.
    Ended(Option<Receipt>),
    /// The answer broke off; its record is settled.
    Broken(String),
}

impl MeteredStream {
    /// The head of an answer, and the rest of it with the recorder of its call.
    pub(super) fn new(answered: Answered, mut recorder: Recorder) -> (http::response::Parts, Self) {
        let Answered { head, body, in_flight, meter, is_streaming, remaining, held, .. } = answered;
        recorder.set_response(head.status.as_u16(), is_streaming);
        let status = head.status;
        (head, Self { body, meter, recorder, status, is_streaming, remaining, held, _in_flight: in_flight })
    }

    /// Passes on what has arrived. `caller_gone` only changes the recorded outcome.
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>, caller_gone: bool) -> Poll<Step> {
        let (polled, metered) = self.poll_piece(cx);
        if self.remaining == Some(0) && !self.recorder.is_settled() {
            // Nothing was to come, and nobody asks again for a body that has nothing in it: its end is now, whether
            // the connection has said so yet or not.
            return Poll::Ready(Step::Ended(self.settle_at_end(caller_gone)));
        }
        let piece = match ready!(polled) {
            None => return Poll::Ready(Step::Ended(self.settle_at_end(caller_gone))),
            Some(Err(error)) => {
                let (end, outcome) = if caller_gone {
                    (End::ClientGone, Outcome::ClientGone)
                } else {
                    (End::UpstreamCut, Outcome::UpstreamCut)
                };
                let result = self.meter.result(end);
                self.recorder.settle(outcome, result);
                return Poll::Ready(Step::Broken(error.to_string()));
            }
            Some(Ok(piece)) => piece,
        };
        self.recorder.first_byte();
        let progress = metered.unwrap_or_else(|| self.meter.feed(&piece));
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(piece.len() as u64));
        let complete = progress == Progress::Final || self.remaining == Some(0);
        if !complete || self.recorder.is_settled() {
            return Poll::Ready(Step::More(piece));
        }
        Poll::Ready(Step::Complete(piece, self.settle_at_end(caller_gone)))
    }

    /// The next piece, and what the meter said of it if it has seen it.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> (PolledPiece, Option<Progress>) {
        match self.held.next() {
            Some((piece, progress)) => (Poll::Ready(Some(piece)), progress),
            None => (self.body.poll_piece(cx), None),
        }
    }

    /// Settles an answer that came to a clean end.
    fn settle_at_end(&mut self, caller_gone: bool) -> Option<Receipt> {
        if self.recorder.is_settled() {
            return None;
        }
        let result = self.meter.result(End::Body);
        // Some compatible servers forget their closing event; with the usage reported nothing is missing.
        let unfinished = self.is_streaming && !result.complete && result.source != TokenSource::Reported;
        if self.is_streaming && self.status.is_success() {
            let is_empty = unfinished && result.source == TokenSource::None && !result.error_event;
            self.recorder.stream_ended(is_empty);
        }
        let outcome = match () {
            () if !self.status.is_success() || result.error_event => Outcome::UpstreamError,
            () if caller_gone => Outcome::ClientGone,
            () if unfinished => Outcome::UpstreamCut,
            () => Outcome::Ok,
        };
        self.recorder.settle(outcome, result)
    }
}

/// Wherever a stream ends before its recorder is settled, nobody is left to read the answer.
impl Drop for MeteredStream {
    fn drop(&mut self) {
        if !self.recorder.is_settled() {
            let result = self.meter.result(End::ClientGone);
            // Dialects without a closing event end with their last chunk: whoever leaves after that has had it all.
            let whole = result.complete && !result.error_event && self.status.is_success();
            self.recorder.settle(if whole { Outcome::Ok } else { Outcome::ClientGone }, result);
        }
    }
}
