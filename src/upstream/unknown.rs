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
    refused: HashMap<(Arc<str>, Refused), Instant>,
    /// Betas that calls were answered with.
    accepted: HashSet<(Arc<str>, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Refused {
    This(Unknown),
    /// Some of these betas, and it was not said which. It says nothing about calls with others: nobody is to have them
    /// taken from everybody by sending them along with one that nobody knows.
    SomeOf(Vec<String>),
}

impl Tables {
    fn is_accepted(&self, model: &Arc<str>, beta: &str) -> bool {
        self.accepted.contains(&(Arc::clone(model), beta.to_owned()))
    }

    /// Those betas that may be meant: no call was answered with them, unless that is so of all.
    fn suspects<'b>(&self, model: &Arc<str>, betas: &[&'b str]) -> Vec<&'b str> {
        let suspects: Vec<_> = betas.iter().filter(|beta| !self.is_accepted(model, beta)).copied().collect();
        if suspects.is_empty() { betas.to_vec() } else { suspects }
    }
}

fn list(betas: &[&str]) -> Vec<String> {
    let mut list: Vec<String> = betas.iter().map(|beta| (*beta).to_owned()).collect();
    list.sort_unstable();
    list
}

impl UnknownFields {
    /// What calls for the model with these betas leave out now, by name.
    pub(super) fn of(&self, model: &Arc<str>, betas: &[&str], now: Instant) -> Vec<Unknown> {
        if !self.has_any.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let tables = self.tables.lock();
        let of_model = tables.refused.iter().filter(|((of, _), until)| of == model && **until > now);
        let own = list(betas);
        let mut left_out = Vec::new();
        for ((_, refused), _) in of_model {
            match refused {
                Refused::This(unknown) => left_out.push(unknown.clone()),
                Refused::SomeOf(listed) if *listed == own => {
                    let suspects = tables.suspects(model, betas).into_iter();
                    left_out.extend(suspects.map(|beta| Unknown::Beta(beta.to_owned())));
                }
                Refused::SomeOf(_) => {}
            }
        }
        left_out
    }

    /// A call with these betas was refused for what is `unknown`. False if nothing follows from it that did not before.
    pub(super) fn refused(
        &self,
        model: &Arc<str>,
        unknown: Vec<Unknown>,
        betas: &[&str],
        now: Instant,
    ) -> bool {
        let mut tables = self.tables.lock();
        tables.refused.retain(|_, until| *until > now);
        let mut is_news = false;
        for unknown in unknown {
            let refused = match unknown {
                Unknown::SomeBeta => match tables.suspects(model, betas)[..] {
                    [one] => Refused::This(Unknown::Beta(one.to_owned())),
                    _ => Refused::SomeOf(list(betas)),
                },
                named => Refused::This(named),
            };
            let key = (Arc::clone(model), refused);
            if !tables.refused.contains_key(&key) && tables.refused.len() < REFUSED_MAX {
                tables.refused.insert(key, now + KEPT);
                is_news = true;
            }
        }
        self.has_any.store(!tables.refused.is_empty(), Ordering::Relaxed);
        is_news
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

    fn model() -> Arc<str> {
        "m".into()
    }

    #[test]
    fn what_is_refused_is_left_out_for_that_model_and_for_a_while() {
        let (fields, now) = (UnknownFields::default(), Instant::now());
        let field = || vec![Unknown::Field("context_management".to_owned())];
        assert_eq!(fields.of(&model(), &[], now), []);
        assert!(fields.refused(&model(), field(), &[], now));
        assert_eq!(fields.of(&model(), &["a"], now), field());
        assert_eq!(fields.of(&"other".into(), &[], now), []);
        assert!(
            !fields.refused(&model(), field(), &[], now),
            "refused although it was left out: that is no way on"
        );
        assert_eq!(fields.of(&model(), &[], now + KEPT), []);
        assert!(fields.refused(&model(), field(), &[], now + KEPT));
        fields.forget();
        assert_eq!(fields.of(&model(), &[], now), []);
    }

    #[test]
    fn of_several_betas_those_that_were_answered_are_not_meant() {
        let (fields, now) = (UnknownFields::default(), Instant::now());
        fields.accepted(&model(), ["a", "b"].into_iter());
        assert!(fields.refused(&model(), vec![Unknown::SomeBeta], &["a", "b", "c"], now));
        assert_eq!(fields.of(&model(), &["c"], now), [beta("c")], "it can only be this one");
        assert!(fields.refused(&model(), vec![Unknown::SomeBeta], &["a"], now));
        assert!(
            fields.of(&model(), &["a"], now).contains(&beta("a")),
            "it is meant where it is the only one"
        );
    }

    #[test]
    fn nobody_takes_a_beta_from_others_by_sending_it_with_one_that_is_not_known() {
        let (fields, now) = (UnknownFields::default(), Instant::now());
        assert!(fields.refused(&model(), vec![Unknown::SomeBeta], &["good", "bogus"], now));
        assert_eq!(fields.of(&model(), &["bogus", "good"], now), [beta("bogus"), beta("good")]);
        assert_eq!(fields.of(&model(), &["good"], now), []);
        fields.accepted(&model(), ["good"].into_iter());
        assert_eq!(fields.of(&model(), &["bogus", "good"], now), [beta("bogus")], "more is known by now");
    }

    #[test]
    fn callers_cannot_fill_it() {
        let (fields, now) = (UnknownFields::default(), Instant::now());
        for n in 0..2 * ACCEPTED_MAX {
            fields.refused(&model(), vec![beta(&n.to_string())], &[], now);
            fields.accepted(&model(), std::iter::once(n.to_string().as_str()));
        }
        assert_eq!(fields.of(&model(), &[], now).len(), REFUSED_MAX);
        assert_eq!(fields.tables.lock().accepted.len(), ACCEPTED_MAX);
    }
}
