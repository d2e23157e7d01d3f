//! Which of a node's batches are in its sums.
//!
//! The database numbers a node's batches without a gap, in the order of their commits. So a number that is missing is a
//! batch that was committed and of which nobody heard: its answer got lost on the way from the database. Then, and
//! only then, the sums are read from the database again.

use std::collections::BTreeMap;
use std::sync::Arc;

/// So many batches wait for one with a lower number; more are left to the database, which has them all.
const EARLY_MAX: usize = 64;

/// How far a node's sums go; `T` is what one batch adds to them.
#[derive(Debug)]
pub(super) struct Batches<T> {
    /// Every batch up to this one is in the sums.
    through: u64,
    /// What came before a batch with a lower number.
    early: BTreeMap<u64, Arc<T>>,
    /// What came while the sums were being read, whether or not they have it.
    meanwhile: Option<BTreeMap<u64, Arc<T>>>,
    is_doubtful: bool,
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Self { through: 0, early: BTreeMap::new(), meanwhile: None, is_doubtful: false }
    }
}

impl<T> Batches<T> {
    /// Batch `number` is committed. What is to be added to the sums now: nothing, while one before it is missing.
    pub(super) fn came(&mut self, number: u64, added: Arc<T>) -> Vec<Arc<T>> {
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile.insert(number, Arc::clone(&added));
        }
        if number <= self.through {
            // Either the sums were read with it, or the database holds fewer batches than it did.
            self.is_doubtful = true;
            return Vec::new();
        }
        self.early.insert(number, added);
        let next = self.next_in_order();
        if self.early.len() > EARLY_MAX {
            self.early.clear();
            self.is_doubtful = true;
        }
        next
    }

    /// Something may be committed that nobody heard of.
    pub(super) fn invalidate(&mut self) {
        self.is_doubtful = true;
    }

    /// The sums have to be read from the database.
    pub(super) fn are_invalid(&self) -> bool {
        self.is_doubtful || !self.early.is_empty()
    }

    /// The sums are about to be read.
    pub(super) fn begin_reading(&mut self) {
        self.is_doubtful = true;
        self.meanwhile = Some(BTreeMap::new());
    }

    /// The sums were read with every batch up to `through`. What is to be added to them.
    pub(super) fn were_read(&mut self, through: u64) -> Vec<Arc<T>> {
        self.is_doubtful = false;
        self.through = through;
        self.early.append(&mut self.meanwhile.take().unwrap_or_default());
        self.early = self.early.split_off(&(through + 1));
        self.next_in_order()
    }

    fn next_in_order(&mut self) -> Vec<Arc<T>> {
        let mut next = Vec::new();
        while let Some(added) = self.early.remove(&(self.through + 1)) {
            self.through += 1;
            next.push(added);
        }
        next
    }
}
