//! The attempts of one call that failed before it was answered. They are in its record, whatever becomes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::domain::price::PriceList;
use crate::domain::terms::Terms;
use crate::domain::usage::Attempt;
use crate::metering::MeterResult;
use crate::upstream::{Candidate, FailureReason};

/// Shared by who sends a call and who books it: a caller that leaves in between ends only the first.
#[derive(Clone, Default)]
pub(super) struct Attempts(Arc<Mutex<Log>>);

#[derive(Default)]
struct Log {
    failed: Vec<FailedAttempt>,
    /// The candidate that is tried now, or was tried last.
    current: Option<Candidate>,
    /// When the first attempt began.
    first_begun: Option<Instant>,
    so_far: SoFar,
    caller_has_left: bool,
}

/// What is known of the current attempt, should its caller leave before there is an answer.
#[derive(Clone, Default)]
pub(super) enum SoFar {
    /// It may be worked on.
    #[default]
    Sent,
    /// It has failed, and is in the list.
    Failed,
    /// Its answer has begun, and has said this.
    Begun(MeterResult),
}

/// An attempt that failed.
pub(super) struct FailedAttempt {
    pub(super) candidate: Candidate,
    pub(super) reason: FailureReason,
    /// `None`: no answer came.
    pub(super) status: Option<u16>,
    pub(super) duration: Duration,
    /// What it used, as far as it has said so.
    pub(super) result: MeterResult,
}

impl Attempts {
    pub(super) fn begin(&self, candidate: &Candidate) {
        let mut log = self.0.lock();
        log.current = Some(candidate.clone());
        log.first_begun.get_or_insert_with(Instant::now);
        log.so_far = SoFar::Sent;
    }

    pub(super) fn first_begun(&self) -> Option<Instant> {
        self.0.lock().first_begun
    }

    pub(super) fn failed(&self, attempt: FailedAttempt) {
        let mut log = self.0.lock();
        log.failed.push(attempt);
        log.so_far = SoFar::Failed;
    }

    /// The answer of the current attempt has begun, and has said so much.
    pub(super) fn has_begun(&self, result: MeterResult) {
        self.0.lock().so_far = SoFar::Begun(result);
    }

    pub(super) fn so_far(&self) -> SoFar {
        self.0.lock().so_far.clone()
    }

    /// Nobody waits for an answer any more: no other attempt is begun.
    pub(super) fn caller_left(&self) {
        self.0.lock().caller_has_left = true;
    }

    pub(super) fn caller_has_left(&self) -> bool {
        self.0.lock().caller_has_left
    }

    /// The attempt that failed as the `index`th is the one that is answered after all; `last` has failed since.
    pub(super) fn answer_by(&self, index: usize, last: Option<FailedAttempt>) {
        let mut log = self.0.lock();
        if index < log.failed.len() {
            let answering = log.failed.remove(index);
            log.current = Some(answering.candidate);
        }
        log.failed.extend(last);
    }

    /// How many have failed.
    pub(super) fn count(&self) -> usize {
        self.0.lock().failed.len()
    }

    /// The candidate that was tried last.
    pub(super) fn last(&self) -> Option<Candidate> {
        self.0.lock().current.clone()
    }

    /// The failed attempts, priced.
    pub(super) fn take(&self, prices: &PriceList, terms: &Terms) -> Vec<Attempt> {
        let failed = std::mem::take(&mut self.0.lock().failed);
        failed.into_iter().map(|attempt| attempt.priced(prices, terms)).collect()
    }
}

impl FailedAttempt {
    fn priced(self, prices: &PriceList, terms: &Terms) -> Attempt {
        let (tokens, model) = (self.result.tokens, self.candidate.model());
        let answered = self.result.model.as_deref().and_then(|model| prices.known(model));
        let price = answered.unwrap_or_else(|| prices.find(model)).price_for(&self.result.terms.or(terms));
        Attempt {
            target: self.candidate.target().name().to_owned(),
            key: self.candidate.key_name().to_owned(),
            model: model.to_string(),
            reason: self.reason.as_str().to_owned(),
            status_code: self.status,
            duration_ms: u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cost_nanousd: price.cost_nanousd(tokens),
        }
    }
}
