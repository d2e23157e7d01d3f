//! What an answer used, as each of `OpenAI`'s APIs says it: the input contains what was cached, the output what was
//! thought.

use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All of it, whether it was cached or not.
    pub input: u64,
    /// Of the input: read from a cache.
    pub cached: u64,
    /// Of the input: written to a cache.
    pub written: u64,
    /// All of it, thoughts included.
    pub output: u64,
    /// Of the output, where it is known.
    pub reasoning: Option<u64>,
}

impl Usage {
    #[must_use]
    pub fn responses(&self) -> Value {
        json!({
            "input_tokens": self.input,
            "input_tokens_details": { "cached_tokens": self.cached, "cache_write_tokens": self.written },
            "output_tokens": self.output,
            "output_tokens_details": { "reasoning_tokens": self.reasoning.unwrap_or(0) },
            "total_tokens": self.input + self.output,
        })
    }

    #[must_use]
    pub fn chat(&self) -> Value {
        let mut usage = json!({
            "prompt_tokens": self.input,
            "completion_tokens": self.output,
            "total_tokens": self.input + self.output,
            "prompt_tokens_details": { "cached_tokens": self.cached, "cache_write_tokens": self.written },
        });
        if let Some(reasoning) = self.reasoning {
            usage["completion_tokens_details"] = json!({ "reasoning_tokens": reasoning });
        }
        usage
    }
}
