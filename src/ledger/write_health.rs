//! Whether the database takes records: for those who reserve room, and for health checks.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// Why the database takes no records at the moment.
#[derive(Debug, Default)]
pub(super) struct WriteHealth {
    is_set: AtomicBool,
    reason: Mutex<Option<String>>,
}

impl WriteHealth {
    pub(super) fn is_failing(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    pub(super) fn reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }

    pub(super) fn failed(&self, reason: String) {
        *self.reason.lock() = Some(reason);
        self.is_set.store(true, Ordering::Release);
    }

    pub(super) fn recovered(&self) {
        self.is_set.store(false, Ordering::Release);
        *self.reason.lock() = None;
    }
}
