//! Which of a node's batches are in its sums.
//!
//! The database numbers a node's batches without a gap, in the order of their commits. So a number that is missing is a
//! batch that was committed and of which nobody heard: its answer got lost on the way from the database. Then, and
//! only then, the sums are read from the database again.

use std::collections::BTreeMap;
use std::sync::Arc;

/// So many batches wait for one with a lower number; more are left to the database, which has them all.
const OUT_OF_ORDER_MAX: usize = 64;

/// How far a node's sums go; `T` is what one batch adds to them.
#[derive(Debug)]
pub(super) struct Batches<T> {
    /// Every batch up to this one is in the sums.
    through: u64,
    /// What came before a batch with a lower number.
    out_of_order: BTreeMap<u64, Arc<T>>,
    /// What came while the sums were being read, whether or not they have it.
    during_reload: Option<BTreeMap<u64, Arc<T>>>,
    is_invalid: bool,
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Self { through: 0, out_of_order: BTreeMap::new(), during_reload: None, is_invalid: false }
    }
}

impl<T> Batches<T> {
    /// Batch `number` is committed. What is to be added to the sums now: nothing, while one before it is missing.
    pub(super) fn committed(&mut self, number: u64, added: Arc<T>) -> Vec<Arc<T>> {
        if let Some(during_reload) = &mut self.during_reload {
            during_reload.insert(number, Arc::clone(&added));
        }
        if number <= self.through {
            // Either the sums were read with it, or the database holds fewer batches than it did.
            self.is_invalid = true;
            return Vec::new();
        }
        self.out_of_order.insert(number, added);
        let next = self.next_in_order();
        if self.out_of_order.len() > OUT_OF_ORDER_MAX {
            self.out_of_order.clear();
            self.is_invalid = true;
        }
        next
    }

    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// Something may be committed that nobody heard of.
    pub(super) fn invalidate(&mut self) {
        self.is_invalid = true;
    }

    /// The sums have to be read from the database.
    pub(super) fn are_invalid(&self) -> bool {
        self.is_invalid || !self.out_of_order.is_empty()
    }

    /// The sums are about to be read.
    pub(super) fn begin_reload(&mut self) {
        self.is_invalid = true;
        self.during_reload = Some(BTreeMap::new());
    }

    /// The sums were read with every batch up to `through`. What is to be added to them.
    pub(super) fn reloaded(&mut self, through: u64) -> Vec<Arc<T>> {
        self.is_invalid = false;
        self.through = through;
        self.out_of_order.append(&mut self.during_reload.take().unwrap_or_default());
        self.out_of_order = self.out_of_order.split_off(&(through + 1));
        self.next_in_order()
    }

    fn next_in_order(&mut self) -> Vec<Arc<T>> {
        let mut next = Vec::new();
        while let Some(added) = self.out_of_order.remove(&(self.through + 1)) {
            self.through += 1;
            next.push(added);
        }
        next
    }
}
