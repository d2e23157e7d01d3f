//! How the API shows an attempt that failed before a call was answered.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::usage::Attempt;

/// One try of a call at one target that failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptView {
    /// The target's name.
    pub target: String,
    /// The name of the target's key; empty where it has only one.
    pub key: String,
    /// The model that was sent.
    pub model: String,
    /// Why it failed: `connect`, `rate_limited`, `overloaded`, `error_event`, `timeout`, …
    pub reason: String,
    /// The HTTP status of the answer; `null`: there was no answer.
    #[schema(required)]
    pub status_code: Option<u16>,
    /// From its beginning to its failure.
    pub duration_ms: u64,
    /// What the provider reported that it used.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Part of the cost of the call, in nano-USD.
    pub cost_nanousd: i64,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            target: attempt.target,
            key: attempt.key,
            model: attempt.model,
            reason: attempt.reason,
            status_code: attempt.status_code,
            duration_ms: attempt.duration_ms,
            input_tokens: attempt.input_tokens,
            output_tokens: attempt.output_tokens,
            cost_nanousd: attempt.cost_nanousd,
        }
    }
}
