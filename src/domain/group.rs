//! Groups, and the limits that users and groups are held to.

use serde::{Deserialize, Serialize};

use crate::domain::clock::Timestamp;
use crate::domain::ids::GroupId;

/// What a user or a group may use. `None` is unlimited, 0 is nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Tokens (input and output) per UTC day.
    pub daily_tokens: Option<u64>,
    /// Tokens per UTC calendar month.
    pub monthly_tokens: Option<u64>,
    /// Requests per minute.
    pub rpm: Option<u32>,
    /// Money per UTC calendar month, in nano-USD.
    pub monthly_nanousd: Option<i64>,
    /// Requests in flight at the same time.
    pub concurrent: Option<u32>,
    /// The largest `max_tokens` that a request may ask for.
    pub max_tokens: Option<u64>,
    /// Globs of models that may be called; `None` for every model.
    pub models: Option<Vec<String>>,
}

impl Limits {
    /// Whether what is used adds up against any of them: tokens or money.
    #[must_use]
    pub fn counts_use(&self) -> bool {
        self.daily_tokens.is_some() || self.monthly_tokens.is_some() || self.monthly_nanousd.is_some()
    }
}

/// Users who share limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Never changes.
    pub id: GroupId,
    /// Unique among groups; what people type.
    pub name: String,
    /// What the members may use together.
    pub limits: Limits,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
