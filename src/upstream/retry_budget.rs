//! How many attempts may follow a failed one, so that an outage is not multiplied by those who try again: a share of
//! the calls of the last seconds, and a few besides. A pure rule; the time is an argument.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// Seconds that are looked back.
const WINDOW: usize = 10;
/// Attempts that are allowed in any case, so that a node with few calls can move them at all.
const EACH_SECOND: u64 = 3;

/// The attempts beyond the first that calls may make.
#[derive(Debug)]
pub(super) struct RetryBudget {
    began: Instant,
    /// Calls since the current second began.
    calls: AtomicU64,
    /// The current second.
    second: AtomicU64,
    past: Mutex<Past>,
}

/// Of each second in the window.
#[derive(Debug, Default)]
struct Past {
    calls: [u64; WINDOW],
    retries: [u64; WINDOW],
}

impl RetryBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, calls: AtomicU64::new(0), second: AtomicU64::new(0), past: Mutex::default() }
    }

    /// A call begins.
    pub(super) fn call(&self, now: Instant) {
        self.advance(now);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a call may try once more. `ratio_millionths` of the calls in the window may; if `half`, half of that.
    pub(super) fn may_retry(&self, ratio_millionths: u64, half: bool, now: Instant) -> bool {
        self.advance(now);
        let past = self.past.lock();
        let calls = past.calls.iter().sum::<u64>() + self.calls.load(Ordering::Relaxed);
        let of_calls = calls.saturating_mul(ratio_millionths) / 1_000_000;
        let allowed = of_calls + EACH_SECOND * WINDOW as u64;
        past.retries.iter().sum::<u64>() < if half { allowed / 2 } else { allowed }
    }

    /// A call tries once more.
    pub(super) fn retry(&self, now: Instant) {
        self.advance(now);
        let slot = slot(self.second.load(Ordering::Relaxed));
        if let Some(retries) = self.past.lock().retries.get_mut(slot) {
            *retries += 1;
        }
    }

    /// Closes the seconds that are over.
    fn advance(&self, now: Instant) {
        let second = now.saturating_duration_since(self.began).as_secs();
        if self.second.load(Ordering::Relaxed) >= second {
            return;
        }
        let mut past = self.past.lock();
        let last = self.second.load(Ordering::Relaxed);
        if last >= second {
            return;
        }
        let calls = self.calls.swap(0, Ordering::Relaxed);
        if let Some(slot) = past.calls.get_mut(slot(last)) {
            *slot = calls;
        }
        // What the slots of the seconds that begin held is out of the window.
        for over in (last + 1..=second).rev().take(WINDOW) {
            let slot = slot(over);
            let Past { calls, retries } = &mut *past;
            if let (Some(calls), Some(retries)) = (calls.get_mut(slot), retries.get_mut(slot)) {
                (*calls, *retries) = (0, 0);
            }
        }
        self.second.store(second, Ordering::Relaxed);
    }
}

fn slot(second: u64) -> usize {
    usize::try_from(second % WINDOW as u64).unwrap_or(0)
}

/// A share as the budget counts it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share between 0 and 10")]
pub(super) fn millionths(ratio: f64) -> u64 {
    (ratio.clamp(0.0, 10.0) * 1e6) as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TENTH: u64 = 100_000;

    /// Calls of which each fails and wants to try again; how many may.
    fn storm(budget: &RetryBudget, calls: u64, now: Instant) -> u64 {
        (0..calls)
            .filter(|_| {
                budget.call(now);
                let may = budget.may_retry(TENTH, false, now);
                if may {
                    budget.retry(now);
                }
                may
            })
            .count() as u64
    }

    #[test]
    fn retries_are_a_share_of_the_calls_and_three_a_second() {
        let start = Instant::now();
        let budget = RetryBudget::new(start);
        assert_eq!(storm(&budget, 20, start), 20, "few calls may all move");
        assert_eq!(storm(&budget, 980, start), 110, "30 and a tenth of 1,000, of which 20 are used up");
        assert_eq!(storm(&budget, 1_000, start + Duration::from_secs(9)), 100);
        // What is ten seconds old gives nothing any more, and counts no more.
        assert_eq!(storm(&budget, 100, start + Duration::from_secs(10)), 40);
    }

    #[test]
    fn whatever_the_storm_no_retry_is_beyond_what_the_seconds_before_it_allow() {
        let start = Instant::now();
        let budget = RetryBudget::new(start);
        let mut each = Vec::new();
        let mut state = 7_u64;
        for second in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let calls = (state >> 33) % 500 * u64::from(second % 17 != 3);
            let retried = storm(&budget, calls, start + Duration::from_secs(second));
            each.push((calls, retried));
        }
        for window in each.windows(WINDOW).filter(|window| window[WINDOW - 1].1 > 0) {
            let calls: u64 = window.iter().map(|(calls, _)| calls).sum();
            let retries: u64 = window.iter().map(|(_, retries)| retries).sum();
            assert!(retries <= calls / 10 + 30, "{retries} of {calls}");
        }
        let sum = each.iter().fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
        assert!(sum.1 <= sum.0 / 10 + 3 * 200 + 30, "{sum:?}");
        assert!(sum.1 > 100, "some may");
    }
}
