//! On which terms a provider serves a call, as far as that changes its price.

use std::borrow::Cow;

/// A property of how a call is served, for which providers charge differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// `service_tier`: `flex`, `priority`, `batch`, …
    ServiceTier,
    /// `speed`: `fast`.
    Speed,
    /// `inference_geo`: `us`.
    InferenceGeo,
}

/// The terms of a call; `None` where one was not stated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms([Option<Cow<'static, str>>; 3]);

/// Values that are stored without allocating.
const COMMON: [&str; 10] =
    ["default", "standard", "auto", "standard_only", "flex", "priority", "batch", "fast", "us", "global"];
/// Longest value that is kept; every known one is shorter.
const WORD_MAX: usize = 32;

impl Terms {
    /// Sets a term; true if it has changed.
    pub fn set(&mut self, term: Term, word: &str) -> bool {
        let Some(slot) = self.0.get_mut(term as usize) else { return false };
        if slot.as_deref() == Some(word) || word.len() > WORD_MAX {
            return false;
        }
        let common = COMMON.into_iter().find(|common| *common == word);
        *slot = Some(common.map_or_else(|| Cow::Owned(word.to_owned()), Cow::Borrowed));
        true
    }

    /// The terms of `self`, and where one is not stated, of `other`: an answer knows better than its request.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        let mut terms = self;
        for (slot, other) in terms.0.iter_mut().zip(&other.0) {
            if slot.is_none() {
                slot.clone_from(other);
            }
        }
        terms
    }

    /// No term is stated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The names by which a price list may have multipliers for these terms.
    pub fn names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let word = |term: Term| self.0.get(term as usize).and_then(Option::as_deref);
        // OpenAI answers `priority` whether that or `fast` was asked for.
        let tier = word(Term::ServiceTier).map(|tier| if tier == "fast" { "priority" } else { tier });
        let speed = word(Term::Speed).map(Cow::Borrowed);
        let geo = word(Term::InferenceGeo).map(|geo| Cow::Owned(["geo_", geo].concat()));
        [tier.map(Cow::Borrowed), speed, geo].into_iter().flatten()
    }
}
