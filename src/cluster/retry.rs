//! How long to wait before the next attempt: exponentially longer, with jitter, up to a bound. The only user of `backoff`.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// The waits between attempts that failed.
#[derive(Debug)]
pub struct Backoff(ExponentialBackoff);

impl Backoff {
    /// From a tenth of a second to two seconds, each wait up to half longer or shorter so that nodes which lost the
    /// leader together do not come back together. It never gives up.
    #[must_use]
    pub fn new() -> Self {
        Self(ExponentialBackoff {
            initial_interval: FIRST,
            current_interval: FIRST,
            max_interval: LONGEST,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }

    /// How long to wait now.
    pub fn wait(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(LONGEST)
    }

    /// The attempt succeeded: the next failure waits shortly again.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_stay_bounded_and_start_over_after_a_success() {
        let mut retry = Backoff::new();
        let waits: Vec<Duration> = (0..50).map(|_| retry.wait()).collect();
        assert!(waits[0] <= FIRST.mul_f64(1.51), "{:?}", waits[0]);
        assert!(waits.iter().all(|wait| *wait <= LONGEST.mul_f64(1.51) && *wait >= FIRST / 2));
        assert!(waits[40..].iter().all(|wait| *wait >= LONGEST / 3));
        retry.reset();
        assert!(retry.wait() <= FIRST.mul_f64(1.51));
    }
}
