//! A part of a record: a step of the answer that the provider bills by itself, at its own model's price.

use serde::{Deserialize, Serialize};

use crate::domain::price::Price;
use crate::domain::tokens::Tokens;

/// What one step used. The fields are those of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "the names of the columns")]
pub struct Part {
    pub model: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Part of the input.
    pub cache_read_tokens: u64,
    /// Part of the input.
    pub cache_write_tokens: u64,
    /// Part of the input.
    pub cache_write_1h_tokens: u64,
    /// Part of the output.
    pub reasoning_tokens: u64,
    /// What it cost, in nano-USD.
    pub cost_nanousd: i64,
    /// The price that was used.
    pub price: Price,
}

impl Part {
    /// `tokens` of `model` at `price`.
    #[must_use]
    pub fn new(model: &str, tokens: Tokens, price: &Price) -> Self {
        Self {
            model: model.to_owned(),
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cache_read_tokens: tokens.cache_read,
            cache_write_tokens: tokens.cache_write,
            cache_write_1h_tokens: tokens.cache_write_1h,
            reasoning_tokens: tokens.reasoning,
            cost_nanousd: price.cost_nanousd(tokens),
            price: price.clone(),
        }
    }

    #[must_use]
    pub fn tokens(&self) -> Tokens {
        Tokens {
            input: self.input_tokens,
            output: self.output_tokens,
            cache_read: self.cache_read_tokens,
            cache_write: self.cache_write_tokens,
            cache_write_1h: self.cache_write_1h_tokens,
            reasoning: self.reasoning_tokens,
        }
    }
}
