//! Prices and the one function that turns tokens into money.

use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use crate::domain::tokens::Tokens;

/// 1 USD per million tokens, in pico-USD per token.
const PICO_PER_TOKEN_OF_USD_PER_MILLION: f64 = 1e6;
const PICO_PER_NANO: i128 = 1_000;

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

/// What a model costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// The ordinary rates.
    #[serde(flatten)]
    pub base: Rates,
    /// Rates for the whole request once its input is larger than a number of tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_context: Option<LongContext>,
}

/// The long-context tier of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongContext {
    /// The tier holds for requests with more input tokens than this.
    pub above_input_tokens: u64,
    /// Its rates.
    #[serde(flatten)]
    pub rates: Rates,
}

impl Price {
    /// The cost of `tokens` in nano-USD, rounded half up once per request. Streams, JSON answers, estimates and
    /// reservations all come here.
    #[must_use]
    pub fn cost_nanousd(&self, tokens: Tokens) -> i64 {
        let rates = match self.long_context {
            Some(tier) if tokens.input > tier.above_input_tokens => tier.rates,
            _ => self.base,
        };
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
        i64::try_from(pico.saturating_add(PICO_PER_NANO / 2) / PICO_PER_NANO).unwrap_or(i64::MAX)
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

/// The price list: globs over model names, the most specific first, and a default for what no glob knows.
#[derive(Clone, Debug)]
pub struct PriceList {
    globs: GlobSet,
    prices: Vec<Arc<Price>>,
    fallback: Arc<Price>,
}

impl PriceList {
    /// A list from layers of `(glob, price)` pairs. Any glob of a later layer that fits a model beats those of earlier
    /// ones: what somebody writes holds, however exact the list is that came with the binary. Within a layer the glob
    /// with the most literal characters decides.
    ///
    /// # Errors
    /// The glob that cannot be read, with the reason.
    pub fn new(
        layers: impl DoubleEndedIterator<Item = Vec<(String, Price)>>,
        fallback: Price,
    ) -> Result<Self, globset::Error> {
        let mut ranked = Vec::new();
        for mut layer in layers.rev() {
            layer.sort_by_key(|(glob, _)| {
                std::cmp::Reverse(glob.bytes().filter(|b| !matches!(b, b'*' | b'?')).count())
            });
            ranked.extend(layer);
        }
        let mut globs = GlobSetBuilder::new();
        for (glob, _) in &ranked {
            globs.add(GlobBuilder::new(glob).build()?);
        }
        Ok(Self {
            globs: globs.build()?,
            prices: ranked.into_iter().map(|(_, price)| Arc::new(price)).collect(),
            fallback: Arc::new(fallback),
        })
    }

    /// A list by which every model costs the same.
    #[must_use]
    pub fn flat(price: Price) -> Self {
        Self { globs: GlobSet::empty(), prices: Vec::new(), fallback: Arc::new(price) }
    }

    /// The price of `model`, if a glob knows it.
    #[must_use]
    pub fn known(&self, model: &str) -> Option<Arc<Price>> {
        let best = self.globs.matches(model).into_iter().min();
        best.and_then(|at| self.prices.get(at)).cloned()
    }

    /// The price of `model`; an unknown model costs the configured default, never 0.
    #[must_use]
    pub fn find(&self, model: &str) -> Arc<Price> {
        self.known(model).unwrap_or_else(|| Arc::clone(&self.fallback))
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
            long_context: None,
        }
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
        let built_in = vec![
            ("gpt-5*".to_owned(), usd(1.0, 1.0)),
            ("gpt-5-mini*".to_owned(), usd(2.0, 2.0)),
            ("o3*".to_owned(), usd(4.0, 4.0)),
            ("o3-pro*".to_owned(), usd(5.0, 5.0)),
        ];
        let written = vec![("gpt-5*".to_owned(), usd(3.0, 3.0))];
        let list = PriceList::new([built_in, written].into_iter(), usd(9.0, 9.0)).expect("globs");
        assert_eq!(*list.find("gpt-5.1"), usd(3.0, 3.0));
        assert_eq!(*list.find("gpt-5-mini-2026"), usd(3.0, 3.0), "what is written beats what is built in");
        assert_eq!(*list.find("o3-pro-2026"), usd(5.0, 5.0));
        assert_eq!(*list.find("something-else"), usd(9.0, 9.0));
    }

    #[test]
    fn absurd_numbers_neither_overflow_nor_panic() {
        let most = Tokens { input: u64::MAX, output: u64::MAX, cache_read: u64::MAX, ..Tokens::default() };
        assert_eq!(usd(1e8, 1e8).cost_nanousd(most), i64::MAX);
        assert!(pico_per_token(-1.0).is_none() && pico_per_token(f64::NAN).is_none());
    }
}
