//! An attempt: a try of a call at one target that failed before the call was answered by another.

use serde::{Deserialize, Serialize};

/// One failed try of a call. The fields are those of the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The target's name.
    pub target: String,
    /// The name of the target's key; empty where it has only one.
    pub key: String,
    /// The model that was sent.
    pub model: String,
    /// Why it failed: see `upstream::FailureReason`.
    pub reason: String,
    /// The HTTP status of the answer; `None`: there was no answer.
    pub status_code: Option<u16>,
    /// Milliseconds from its beginning to its failure.
    pub duration_ms: u64,
    /// What the provider reported that it used.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Part of the record's cost.
    pub cost_nanousd: i64,
}
