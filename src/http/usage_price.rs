//! What a usage log shows of money: the price that was used, and the steps that were billed one by one.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::price::{Price, Rates, usd_per_million};
use crate::domain::usage::Part;

/// A price in USD per million tokens, as the price list has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceView {
    /// The entry of the price list: its glob, or `default`; empty in logs of older versions.
    glob: String,
    /// The ordinary rates.
    #[serde(flatten)]
    rates: RatesView,
    /// Rates of the whole request once its input is larger than `above` tokens; null: there are none.
    #[schema(required)]
    long_context: Option<LongContextView>,
    /// What the cost was multiplied by, and for what: `{"flex": 0.5}`. Empty: by nothing.
    factors: BTreeMap<String, f64>,
}

/// Rates in USD per million tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct RatesView {
    /// Input that no cache class covers.
    input: f64,
    /// Output, reasoning included.
    output: f64,
    /// Input read from the provider's cache.
    cache_read: f64,
    /// Input written to the cache for 5 minutes.
    cache_write: f64,
    /// Input written to the cache for 1 hour.
    cache_write_1h: f64,
}

/// The long-context tier of a price.
#[derive(Debug, Serialize, ToSchema)]
pub struct LongContextView {
    /// It holds for requests with more input tokens than this.
    above: u64,
    /// Its rates.
    #[serde(flatten)]
    rates: RatesView,
}

/// A step that the provider bills by itself.
#[derive(Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names of the API")]
pub struct PartView {
    /// Its model.
    pub model: String,
    /// Every input token of it.
    pub input_tokens: u64,
    /// Every output token of it.
    pub output_tokens: u64,
    /// Part of the input: read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Part of the input: written to the provider's cache for 5 minutes.
    pub cache_write_tokens: u64,
    /// Part of the input: written to the provider's cache for 1 hour.
    pub cache_write_1h_tokens: u64,
    /// Part of the output: spent on reasoning.
    pub reasoning_tokens: u64,
    /// What it cost, in nano-USD.
    pub cost_nanousd: i64,
    /// The price that was used.
    pub price: PriceView,
}

impl From<&Price> for PriceView {
    fn from(price: &Price) -> Self {
        let factor = |millionths: u32| f64::from(millionths) / 1e6;
        Self {
            glob: price.glob.clone(),
            rates: RatesView::from(&price.base),
            long_context: price.long_context.map(|tier| LongContextView {
                above: tier.above_input_tokens,
                rates: RatesView::from(&tier.rates),
            }),
            factors: price.factors.iter().map(|f| (f.name.clone(), factor(f.millionths))).collect(),
        }
    }
}

impl From<&Rates> for RatesView {
    fn from(rates: &Rates) -> Self {
        Self {
            input: usd_per_million(rates.input),
            output: usd_per_million(rates.output),
            cache_read: usd_per_million(rates.cache_read),
            cache_write: usd_per_million(rates.cache_write),
            cache_write_1h: usd_per_million(rates.cache_write_1h),
        }
    }
}

impl From<&Part> for PartView {
    fn from(part: &Part) -> Self {
        Self {
            model: part.model.clone(),
            input_tokens: part.input_tokens,
            output_tokens: part.output_tokens,
            cache_read_tokens: part.cache_read_tokens,
            cache_write_tokens: part.cache_write_tokens,
            cache_write_1h_tokens: part.cache_write_1h_tokens,
            reasoning_tokens: part.reasoning_tokens,
            cost_nanousd: part.cost_nanousd,
            price: PriceView::from(&part.price),
        }
    }
}
