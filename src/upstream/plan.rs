//! The way of one call through the targets that may take it: which one is next after one has failed. Pure but for what
//! it notes about targets; whoever sends tells it what came of each attempt.

use std::sync::Arc;
use std::time::Instant;

use super::Upstream;
use super::balance::{Balancer, Chosen, attempt_id};
use super::call::TargetQuery;
use super::candidate::Candidate;
use super::failure::{AttemptFailure, FailureReason};

/// The candidates of a call, of which one is its turn.
pub struct Plan {
    upstream: Arc<Upstream>,
    query: TargetQuery,
    candidates: Vec<Candidate>,
    current: Candidate,
    tried: Vec<u64>,
    attempts: usize,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another candidate's turn.
    Try,
    /// None is left, or none may be tried: the caller gets what this attempt came to.
    Stop,
}

impl Plan {
    pub(super) fn new(
        upstream: Arc<Upstream>,
        query: TargetQuery,
        candidates: Vec<Candidate>,
        first: Candidate,
    ) -> Self {
        Self { upstream, query, candidates, current: first, tried: Vec::new(), attempts: 0 }
    }

    /// Whose turn it is.
    #[must_use]
    pub fn current(&self) -> &Candidate {
        &self.current
    }

    /// Whether another candidate could be tried if this one failed.
    #[must_use]
    pub fn has_other(&self) -> bool {
        let now = Instant::now();
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

    /// The current candidate failed. Another is tried while it is certain that nobody has worked on the call, or that
    /// it is not billed; whatever the reason if `upstream.retry_uncertain` says so.
    pub fn failed(&mut self, failure: AttemptFailure, now: Instant) -> Next {
        if self.query.counts_for_health {
            self.current.failed(failure, now, self.upstream.random());
        }
        self.tried.push(attempt_id(&self.current));
        if failure.reason.was_attempted() {
            self.attempts += 1;
        }
        let settings = &self.upstream.settings;
        let may_retry = failure.reason.is_unbilled() || settings.retry_uncertain;
        if !may_retry || self.attempts >= settings.max_attempts {
            return Next::Stop;
        }
        let chosen = self.upstream.balancer().choose(&self.candidates, &self.tried, self.query.affinity, now);
        let next = match chosen {
            Some(Chosen::Ready(next)) => next,
            // There is nothing else to tell the caller: trying is better.
            Some(Chosen::Cooling { first, .. }) if !failure.reason.has_answer() => first,
            Some(Chosen::Cooling { .. }) | None => return Next::Stop,
        };
        if failure.reason.was_attempted() && !self.upstream.try_retry(now) {
            tracing::warn!(
                target = self.current.target.name(),
                "no other target is tried: upstream.retry_ratio is used up"
            );
            return Next::Stop;
        }
        let reason = failure.reason.as_str();
        tracing::warn!(
            target = self.current.target.name(),
            reason,
            next = next.target.name(),
            "target failed, trying the next"
        );
        self.current = next;
        Next::Try
    }

    /// The current candidate answered.
    pub fn answered(&self, now: Instant) {
        if !self.query.counts_for_health {
            return;
        }
        self.current.answered(now);
        if let Some(session) = self.query.affinity.filter(|_| self.candidates.len() > 1)
            && let Some(home) = Balancer::home(&self.candidates, session)
            && home.level.0 == self.current.level.0
        {
            let is_home = attempt_id(home) == attempt_id(&self.current);
            self.upstream.shared.moved.answered(session, self.current.id(), is_home, now);
        }
    }
}

impl FailureReason {
    /// Whether the target has answered, in words that a caller can be given.
    pub(super) fn has_answer(self) -> bool {
        !matches!(self, Self::Busy | Self::Connect | Self::NotProcessed | Self::Cut | Self::Timeout)
    }
}
