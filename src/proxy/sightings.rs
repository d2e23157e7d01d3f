//! What of the calls an operator is to be told of, until somebody asks: answers that the meter could not read, and models that
//! the price list does not know. Both are rare, or wrong; a call that is neither costs nothing here.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::plain_name::{OTHER, plain_name};

/// Names that are told apart, for callers choose them; the rest is [`OTHER`].
const NAMES_MAX: usize = 32;

/// Counts by name since they were last taken. Cheap to clone: clones count together.
#[derive(Clone, Debug, Default)]
pub struct Sightings(Arc<Mutex<Seen>>);

/// What was seen, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Successful answers that the meter could not read, by target and model.
    pub unmetered: BTreeMap<(String, String), u64>,
    /// Calls of models that the price list does not know, by model.
    pub unpriced: BTreeMap<String, u64>,
}

impl Sightings {
    pub(super) fn unmetered(&self, target: &str, model: &str) {
        count(&mut self.0.lock().unmetered, (target.to_owned(), told(model)), |(target, _)| {
            (target, OTHER.to_owned())
        });
    }

    pub(super) fn unpriced(&self, model: &str) {
        count(&mut self.0.lock().unpriced, told(model), |_| OTHER.to_owned());
    }

    /// What was seen since the last call.
    #[must_use]
    pub fn take(&self) -> Seen {
        std::mem::take(&mut *self.0.lock())
    }
}

fn told(model: &str) -> String {
    (if model.is_empty() { OTHER } else { plain_name(model) }).to_owned()
}

/// Targets are the operator's: with a row of their own for what is too much, the number of rows is bounded all the same.
fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, other: impl FnOnce(K) -> K) {
    let key = if counts.len() < NAMES_MAX || counts.contains_key(&key) { key } else { other(key) };
    *counts.entry(key).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_callers_make_up_are_bounded_and_none_is_told_that_is_no_name() {
        let sightings = Sightings::default();
        for number in 0..100 {
            sightings.unpriced(&format!("model-{number}"));
            sightings.unmetered("t", &format!("model-{number}"));
        }
        sightings.unpriced("sk-ant-api03-secret");
        let seen = sightings.take();
        assert_eq!((seen.unpriced.len(), seen.unpriced[OTHER]), (NAMES_MAX + 1, 69));
        assert_eq!(seen.unmetered[&("t".to_owned(), OTHER.to_owned())], 68);
        assert_eq!(sightings.take(), Seen::default(), "it is told once");
    }
}
