//! What the data plane counts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::failure::Kind;
use crate::domain::provider::Provider;
use crate::domain::usage::{Outcome, TokenSource, UsageRecord};
use crate::telemetry::{Counter, Exposition, Histogram};

/// Models that are told apart where callers choose their names; the rest is `other`.
const MODELS_MAX: usize = 32;
const OTHER: &str = "other";
/// Longest name of a model in a label, bytes.
const MODEL_MAX: usize = 128;

/// Counters of the data plane since the start of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [[Counter; Outcome::ALL.len()]; Provider::ALL.len()],
    refused: [Counter; Kind::ALL.len()],
    refusals_unbooked: Counter,
    input_tokens: Counter,
    output_tokens: Counter,
    cost_nanousd: Counter,
    unmetered: Counter,
    estimated: Counter,
    /// Calls of models that no glob of the price list knows.
    unpriced: Mutex<BTreeMap<String, u64>>,
    duration: Histogram,
    first_byte: Histogram,
}

impl Metrics {
    /// A call came to its end and is in the books.
    pub(super) fn settled(&self, record: &UsageRecord, readable: bool) {
        self.requests[record.provider as usize][record.outcome as usize].increment();
        self.input_tokens.add(record.tokens.input);
        self.output_tokens.add(record.tokens.output);
        self.cost_nanousd.add(u64::try_from(record.cost_nanousd).unwrap_or(0));
        if !readable {
            self.unmetered.increment();
        }
        if record.token_source == TokenSource::Estimated {
            self.estimated.increment();
        }
        if record.tokens.total() > 0 {
            let parts = record.parts.iter().map(|part| (&*part.model, &part.price));
            let whole = record.parts.is_empty().then(|| (&*record.actual_model, &*record.price));
            let unknown = parts.chain(whole).filter(|(_, price)| price.is_default());
            unknown.for_each(|(model, _)| self.unpriced(model));
        }
        self.duration.observe(Duration::from_millis(record.duration_ms));
        if let Some(ttfb) = record.ttfb_ms {
            self.first_byte.observe(Duration::from_millis(ttfb));
        }
    }

    fn unpriced(&self, model: &str) {
        let mut models = self.unpriced.lock().unwrap_or_else(PoisonError::into_inner);
        let name = model.get(..model.floor_char_boundary(MODEL_MAX)).unwrap_or_default();
        let name = if models.len() < MODELS_MAX || models.contains_key(name) { name } else { OTHER };
        *models.entry(name.to_owned()).or_default() += 1;
    }

    /// A call was refused by the gateway itself.
    pub(super) fn refused(&self, kind: Kind) {
        self.refused[kind as usize].increment();
    }

    /// A refusal has a row in the books.
    pub(super) fn refusal_logged(&self, provider: Provider) {
        self.requests[provider as usize][Outcome::Refused as usize].increment();
    }

    /// A refusal has none: its user had too many, or the ledger has no room.
    pub(super) fn refusal_not_logged(&self) {
        self.refusals_unbooked.increment();
    }

    /// Writes them all.
    pub fn expose(&self, to: &mut Exposition) {
        let requests: Vec<_> = Provider::ALL
            .iter()
            .flat_map(|provider| Outcome::ALL.iter().map(move |outcome| (*provider, *outcome)))
            .map(|(provider, outcome)| {
                let labels = [("provider", provider.as_str()), ("outcome", outcome.as_str())];
                (labels, self.requests[provider as usize][outcome as usize].get())
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        to.counters(
            "sproxy_requests_total",
            "Calls on the data plane that are in the books.",
            requests.iter().map(|(labels, count)| (labels.as_slice(), *count)),
        );
        let refused: Vec<_> = Kind::ALL
            .iter()
            .map(|kind| ([("reason", kind.as_str())], self.refused[*kind as usize].get()))
            .collect();
        to.counters(
            "sproxy_refused_total",
            "Calls that the gateway itself refused or could not get an answer for.",
            refused.iter().map(|(labels, count)| (labels.as_slice(), *count)),
        );
        to.counter(
            "sproxy_refusals_unbooked_total",
            "Refusals without a row: their user had many this minute, or the ledger had no room.",
            self.refusals_unbooked.get(),
        );
        to.counters(
            "sproxy_tokens_total",
            "Tokens in the books.",
            [
                (&[("class", "input")] as &[_], self.input_tokens.get()),
                (&[("class", "output")] as &[_], self.output_tokens.get()),
            ],
        );
        to.counter("sproxy_cost_nanousd_total", "Cost in the books, in nano-USD.", self.cost_nanousd.get());
        to.counter(
            "sproxy_unmetered_total",
            "Successful answers that the meter could not read; they are booked without tokens.",
            self.unmetered.get(),
        );
        to.counter("sproxy_estimated_total", "Records whose tokens are an estimate.", self.estimated.get());
        let unpriced = self.unpriced.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let unpriced: Vec<_> =
            unpriced.iter().map(|(model, count)| ([("model", &**model)], *count)).collect();
        to.counters(
            "sproxy_price_unknown_total",
            "Calls of models that the price list does not know, which cost its default.",
            unpriced.iter().map(|(labels, count)| (labels.as_slice(), *count)),
        );
        to.histogram(
            "sproxy_request_duration_seconds",
            "From a call's arrival to its answer's end.",
            &self.duration,
        );
        to.histogram(
            "sproxy_first_byte_seconds",
            "From a call's arrival to the first byte of its answer's body.",
            &self.first_byte,
        );
    }
}
