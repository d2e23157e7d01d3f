//! What the mock has answered completely, so that a test can compare books.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

/// Sums of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Successful answers.
    pub requests: u64,
    /// Their input tokens, cached ones included.
    pub input: u64,
    /// Their output tokens.
    pub output: u64,
    /// Error answers; they have no tokens.
    pub errors: u64,
}

#[derive(Clone, Debug)]
pub struct ServedAnswer {
    pub model: Arc<str>,
    /// Its contribution to the sums.
    pub sums: Sums,
}

/// Everything answered completely, per model.
#[derive(Debug, Default)]
pub struct ServedTotals(Mutex<BTreeMap<Arc<str>, Sums>>);

impl ServedTotals {
    pub fn per_model(&self) -> BTreeMap<Arc<str>, Sums> {
        let mut models = self.0.lock().clone();
        models.retain(|_, sums| *sums != Sums::default());
        models
    }

    pub fn add(&self, served: &ServedAnswer) {
        self.change(served, u64::saturating_add);
    }

    /// Takes back what was added.
    pub fn remove(&self, served: &ServedAnswer) {
        self.change(served, u64::saturating_sub);
    }

    fn change(&self, served: &ServedAnswer, change: impl Fn(u64, u64) -> u64) {
        let mut served_totals = self.0.lock();
        let sums = served_totals.entry(served.model.clone()).or_default();
        sums.requests = change(sums.requests, served.sums.requests);
        sums.input = change(sums.input, served.sums.input);
        sums.output = change(sums.output, served.sums.output);
        sums.errors = change(sums.errors, served.sums.errors);
    }
}
