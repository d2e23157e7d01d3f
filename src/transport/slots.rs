//! Requests in flight to one endpoint, and their limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::Error;

/// How many requests may be in flight, and how many are.
pub(super) struct Slots {
    taken: Arc<AtomicUsize>,
    max: usize,
}

/// A request in flight; giving it back is its drop.
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self { taken: Arc::default(), max }
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`Error::Full`].
    pub(super) fn take(&self) -> Result<Slot, Error> {
        let slot = Slot(Arc::clone(&self.taken));
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.max {
            return Err(Error::Full(self.max));
        }
        Ok(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
