//! The machine's clock, as long as it can be right. One that has lost its battery shows the year 1970 or 2015, and what
//! is booked by it lies in no window, no month and no bill.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::domain::clock::{Clock, SystemClock, Timestamp};

/// 2025-01-01, before there was this program, and 2200-01-01, microseconds.
const PLAUSIBLE: Range<i64> = 1_735_689_600_000_000..7_258_118_400_000_000;

/// A clock that goes on from the last time that can be right while the machine's shows one that cannot.
pub struct PlausibleClock {
    machine: Box<dyn Clock>,
    started: Instant,
    /// When this process started, by the last reading that can be right; microseconds.
    started_at: AtomicI64,
}

impl PlausibleClock {
    /// On top of the machine's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::on(SystemClock)
    }

    fn on(machine: impl Clock) -> Self {
        Self {
            machine: Box::new(machine),
            started: Instant::now(),
            started_at: AtomicI64::new(PLAUSIBLE.start),
        }
    }

    /// Tells the clock that `known` has passed, by the usage log. Used only while the machine's clock cannot be right.
    pub fn not_before(&self, known: Timestamp) {
        if PLAUSIBLE.contains(&known.as_micros()) {
            let started_at = known.minus(self.started.elapsed()).as_micros();
            self.started_at.fetch_max(started_at, Ordering::Relaxed);
        }
    }

    /// Whether what the machine's clock shows can be right.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        PLAUSIBLE.contains(&self.machine.now().as_micros())
    }

    fn now_after(&self, elapsed: Duration) -> Timestamp {
        let shown = self.machine.now();
        if PLAUSIBLE.contains(&shown.as_micros()) {
            self.started_at.store(shown.minus(elapsed).as_micros(), Ordering::Relaxed);
            return shown;
        }
        Timestamp::from_micros(self.started_at.load(Ordering::Relaxed)).plus(elapsed)
    }
}

impl Default for PlausibleClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for PlausibleClock {
    fn now(&self) -> Timestamp {
        self.now_after(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::clock::ManualClock;

    struct Shared(Arc<ManualClock>);

    impl Clock for Shared {
        fn now(&self) -> Timestamp {
            self.0.now()
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_clock_that_cannot_be_right_is_passed_over_from_the_last_time_that_could() {
        let machine = Arc::new(ManualClock::new(at("2026-11-28T12:00:00Z")));
        let clock = PlausibleClock::on(Shared(Arc::clone(&machine)));
        assert_eq!(clock.now_after(HOUR), at("2026-11-28T12:00:00Z"));
        for wrong in ["2015-03-01", "1970-01-01", "2300-01-01"] {
            machine.set(at(wrong));
            assert!(!clock.is_sound());
            assert_eq!(clock.now_after(2 * HOUR), at("2026-11-28T13:00:00Z"), "{wrong}");
        }
        machine.set(at("2026-11-20"));
        assert_eq!(clock.now_after(3 * HOUR), at("2026-11-20"), "set back, which can be right");
    }

    #[test]
    fn a_clock_that_is_wrong_from_the_start_shows_no_time_before_what_the_books_know() {
        let machine = Arc::new(ManualClock::new(at("2015-03-01")));
        let clock = PlausibleClock::on(Shared(Arc::clone(&machine)));
        assert_eq!(clock.now_after(Duration::ZERO), at("2025-01-01"));
        clock.not_before(at("2026-11-28"));
        clock.not_before(at("2026-11-27"));
        clock.not_before(at("2500-01-01"));
        let shown = clock.now();
        assert!(shown >= at("2026-11-28") && shown.since(at("2026-11-28")) < HOUR, "{shown}");
        machine.set(at("2026-11-20"));
        assert_eq!(clock.now(), at("2026-11-20"), "it is right by now");
    }
}
