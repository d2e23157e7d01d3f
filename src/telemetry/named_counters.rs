//! Counters by names that are met while counting, of a bounded number of names: models, fields, users. Counting for a
//! name that is known takes no lock and allocates nothing.

use std::array;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// The name that stands for all that have no counters of their own.
pub const OTHER: &str = "other";

/// Longest name, bytes; what is longer is cut.
const NAME_MAX: usize = 128;

/// `N` counters for each name. Cheap to clone: clones count together.
#[derive(Clone, Debug)]
pub struct NamedCounters<const N: usize>(Arc<Inner<N>>);

type Names<const N: usize> = HashMap<Arc<str>, Arc<[AtomicU64; N]>, RandomState>;

#[derive(Debug)]
struct Inner<const N: usize> {
    max: usize,
    names: ArcSwap<Names<N>>,
    adding: Mutex<()>,
}

impl<const N: usize> NamedCounters<N> {
    /// Counters for so many names, and for [`OTHER`].
    #[must_use]
    pub fn of_at_most(max: usize) -> Self {
        Self(Arc::new(Inner { max, names: ArcSwap::default(), adding: Mutex::new(()) }))
    }

    /// Adds to the counters of `name`.
    pub fn add(&self, name: &str, by: [u64; N]) {
        let name = name.get(..name.floor_char_boundary(NAME_MAX)).unwrap_or_default();
        let names = self.0.names.load();
        match names.get(name) {
            Some(counters) => add(counters, by),
            None => add(&self.counters_of(name), by),
        }
    }

    /// What was counted so far, by name.
    #[must_use]
    pub fn now(&self) -> Vec<(Arc<str>, [u64; N])> {
        let names = self.0.names.load();
        let counted = |counters: &[AtomicU64; N]| {
            array::from_fn(|at| counters.get(at).map_or(0, |counter| counter.load(Ordering::Relaxed)))
        };
        let mut all: Vec<_> =
            names.iter().map(|(name, counters)| (Arc::clone(name), counted(counters))).collect();
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    fn counters_of(&self, name: &str) -> Arc<[AtomicU64; N]> {
        let _one_at_a_time = self.0.adding.lock();
        let names = self.0.names.load();
        let is_full = names.len() - usize::from(names.contains_key(OTHER)) >= self.0.max;
        let name = if is_full && !names.contains_key(name) { OTHER } else { name };
        if let Some(counters) = names.get(name) {
            return Arc::clone(counters);
        }
        let counters: Arc<[AtomicU64; N]> = Arc::new(array::from_fn(|_| AtomicU64::new(0)));
        let mut more = Names::clone(&names);
        more.insert(name.into(), Arc::clone(&counters));
        self.0.names.store(Arc::new(more));
        counters
    }
}

fn add<const N: usize>(counters: &[AtomicU64; N], by: [u64; N]) {
    for (counter, by) in counters.iter().zip(by) {
        if by > 0 {
            counter.fetch_add(by, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_a_number_share_their_counters() {
        let counters = NamedCounters::of_at_most(32);
        for number in 0..100 {
            counters.add(&format!("model-{number}"), [1, 2]);
        }
        counters.add("model-0", [1, 0]);
        counters.add("other", [5, 0]);
        let now = counters.now();
        let of = |name: &str| now.iter().find(|(known, _)| **known == *name).map(|(_, counts)| *counts);
        assert_eq!((now.len(), of("model-0"), of(OTHER)), (33, Some([2, 2]), Some([73, 136])));
        assert_eq!(of("model-99"), None);
    }

    #[test]
    fn a_name_that_is_added_by_several_at_once_has_one_counter() {
        let counters = NamedCounters::<1>::of_at_most(8);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|n| counters.add(["a", "b", "c"][n % 3], [1])));
            }
        });
        let sum: u64 = counters.now().iter().map(|(_, [count])| count).sum();
        assert_eq!((sum, counters.now().len()), (4_000, 3));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let counters = NamedCounters::<1>::of_at_most(8);
        counters.add(&"é".repeat(100), [1]);
        assert_eq!(counters.now()[0].0.len(), 128);
    }
}
