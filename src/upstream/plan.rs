//! The way of one call through the targets that may take it: which one is next after one has failed. Pure but for what
//! it notes about targets; whoever sends tells it what came of each attempt.

use std::sync::Arc;
use std::time::Instant;

use super::Upstream;
use super::balance::{Balancer, Chosen, attempt_id};
use super::call::TargetQuery;
use super::candidate::Candidate;
use super::failure::{AttemptFailure, FailureReason};

/// The candidates of a call, one of which is tried now.
pub struct Plan {
    upstream: Arc<Upstream>,
    query: TargetQuery,
    candidates: Vec<Candidate>,
    current: Candidate,
    /// This call is the one that may try the half-open current candidate, and has not reported yet.
    is_half_open: bool,
    tried: Vec<u64>,
    attempts: usize,
    repeats: usize,
}

/// Hosts name one unknown field at a time; what they have named is remembered for the calls that follow.
const REPEATS_MAX: usize = 4;

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another candidate is tried.
    Try,
    /// None is left, or none may be tried: the caller gets what this attempt came to.
    Stop,
}

impl Plan {
    pub(super) fn new(
        upstream: Arc<Upstream>,
        query: TargetQuery,
        candidates: Vec<Candidate>,
        (first, is_half_open): (Candidate, bool),
    ) -> Self {
        Self {
            upstream,
            query,
            candidates,
            current: first,
            is_half_open,
            tried: Vec::new(),
            attempts: 0,
            repeats: 0,
        }
    }

    /// The candidate that is tried now.
    #[must_use]
    pub fn current(&self) -> &Candidate {
        &self.current
    }

    /// Whether any of the candidates may take the call in another form than the caller's.
    #[must_use]
    pub fn may_rewrite(&self) -> bool {
        self.candidates.iter().any(|candidate| {
            candidate.is_renamed || candidate.conversion.is_some() || candidate.target.may_rewrite()
        })
    }

    /// Whether another candidate could be tried if this one failed.
    #[must_use]
    pub fn has_other(&self, now: Instant) -> bool {
        self.attempts + 1 < self.upstream.settings.max_attempts
            && self.candidates.len() > self.tried.len() + 1
            && self.candidates.iter().any(|candidate| {
                let id = attempt_id(candidate);
                id != attempt_id(&self.current)
                    && !self.tried.contains(&id)
                    && candidate.target.is_usable(now)
                    && candidate.is_open(now)
            })
    }

    /// Whether the current candidate may be sent the call once more, without what its host does not know.
    pub fn may_repeat(&mut self, now: Instant) -> bool {
        if self.repeats >= REPEATS_MAX || !self.upstream.may_retry(true, now) {
            return false;
        }
        self.repeats += 1;
        self.upstream.shared.budget.retry(now);
        self.current.target.state.count_failure(FailureReason::UnknownField);
        true
    }

    /// The current candidate failed. Another is tried while it is certain that nobody has worked on the call, or that
    /// it is not billed; whatever the reason if `upstream.retry_uncertain` says so.
    pub fn failed(&mut self, failure: AttemptFailure, now: Instant) -> Next {
        self.note_failure(failure, now);
        self.tried.push(attempt_id(&self.current));
        if failure.reason.was_attempted() {
            self.attempts += 1;
        }
        let settings = &self.upstream.settings;
        let may_retry = failure.reason.is_safe_to_retry() || settings.retry_uncertain;
        if !may_retry || self.attempts >= settings.max_attempts {
            return Next::Stop;
        }
        let half = failure.reason.may_be_provoked();
        if failure.reason.was_attempted() && !self.upstream.may_retry(half, now) {
            tracing::warn!(
                target = self.current.target.name(),
                "no other target is tried: upstream.retry_ratio is used up"
            );
            return Next::Stop;
        }
        // Where there is an answer to pass on, what cools down is left alone; else trying it is better.
        let next = self.advance(!failure.reason.has_answer(), now);
        if next == Next::Try && failure.reason.was_attempted() {
            self.upstream.shared.budget.retry(now);
            let (reason, next) = (failure.reason.as_str(), self.current.target.name());
            tracing::warn!(reason, next, "a target failed, trying the next");
        }
        next
    }

    /// The current candidate failed, and what it said is passed on whatever the reason.
    pub fn note_failure(&mut self, failure: AttemptFailure, now: Instant) {
        self.is_half_open = false;
        if self.query.counts_for_health {
            self.current.failed(failure, now, self.upstream.random());
        }
    }

    /// The call cannot be sent to the current candidate as it is; another may be tried.
    pub fn skip(&mut self, now: Instant) -> Next {
        self.end_half_open();
        self.tried.push(attempt_id(&self.current));
        self.advance(true, now)
    }

    fn advance(&mut self, or_cooling: bool, now: Instant) -> Next {
        let (affinity, may_half_open) = (self.query.affinity, self.query.counts_for_health);
        let balancer = self.upstream.balancer();
        let chosen = balancer.choose(&self.candidates, &self.tried, affinity, may_half_open, now);
        (self.current, self.is_half_open) = match chosen {
            Some(Chosen::Ready { candidate, is_half_open }) => (candidate, is_half_open),
            Some(Chosen::Cooling { first, .. }) if or_cooling => (first, false),
            Some(Chosen::Cooling { .. }) | None => return Next::Stop,
        };
        Next::Try
    }

    fn end_half_open(&mut self) {
        if std::mem::take(&mut self.is_half_open) {
            self.current.end_half_open(Instant::now());
        }
    }

    /// The current candidate answered.
    pub fn answered(&mut self, now: Instant) {
        self.is_half_open = false;
        if !self.query.counts_for_health {
            return;
        }
        self.current.answered(now);
        if let Some(session) = self.query.affinity.filter(|_| self.candidates.len() > 1)
            && let Some(home) = Balancer::preferred(&self.candidates, session)
            && home.level.0 == self.current.level.0
        {
            let is_preferred = attempt_id(home) == attempt_id(&self.current);
            self.upstream.shared.overrides.answered(session, self.current.id(), is_preferred, now);
        }
    }
}

/// A call that was refused here, or whose caller left, tells nothing about the candidate that it was to try.
impl Drop for Plan {
    fn drop(&mut self) {
        self.end_half_open();
    }
}
