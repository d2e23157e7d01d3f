//! Requests of the last minute: a sliding window, so that no 60 seconds ever see more than the limit.

use std::collections::VecDeque;

use crate::domain::clock::Timestamp;

/// How long a request counts.
const WINDOW_MICROS: i64 = 60_000_000;
/// Requests within this time of each other share an entry, which bounds the window at 600 entries however busy it is.
const GRAIN_MICROS: i64 = 100_000;

/// Requests that arrived close together; they leave the window together, with the last of them.
#[derive(Clone, Copy, Debug)]
struct Entry {
    first: i64,
    last: i64,
    count: u32,
}

/// The requests of the last 60 seconds.
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    count: u32,
}

impl Window {
    /// How many requests the last 60 seconds saw.
    pub(super) fn count(&mut self, now: Timestamp) -> u32 {
        let start = now.as_micros() - WINDOW_MICROS;
        while let Some(entry) = self.entries.front().filter(|entry| entry.last <= start) {
            self.count -= entry.count;
            self.entries.pop_front();
        }
        self.count
    }

    /// Adds a request.
    pub(super) fn add(&mut self, now: Timestamp) {
        let at = now.as_micros();
        self.count += 1;
        match self.entries.back_mut() {
            // A request that comes a little late counts too (its difference is negative): threads read the clock
            // before they lock.
            Some(entry) if at - entry.first < GRAIN_MICROS => {
                entry.last = entry.last.max(at);
                entry.count += 1;
            }
            _ => self.entries.push_back(Entry { first: at, last: at, count: 1 }),
        }
    }

    /// When fewer than `limit` requests will be left in the window; a minute from now for a limit of 0.
    pub(super) fn free_at(&self, limit: u32, now: Timestamp) -> Timestamp {
        let mut left = self.count;
        for entry in &self.entries {
            left -= entry.count;
            if left < limit {
                return Timestamp::from_micros(entry.last + WINDOW_MICROS);
            }
        }
        Timestamp::from_micros(now.as_micros() + WINDOW_MICROS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1_000)
    }

    #[test]
    fn a_request_counts_for_sixty_seconds() {
        let mut window = Window::default();
        window.add(at(0));
        window.add(at(30_000));
        assert_eq!(window.count(at(59_999)), 2);
        assert_eq!(window.count(at(60_000)), 1);
        assert_eq!(window.count(at(90_000)), 0);
    }

    #[test]
    fn the_next_place_is_free_when_enough_of_the_oldest_have_left() {
        let mut window = Window::default();
        for millis in [0, 10_000, 20_000] {
            window.add(at(millis));
        }
        assert_eq!(window.free_at(3, at(20_000)), at(60_000));
        assert_eq!(window.free_at(1, at(20_000)), at(80_000));
        assert_eq!(window.free_at(0, at(20_000)), at(80_000));
    }

    #[test]
    fn memory_is_bounded_however_busy_the_window_is() {
        let mut window = Window::default();
        for millis in 0..120_000 {
            window.count(at(millis));
            window.add(at(millis));
        }
        assert!(window.entries.len() <= 601, "{} entries", window.entries.len());
        let exact = 60_000..=60_100;
        assert!(exact.contains(&window.count(at(119_999))));
    }
}
