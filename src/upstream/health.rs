//! What is known about a target's health, as a pure rule over what happened to it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use crate::domain::clock::Timestamp;

/// Failures in a row after which a target is avoided for a while.
const FAILURES_BEFORE_REST: u32 = 3;
const REST: Duration = Duration::from_secs(10);

/// A target's health: what calls met (passive) and what checks found (active).
#[derive(Debug)]
pub(super) struct Health {
    failures: AtomicU32,
    /// Streams in a row that began well and ended without an event.
    hollow: AtomicU32,
    rests_until: AtomicI64,
    checked_up: AtomicBool,
}

impl Health {
    /// Healthy until shown otherwise.
    pub(super) fn new() -> Self {
        Self {
            failures: AtomicU32::new(0),
            hollow: AtomicU32::new(0),
            rests_until: AtomicI64::new(i64::MIN),
            checked_up: AtomicBool::new(true),
        }
    }

    /// A call got an answer.
    pub(super) fn answered(&self) {
        // Read first: this line is on the way of every request, and a store would bounce the cache line.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.rests_until.store(i64::MIN, Ordering::Relaxed);
        }
    }

    /// A call got no answer.
    pub(super) fn failed(&self, now: Timestamp) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_BEFORE_REST {
            self.rests_until.store(now.plus(REST).as_micros(), Ordering::Relaxed);
        }
    }

    /// A stream came to its end; `hollow`: without an event, which its head could not tell.
    pub(super) fn stream_ended(&self, hollow: bool, now: Timestamp) {
        if !hollow {
            if self.hollow.load(Ordering::Relaxed) != 0 {
                self.hollow.store(0, Ordering::Relaxed);
            }
        } else if self.hollow.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_BEFORE_REST {
            self.rests_until.store(now.plus(REST).as_micros(), Ordering::Relaxed);
        }
    }

    /// An active check found the target up or down; true if that is news.
    pub(super) fn checked(&self, up: bool) -> bool {
        self.checked_up.swap(up, Ordering::Relaxed) != up
    }

    /// What the last active check found; true where there is none.
    pub(super) fn is_up(&self) -> bool {
        self.checked_up.load(Ordering::Relaxed)
    }

    /// Up, and not resting after failures.
    pub(super) fn is_well(&self, now: Timestamp) -> bool {
        self.is_up() && self.rests_until.load(Ordering::Relaxed) <= now.as_micros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_whose_streams_are_empty_rests_although_each_began_well() {
        let (health, now) = (Health::new(), Timestamp::from_micros(0));
        let empty = || {
            health.answered();
            health.stream_ended(true, now);
        };
        empty();
        empty();
        health.stream_ended(false, now);
        empty();
        empty();
        assert!(health.is_well(now));
        empty();
        assert!(!health.is_well(now));
        assert!(health.is_well(now.plus(REST)), "the rest is over");
    }

    #[test]
    fn a_target_rests_after_three_failures_in_a_row_and_recovers_with_an_answer() {
        let (health, now) = (Health::new(), Timestamp::from_micros(0));
        health.failed(now);
        health.failed(now);
        assert!(health.is_well(now));
        health.answered();
        health.failed(now);
        health.failed(now);
        assert!(health.is_well(now), "an answer in between starts the count anew");
        health.failed(now);
        assert!(!health.is_well(now));
        assert!(health.is_well(now.plus(REST)), "the rest is over");
        health.failed(now.plus(REST));
        assert!(!health.is_well(now.plus(REST)), "one more failure is enough to rest again");
        health.answered();
        assert!(health.is_well(now));
    }
}
