//! Where sessions went that had to leave their target. Every session has a home by its name alone (`balance`); one that
//! had to move has its prompts cached elsewhere, and stays there for as long as that cache is warm.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a session that is not heard of keeps its place; about as long as providers keep prompts.
const IDLE_MAX: Duration = Duration::from_mins(10);
/// Sessions that have moved. One that finds no room goes home.
const SESSIONS_MAX: usize = 65_536;

/// Sessions that are not at home.
#[derive(Debug, Default)]
pub(super) struct AffinityOverrides {
    /// Read on the way of every call instead of taking the lock.
    len: AtomicUsize,
    places: Mutex<HashMap<u64, Place, foldhash::fast::RandomState>>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    candidate: u64,
    last_used: Instant,
}

impl AffinityOverrides {
    /// Where the session has its cache; `None`: at home.
    pub(super) fn place(&self, session: u64, now: Instant) -> Option<u64> {
        if self.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let places = self.places.lock();
        places.get(&session).filter(|place| is_warm(place, now)).map(|place| place.candidate)
    }

    /// A call of the session was answered by `candidate`; whether that is its home.
    pub(super) fn answered(&self, session: u64, candidate: u64, is_preferred: bool, now: Instant) {
        if is_preferred && self.len.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut places = self.places.lock();
        if is_preferred {
            places.remove(&session);
        } else {
            if places.len() >= SESSIONS_MAX && !places.contains_key(&session) {
                places.retain(|_, place| is_warm(place, now));
            }
            if places.len() < SESSIONS_MAX || places.contains_key(&session) {
                places.insert(session, Place { candidate, last_used: now });
            }
        }
        self.len.store(places.len(), Ordering::Relaxed);
    }
}

fn is_warm(place: &Place, now: Instant) -> bool {
    now.saturating_duration_since(place.last_used) < IDLE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_moved_stays_until_it_is_idle_or_back_home() {
        let (start, sessions) = (Instant::now(), AffinityOverrides::default());
        let after = |minutes| start + Duration::from_mins(minutes);
        sessions.answered(1, 10, true, start);
        assert_eq!(sessions.place(1, start), None);
        sessions.answered(1, 20, false, start);
        assert_eq!(sessions.place(1, after(9)), Some(20));
        sessions.answered(1, 20, false, after(9));
        assert_eq!(sessions.place(1, after(18)), Some(20), "used meanwhile");
        assert_eq!(sessions.place(1, after(19)), None, "idle for ten minutes");
        sessions.answered(1, 10, true, after(18));
        assert_eq!(sessions.place(1, after(18)), None);
    }

    #[test]
    fn the_table_is_bounded_and_cold_sessions_make_room() {
        let (start, sessions) = (Instant::now(), AffinityOverrides::default());
        for session in 0..SESSIONS_MAX as u64 + 10 {
            sessions.answered(session, 20, false, start);
        }
        assert_eq!(sessions.places.lock().len(), SESSIONS_MAX);
        let later = start + IDLE_MAX;
        sessions.answered(u64::MAX, 20, false, later);
        assert_eq!(sessions.places.lock().len(), 1);
        assert_eq!(sessions.place(u64::MAX, later), Some(20));
    }
}
