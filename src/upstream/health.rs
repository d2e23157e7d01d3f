//! What is known about a target's health, as a pure rule over what happened to it. Time is monotonic: a clock that is
//! set neither frees a target nor holds it back.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Failures in a row after which a target is ejected for a while.
const FAILURES_BEFORE_EJECTION: u32 = 3;
/// How long it is ejected; after that one call at a time tries whether it has recovered.
pub(super) const EJECTION: Duration = Duration::from_secs(10);

/// A target's health, from the results of calls (passive) and of checks (active).
#[derive(Debug)]
pub(super) struct Health {
    /// Failures in a row.
    failures: AtomicU32,
    /// Streams in a row that began with a success and ended without an event.
    hollow: AtomicU32,
    /// End of the ejection, in microseconds since `began`.
    ejected_until: AtomicU64,
    began: Instant,
    checked_up: AtomicBool,
}

/// Whether a target gets calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HealthState {
    /// It may get calls.
    Healthy,
    /// Its ejection is over: one call may try it.
    HalfOpen,
    /// It failed, and gets no calls for so long.
    Ejected(Duration),
    /// An active check found it down.
    Down,
}

impl Health {
    /// Healthy until shown otherwise.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            failures: AtomicU32::new(0),
            hollow: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            began: now,
            checked_up: AtomicBool::new(true),
        }
    }

    /// A call got an answer that shows that the target is healthy.
    pub(super) fn answered(&self) {
        // Read first: this line is on the way of every request, and a store would bounce the cache line.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
    }

    /// A call got no answer, or one that shows that the target is not healthy.
    pub(super) fn failed(&self, now: Instant) {
        if self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= FAILURES_BEFORE_EJECTION {
            self.ejected_until.store(self.micros(now + EJECTION), Ordering::Relaxed);
        }
    }

    /// A stream came to its end; `hollow`: without an event, which its head could not tell.
    pub(super) fn stream_ended(&self, hollow: bool, now: Instant) {
        if !hollow {
            if self.hollow.load(Ordering::Relaxed) != 0 {
                self.hollow.store(0, Ordering::Relaxed);
            }
        } else if self.hollow.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= FAILURES_BEFORE_EJECTION {
            self.ejected_until.store(self.micros(now + EJECTION), Ordering::Relaxed);
        }
    }

    /// An active check found the target up or down; true if that is a change.
    pub(super) fn checked(&self, up: bool) -> bool {
        self.checked_up.swap(up, Ordering::Relaxed) != up
    }

    /// The state now.
    pub(super) fn health_state(&self, now: Instant) -> HealthState {
        if !self.checked_up.load(Ordering::Relaxed) {
            return HealthState::Down;
        }
        let worst = self.failures.load(Ordering::Relaxed).max(self.hollow.load(Ordering::Relaxed));
        if worst < FAILURES_BEFORE_EJECTION {
            return HealthState::Healthy;
        }
        let left = self.ejected_until.load(Ordering::Relaxed).saturating_sub(self.micros(now));
        if left == 0 { HealthState::HalfOpen } else { HealthState::Ejected(Duration::from_micros(left)) }
    }

    /// Lets one call try a target whose ejection is over. For the others the ejection is extended, unless
    /// that call tells something earlier.
    pub(super) fn try_half_open(&self, now: Instant) -> bool {
        let (until, now_us) = (self.ejected_until.load(Ordering::Relaxed), self.micros(now));
        let again = self.micros(now + EJECTION);
        until <= now_us
            && self.ejected_until.compare_exchange(until, again, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The call that tried it told nothing: another may.
    pub(super) fn end_half_open(&self, now: Instant) {
        if matches!(self.health_state(now), HealthState::Ejected(_)) {
            self.ejected_until.store(self.micros(now), Ordering::Relaxed);
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_whose_streams_are_empty_is_left_alone_although_each_began_well() {
        let now = Instant::now();
        let health = Health::new(now);
        let empty = || {
            health.answered();
            health.stream_ended(true, now);
        };
        empty();
        empty();
        health.stream_ended(false, now);
        empty();
        empty();
        assert_eq!(health.health_state(now), HealthState::Healthy);
        empty();
        assert_eq!(health.health_state(now), HealthState::Ejected(EJECTION));
        assert_eq!(health.health_state(now + EJECTION), HealthState::HalfOpen);
        health.stream_ended(false, now);
        assert_eq!(health.health_state(now), HealthState::Healthy);
    }

    #[test]
    fn a_target_is_left_alone_after_three_failures_in_a_row_and_recovers_with_an_answer() {
        let now = Instant::now();
        let health = Health::new(now);
        health.failed(now);
        health.failed(now);
        assert_eq!(health.health_state(now), HealthState::Healthy);
        health.answered();
        health.failed(now);
        health.failed(now);
        assert_eq!(
            health.health_state(now),
            HealthState::Healthy,
            "an answer in between starts the count anew"
        );
        health.failed(now);
        assert_eq!(health.health_state(now), HealthState::Ejected(EJECTION));
        let later = now + EJECTION;
        assert_eq!(health.health_state(later), HealthState::HalfOpen);
        health.failed(later);
        assert_eq!(health.health_state(later), HealthState::Ejected(EJECTION), "one more failure is enough");
        health.answered();
        assert_eq!(health.health_state(later), HealthState::Healthy);
    }

    #[test]
    fn one_call_tries_a_target_that_was_left_alone_long_enough() {
        let now = Instant::now();
        let health = Health::new(now);
        for _ in 0..3 {
            health.failed(now);
        }
        assert!(!health.try_half_open(now), "not yet");
        let later = now + EJECTION;
        assert!(health.try_half_open(later));
        assert!(!health.try_half_open(later), "one is enough");
        assert_eq!(health.health_state(later), HealthState::Ejected(EJECTION));
        assert!(health.try_half_open(later + EJECTION), "the first was never heard of: another may");
    }

    #[test]
    fn a_check_that_fails_takes_a_target_out_at_once() {
        let now = Instant::now();
        let health = Health::new(now);
        assert!(health.checked(false) && !health.checked(false));
        assert_eq!(health.health_state(now), HealthState::Down);
        health.answered();
        assert_eq!(health.health_state(now), HealthState::Down);
        assert!(health.checked(true));
        assert_eq!(health.health_state(now), HealthState::Healthy);
    }
}
