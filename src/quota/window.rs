//! Requests of the last minute: a sliding window, so that no 60 seconds ever see more than the limit. It goes by the
//! steady clock: what people do to the calendar neither frees it nor locks it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a request counts.
const WINDOW: Duration = Duration::from_mins(1);
/// Requests within this time of each other share an entry, which bounds the window at 600 entries however busy it is.
const GRAIN: Duration = Duration::from_millis(100);

/// Requests that arrived close together; they leave the window together, with the last of them.
#[derive(Clone, Copy, Debug)]
struct Entry {
    first: Instant,
    last: Instant,
    count: u32,
}

#[derive(Debug, Default)]
pub(super) struct SlidingWindow {
    entries: VecDeque<Entry>,
    count: u32,
}

impl SlidingWindow {
    pub(super) fn count(&mut self, now: Instant) -> u32 {
        let has_left = |entry: &&Entry| now.saturating_duration_since(entry.last) >= WINDOW;
        while let Some(entry) = self.entries.front().filter(has_left) {
            self.count -= entry.count;
            self.entries.pop_front();
        }
        self.count
    }

    pub(super) fn add(&mut self, now: Instant) {
        self.count += 1;
        match self.entries.back_mut() {
            // A request that comes a little late counts too: threads read the clock before they lock.
            Some(entry) if now.saturating_duration_since(entry.first) < GRAIN => {
                entry.last = entry.last.max(now);
                entry.count += 1;
            }
            _ => self.entries.push_back(Entry { first: now, last: now, count: 1 }),
        }
    }

    /// How long until fewer than `limit` requests will be left in the window; a minute for a limit of 0.
    pub(super) fn free_in(&self, limit: u32, now: Instant) -> Duration {
        let mut left = self.count;
        for entry in &self.entries {
            left -= entry.count;
            if left < limit {
                return (entry.last + WINDOW).saturating_duration_since(now);
            }
        }
        WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |millis| start + Duration::from_millis(millis)
    }

    #[test]
    fn a_request_counts_for_sixty_seconds() {
        let (mut window, at) = (SlidingWindow::default(), clock());
        window.add(at(0));
        window.add(at(30_000));
        assert_eq!(window.count(at(59_999)), 2);
        assert_eq!(window.count(at(60_000)), 1);
        assert_eq!(window.count(at(90_000)), 0);
    }

    #[test]
    fn the_next_place_is_free_when_enough_of_the_oldest_have_left() {
        let (mut window, at) = (SlidingWindow::default(), clock());
        for millis in [0, 10_000, 20_000] {
            window.add(at(millis));
        }
        let free_in = |limit| window.free_in(limit, at(20_000)).as_secs();
        assert_eq!([free_in(3), free_in(1), free_in(0)], [40, 60, 60]);
    }

    #[test]
    fn memory_is_bounded_however_busy_the_window_is() {
        let (mut window, at) = (SlidingWindow::default(), clock());
        for millis in 0..120_000 {
            window.count(at(millis));
            window.add(at(millis));
        }
        assert!(window.entries.len() <= 601, "{} entries", window.entries.len());
        let exact = 60_000..=60_100;
        assert!(exact.contains(&window.count(at(119_999))));
    }
}
