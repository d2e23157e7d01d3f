//! Prices and the one function that turns tokens into money.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::domain::model_name::canonical;
use crate::domain::terms::Terms;
use crate::domain::tokens::Tokens;

/// 1 USD per million tokens, in pico-USD per token.
const PICO_PER_TOKEN_OF_USD_PER_MILLION: f64 = 1e6;
const PICO_PER_NANO: i128 = 1_000;
const MILLION: i128 = 1_000_000;
const NANO_PER_USD: u64 = 1_000_000_000;
/// The name of the entry for models that no glob matches.
pub const DEFAULT: &str = "default";

/// Prices per token class, in pico-USD (1e-12 USD) per token: integers, since $0.0375 per million is common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Input tokens that no cache class covers.
    pub input: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Input read from the provider's cache.
    pub cache_read: u64,
    /// Input written to the cache for 5 minutes.
    pub cache_write: u64,
    /// Input written to the cache for 1 hour.
    pub cache_write_1h: u64,
}

/// The price of a model, or the price that was used for a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// The ordinary rates.
    #[serde(flatten)]
    pub base: Rates,
    /// Rates for the whole request once its input is larger than a number of tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_context: Option<LongContext>,
    /// The entry of the price list that this comes from: its glob, or [`DEFAULT`]. Empty: it comes from no list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub glob: String,
    /// Multipliers for the service tier, speed and region of this call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<Factor>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factor {
    /// What it is for: a service tier (`flex`, `priority`, `batch`), a speed (`fast`), a place (`geo_us`).
    pub name: String,
    /// In millionths: 500,000 is half the price.
    pub millionths: u32,
}

/// The long-context tier of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongContext {
    /// The tier holds for requests with more input tokens than this.
    pub above_input_tokens: u64,
    #[serde(flatten)]
    pub rates: Rates,
}

impl Price {
    /// Whether it is the price of models that no glob matches.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.glob == DEFAULT
    }

    /// The long-context tier, if a request of so many tokens is in it.
    #[must_use]
    pub fn long_context_of(&self, tokens: Tokens) -> Option<LongContext> {
        self.long_context.filter(|tier| tokens.input > tier.above_input_tokens)
    }

    /// The cost of `tokens` in nano-USD, rounded half up once per request. Streams, JSON answers and estimates
    /// all come here.
    #[must_use]
    pub fn cost_nanousd(&self, tokens: Tokens) -> i64 {
        let rates = self.long_context_of(tokens).map_or(self.base, |tier| tier.rates);
        let cached =
            tokens.cache_read.saturating_add(tokens.cache_write).saturating_add(tokens.cache_write_1h);
        let classes = [
            (tokens.input.saturating_sub(cached), rates.input),
            (tokens.output, rates.output),
            (tokens.cache_read, rates.cache_read),
            (tokens.cache_write, rates.cache_write),
            (tokens.cache_write_1h, rates.cache_write_1h),
        ];
        let pico = classes
            .into_iter()
            .map(|(count, rate)| i128::from(count).saturating_mul(i128::from(rate)))
            .fold(0_i128, i128::saturating_add);
        let millionths = self
            .factors
            .iter()
            .fold(MILLION, |all, factor| all.saturating_mul(i128::from(factor.millionths)) / MILLION);
        let (cost, unit) = (pico.saturating_mul(millionths), PICO_PER_NANO * MILLION);
        i64::try_from(cost.saturating_add(unit / 2) / unit).unwrap_or(i64::MAX)
    }
}

/// USD per million tokens as pico-USD per token; `None` for what is no price (negative, not finite, absurd).
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to lie within 0 and 1e15 just above"
)]
pub fn pico_per_token(usd_per_million: f64) -> Option<u64> {
    let pico = (usd_per_million * PICO_PER_TOKEN_OF_USD_PER_MILLION).round();
    (pico.is_finite() && (0.0..=1e15).contains(&pico)).then_some(pico as u64)
}

/// The inverse, for people.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "at most 1e15")]
pub fn usd_per_million(pico_per_token: u64) -> f64 {
    pico_per_token as f64 / PICO_PER_TOKEN_OF_USD_PER_MILLION
}

/// Nano-USD as USD: an exact decimal number with as many decimals as it takes, 9 at most.
#[must_use]
pub fn usd_text(nanousd: i64) -> String {
    let sign = if nanousd < 0 { "-" } else { "" };
    let (whole, rest) = (nanousd.unsigned_abs() / NANO_PER_USD, nanousd.unsigned_abs() % NANO_PER_USD);
    let text = format!("{sign}{whole}.{rest:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Where an entry of the price list was written. What somebody writes beats what came with the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// In the configuration.
    File,
    /// In the list that comes with the binary.
    BuiltIn,
}

impl Source {
    /// `file` or `built-in`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::BuiltIn => "built-in",
        }
    }
}

/// An entry of the price list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it costs; its glob is the entry's, it has no factors.
    pub price: Arc<Price>,
    pub multipliers: Vec<Factor>,
    /// Where it was written.
    pub source: Source,
}

