//! What a target's host has refused as unknown, though the provider's own API takes it: calls are sent without it for a
//! while. Every model knows other things.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::dialect::Unknown;

/// After so long it is tried whether it has become known.
const KEPT: Duration = Duration::from_hours(1);
/// What callers write is bounded.
const REFUSED_MAX: usize = 256;
const ACCEPTED_MAX: usize = 1024;

/// Bounded tables by model.
#[derive(Default)]
pub(super) struct UnknownFields {
    has_any: AtomicBool,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    refused: HashMap<(Arc<str>, Unknown), Instant>,
    /// Betas that calls were answered with.
    accepted: HashSet<(Arc<str>, String)>,
}

impl UnknownFields {
    /// What calls for the model leave out now.
    pub(super) fn of(&self, model: &str, now: Instant) -> Vec<Unknown> {
        if !self.has_any.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let tables = self.tables.lock();
        let of_model = tables.refused.iter().filter(|((of, _), until)| **of == *model && **until > now);
        of_model.map(|((_, unknown), _)| unknown.clone()).collect()
    }

    /// A call was refused for these. Betas that calls were answered with are not meant: some hosts do not say which of
    /// several they do not know. Returns those that are left out from here on and were not before.
    pub(super) fn refused(&self, model: &Arc<str>, unknown: Vec<Unknown>, now: Instant) -> Vec<Unknown> {
        let mut tables = self.tables.lock();
        tables.refused.retain(|_, until| *until > now);
        let mut new = Vec::new();
        let one_only = unknown.len() == 1;
        for unknown in unknown {
            let is_accepted = match &unknown {
                Unknown::Beta(name) => tables.accepted.contains(&(Arc::clone(model), name.clone())),
                Unknown::Field(_) => false,
            };
            let key = (Arc::clone(model), unknown);
            if is_accepted && !one_only
                || tables.refused.contains_key(&key)
                || tables.refused.len() >= REFUSED_MAX
            {
                continue;
            }
            new.push(key.1.clone());
            tables.refused.insert(key, now + KEPT);
        }
        self.has_any.store(!tables.refused.is_empty(), Ordering::Relaxed);
        new
    }

    /// A call with these betas was answered.
    pub(super) fn accepted<'b>(&self, model: &Arc<str>, betas: impl Iterator<Item = &'b str>) {
        let mut tables = self.tables.lock();
        for beta in betas {
            let key = (Arc::clone(model), beta.to_owned());
            if tables.accepted.len() < ACCEPTED_MAX {
                tables.accepted.insert(key);
            }
        }
    }

    /// Another configuration may mean another account.
    pub(super) fn forget(&self) {
        *self.tables.lock() = Tables::default();
        self.has_any.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beta(name: &str) -> Unknown {
        Unknown::Beta(name.to_owned())
    }

    #[test]
    fn what_is_refused_is_left_out_for_that_model_and_for_a_while() {
        let (fields, now) = (UnknownFields::default(), Instant::now());
        let model: Arc<str> = "m".into();
        let field = || vec![Unknown::Field("context_management".to_owned())];
        assert_eq!(fields.of("m", now), []);
        assert_eq!(fields.refused(&model, field(), now), field());
        assert_eq!(fields.of("m", now), field());
        assert_eq!(fields.of("other", now), []);
        // Refused although it was left out: that is no way on.
        assert_eq!(fields.refused(&model, field(), now), []);
        assert_eq!(fields.of("m", now + KEPT), []);
        assert_eq!(fields.refused(&model, field(), now + KEPT), field());
        fields.forget();
        assert_eq!(fields.of("m", now), []);
    }

    #[test]
    fn of_several_betas_those_that_were_answered_are_not_meant() {
        let (fields, now) = (UnknownFields::default(), Instant::now());
        let model: Arc<str> = "m".into();
        fields.accepted(&model, ["a", "b"].into_iter());
        assert_eq!(fields.refused(&model, vec![beta("a"), beta("b"), beta("c")], now), [beta("c")]);
        assert_eq!(
            fields.refused(&model, vec![beta("a")], now),
            [beta("a")],
            "it is meant where it is the only one"
        );
    }

    #[test]
    fn callers_cannot_fill_it() {
        let (fields, now) = (UnknownFields::default(), Instant::now());
        let model: Arc<str> = "m".into();
        for n in 0..2 * ACCEPTED_MAX {
            fields.refused(&model, vec![beta(&n.to_string())], now);
            fields.accepted(&model, std::iter::once(n.to_string().as_str()));
        }
        assert_eq!(fields.of("m", now).len(), REFUSED_MAX);
        assert_eq!(fields.tables.lock().accepted.len(), ACCEPTED_MAX);
    }
}
