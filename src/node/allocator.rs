//! Memory that a burst has taken goes back to the system when it is over.
//!
//! The allocator gives back what a thread has freed when that thread next asks for or frees something, so that a
//! thread without work would keep what it had at its busiest. Each one gives it back before it goes to sleep, but not
//! more often than once a second: under load it would only be fetched again. What threads that have ended leave
//! behind is given back by the others; a task of the node sees to it that one of them wakes.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Between two times that a thread gives back.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

thread_local! {
    static GAVE_BACK: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Gives back what this thread has freed, unless it has done so a moment ago. For a runtime's `on_thread_park`.
pub fn give_back() {
    let now = Instant::now();
    let is_due = |last: Option<Instant>| last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
    if is_due(GAVE_BACK.get()) {
        GAVE_BACK.set(Some(now));
        #[allow(unsafe_code, reason = "the allocator offers this to C alone")]
        // SAFETY: takes no pointer, and may be called at any time by any thread; it works on that thread's own heap.
        unsafe {
            libmimalloc_sys::mi_collect(true);
        };
    }
}