impl Entry {
    /// The glob over model names, or [`DEFAULT`].
    #[must_use]
    pub fn glob(&self) -> &str {
        &self.price.glob
    }

    /// The price of a call that was served with these terms.
    #[must_use]
    pub fn price_for(&self, terms: &Terms) -> Arc<Price> {
        if terms.is_empty() || self.multipliers.is_empty() {
            return Arc::clone(&self.price);
        }
        let holds = |factor: &&Factor| terms.names().any(|name| name == factor.name);
        let factors: Vec<_> = self.multipliers.iter().filter(holds).cloned().collect();
        if factors.is_empty() {
            return Arc::clone(&self.price);
        }
        Arc::new(Price { factors, ..(*self.price).clone() })
    }
}

/// The number of literal characters of a glob, then the fewest wildcards.
pub(crate) fn specificity(glob: &str) -> (usize, std::cmp::Reverse<usize>) {
    let wild = glob.bytes().filter(|byte| matches!(byte, b'*' | b'?')).count();
    (glob.len() - wild, std::cmp::Reverse(wild))
}

/// The price list: globs over model names, the most specific first, and a default for what no glob knows.
#[derive(Clone, Debug)]
pub struct PriceList {
    globs: GlobSet,
    entries: Vec<Entry>,
    default: Entry,
    lookups: LookupCache,
}

/// The index of the entry for each name that was looked up: every answer asks, mostly for the same few names.
#[derive(Clone, Debug, Default)]
struct LookupCache(Arc<RwLock<EntryIndexes>>);

type EntryIndexes = HashMap<Box<str>, Option<usize>, RandomState>;

impl LookupCache {
    /// Names kept, and how long they may be; the cache is emptied when it is full, since callers may make up any number.
    const MAX: usize = 1_024;
    const NAME_MAX: usize = 128;

    fn get_or(&self, model: &str, find: impl FnOnce() -> Option<usize>) -> Option<usize> {
        if let Some(found) = self.0.read().get(model) {
            return *found;
        }
        let found = find();
        if model.len() > Self::NAME_MAX {
            return found;
        }
        let mut all = self.0.write();
        if all.len() >= Self::MAX {
            all.clear();
        }
        all.insert(model.into(), found);
        found
    }
}

impl PriceList {
    /// A list of these entries. The most specific glob that fits decides: the one with the most literal characters,
    /// of those the one with the fewest wildcards. Of two equal ones the configured one wins.
    ///
    /// # Errors
    /// The glob that cannot be read, with the reason.
    pub fn new(mut entries: Vec<Entry>, default: Entry) -> Result<Self, globset::Error> {
        entries
            .sort_by(|a, b| specificity(b.glob()).cmp(&specificity(a.glob())).then(a.source.cmp(&b.source)));
        let mut seen = HashSet::new();
        entries.retain(|entry| seen.insert(entry.glob().to_owned()));
        let mut globs = GlobSetBuilder::new();
        for entry in &entries {
            globs.add(GlobBuilder::new(entry.glob()).build()?);
        }
        Ok(Self { globs: globs.build()?, entries, default, lookups: LookupCache::default() })
    }

    /// A list by which every model costs the same.
    #[must_use]
    pub fn flat(default: Entry) -> Self {
        Self { globs: GlobSet::empty(), entries: Vec::new(), default, lookups: LookupCache::default() }
    }

