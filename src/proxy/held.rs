//! The beginning of an answer, read and metered before it was passed on.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::metering::Progress;
use crate::transport::BodyError;

/// Pieces in their order, each with what the meter said of it.
#[derive(Default)]
pub(super) struct Held {
    pieces: VecDeque<(Bytes, Progress)>,
    /// What ended it then.
    error: Option<BodyError>,
}

impl Held {
    pub(super) fn push(&mut self, piece: Bytes, progress: Progress) {
        self.pieces.push_back((piece, progress));
    }

    pub(super) fn fail(&mut self, error: BodyError) {
        self.error = Some(error);
    }

    /// All of it in one piece.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|(piece, _)| piece.iter().copied()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The next piece to pass on, or what followed the last one.
    pub(super) fn next(&mut self) -> Option<(Result<Bytes, BodyError>, Option<Progress>)> {
        match self.pieces.pop_front() {
            Some((piece, progress)) => Some((Ok(piece), Some(progress))),
            None => self.error.take().map(|error| (Err(error), None)),
        }
    }
}
