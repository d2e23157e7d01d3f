//! Token counts, in the classes that providers price, and what stands for them where nobody says.

use serde::{Deserialize, Serialize};

/// Token counts of one request. `cache_read`, `cache_write` and `cache_write_1h` are disjoint parts of
/// `input`; `reasoning` is part of `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Every input token the provider charges for, cached ones included.
    pub input: u64,
    /// Every output token, reasoning included.
    pub output: u64,
    /// Input tokens read from the provider's cache.
    pub cache_read: u64,
    /// Input tokens written to the provider's cache for 5 minutes.
    pub cache_write: u64,
    /// Input tokens written to the provider's cache for 1 hour.
    pub cache_write_1h: u64,
    /// Output tokens spent on reasoning.
    pub reasoning: u64,
}

impl Tokens {
    #[must_use]
    pub fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// The difference.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.with(other, u64::saturating_sub)
    }

    fn with(self, other: Self, both: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            input: both(self.input, other.input),
            output: both(self.output, other.output),
            cache_read: both(self.cache_read, other.cache_read),
            cache_write: both(self.cache_write, other.cache_write),
            cache_write_1h: both(self.cache_write_1h, other.cache_write_1h),
            reasoning: both(self.reasoning, other.reasoning),
        }
    }
}

/// Bytes of content that count as one token where a provider's count is missing.
pub const BYTES_PER_TOKEN: u64 = 4;

/// Tokens to book for a call whose answer reports no usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Input tokens, by the size of the request.
    pub input: u64,
    /// Output tokens of work that is done after its answer: the most that it may use, or 0 where nobody said.
    pub output_later: u64,
    /// It is known to be done after its answer. Otherwise the answer may still turn out to say so.
    pub is_deferred: bool,
}

impl Estimate {
    /// For a call that is answered at once.
    #[must_use]
    pub fn of_input(input: u64) -> Self {
        Self { input, ..Self::default() }
    }
}