    /// The entries that can hold for a model, the most specific first, the default last. An entry of the binary's that
    /// is replaced by one of the configuration's is not among them.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().chain([&self.default])
    }

    /// The entry of `model`, if a glob knows it as it is written, or by the name that its maker gives to it.
    #[must_use]
    pub fn known(&self, model: &str) -> Option<&Entry> {
        let found = self.lookups.get_or(model, || {
            let canonical = canonical(model);
            let best = self.globs.matches(model).into_iter().min();
            if canonical == model {
                return best;
            }
            self.globs.matches(&*canonical).into_iter().chain(best).min()
        });
        self.entries.get(found?)
    }

    /// The entry of `model`; an unknown model costs the configured default, never 0.
    #[must_use]
    pub fn find(&self, model: &str) -> &Entry {
        self.known(model).unwrap_or(&self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(input: f64, output: f64) -> Price {
        let rate = |usd| pico_per_token(usd).expect("a price");
        Price {
            base: Rates {
                input: rate(input),
                output: rate(output),
                cache_read: rate(input / 10.0),
                cache_write: rate(input * 1.25),
                cache_write_1h: rate(input * 2.0),
            },
            ..Price::default()
        }
    }

    fn entry(glob: &str, price: Price, source: Source) -> Entry {
        let half = Factor { name: "flex".to_owned(), millionths: 500_000 };
        Entry { price: Arc::new(Price { glob: glob.to_owned(), ..price }), multipliers: vec![half], source }
    }

    #[test]
    fn cached_tokens_are_part_of_the_input_and_charged_once() {
        let tokens = Tokens {
            input: 1_000,
            output: 100,
            cache_read: 600,
            cache_write: 200,
            cache_write_1h: 100,
            reasoning: 50,
        };
        // 100 plain at $3, 600 read at $0.30, 200 written at $3.75, 100 at $6, 100 out at $15 per million
        assert_eq!(usd(3.0, 15.0).cost_nanousd(tokens), 300_000 + 180_000 + 750_000 + 600_000 + 1_500_000);
    }

    #[test]
    fn fractions_of_a_nano_are_rounded_half_up_once() {
        let price = usd(0.0375, 0.0);
        assert_eq!(price.cost_nanousd(Tokens { input: 1, ..Tokens::default() }), 38);
        assert_eq!(price.cost_nanousd(Tokens { input: 2, ..Tokens::default() }), 75);
    }

    #[test]
    fn a_long_request_is_charged_wholly_at_the_long_context_rates() {
        let long = LongContext { above_input_tokens: 200_000, rates: usd(6.0, 22.5).base };
        let price = Price { long_context: Some(long), ..usd(3.0, 15.0) };
        assert_eq!(price.cost_nanousd(Tokens { input: 200_000, ..Tokens::default() }), 600_000_000);
        assert_eq!(price.cost_nanousd(Tokens { input: 200_001, ..Tokens::default() }), 1_200_006_000);
    }

    #[test]
    fn the_most_specific_glob_decides_and_an_unknown_model_is_never_free() {
        let list = [
            ("gpt-5*", 1.0, Source::BuiltIn),
            ("gpt-5-mini*", 2.0, Source::BuiltIn),
            ("gpt-4.1*", 6.0, Source::BuiltIn),
            ("claude-opus-4-1*", 7.0, Source::BuiltIn),
            ("o3*-x*", 4.0, Source::BuiltIn),
            ("o3-x*", 5.0, Source::BuiltIn),
            ("gpt-5*", 3.0, Source::File),
            ("*", 8.0, Source::File),
            ("acme/gpt-5-mini", 10.0, Source::File),
        ]
        .map(|(glob, rate, source)| entry(glob, usd(rate, rate), source));
        let list =
            PriceList::new(list.into(), entry(DEFAULT, usd(9.0, 9.0), Source::BuiltIn)).expect("globs");
        for (model, rate, glob) in [
            ("gpt-5.1", 3.0, "gpt-5*"),
            ("gpt-5-mini-2026", 2.0, "gpt-5-mini*"),
            ("openai/gpt-5-mini", 2.0, "gpt-5-mini*"),
            ("acme/gpt-5-mini", 10.0, "acme/gpt-5-mini"),
            ("us.anthropic.claude-opus-4-1-v1:0", 7.0, "claude-opus-4-1*"),
            ("anthropic/claude-opus-4.1", 7.0, "claude-opus-4-1*"),
            ("gpt-4-1106-preview", 8.0, "*"),
            ("o3-x-2026", 5.0, "o3-x*"),
            ("o3.1-x", 4.0, "o3*-x*"),
        ] {
            let found = list.find(model);
            assert_eq!((found.price.base, found.glob()), (usd(rate, rate).base, glob), "{model}");
        }
        assert_eq!(list.entries().count(), 9, "what is replaced is gone, and the default is there");
        let empty = PriceList::flat(entry(DEFAULT, usd(9.0, 9.0), Source::BuiltIn));
        assert!(empty.known("something-else").is_none() && empty.find("something-else").price.is_default());
    }

    #[test]
    fn terms_multiply_the_whole_cost_once_rounded() {
        let entry = Entry {
            multipliers: [("flex", 500_000), ("geo_us", 1_100_000)]
                .map(|(name, millionths)| Factor { name: name.to_owned(), millionths })
                .into(),
            ..entry("m", usd(3.0, 15.0), Source::File)
        };
        let tokens = Tokens { input: 1_000, output: 100, ..Tokens::default() };
        let mut terms = Terms::default();
        assert_eq!(entry.price_for(&terms).cost_nanousd(tokens), 4_500_000);
        terms.set(crate::domain::terms::Term::ServiceTier, "default");
        assert!(entry.price_for(&terms).factors.is_empty());
        terms.set(crate::domain::terms::Term::ServiceTier, "flex");
        assert_eq!(entry.price_for(&terms).cost_nanousd(tokens), 2_250_000);
        terms.set(crate::domain::terms::Term::InferenceGeo, "us");
        let price = entry.price_for(&terms);
        assert_eq!((price.cost_nanousd(tokens), price.factors.len()), (2_475_000, 2));
    }

    #[test]
    fn money_is_written_as_an_exact_decimal_number() {
        for (nano, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (23_238_000, "0.023238"),
            (10_000_000_000, "10"),
            (-1_500_000_000, "-1.5"),
            (i64::MAX, "9223372036.854775807"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(usd_text(nano), text);
        }
    }

    #[test]
    fn absurd_numbers_neither_overflow_nor_panic() {
        let most = Tokens { input: u64::MAX, output: u64::MAX, cache_read: u64::MAX, ..Tokens::default() };
        assert_eq!(usd(1e8, 1e8).cost_nanousd(most), i64::MAX);
        assert!(pico_per_token(-1.0).is_none() && pico_per_token(f64::NAN).is_none());
    }
}
