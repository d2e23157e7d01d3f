//! Sums over usage logs.

use serde::{Deserialize, Serialize};

use crate::domain::clock::Timestamp;
use crate::domain::peer::Incomplete;
use crate::domain::usage::UsageRecord;

/// The sums of a set of usage logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub total_input: u64,
    pub total_output: u64,
    /// Both.
    pub total_tokens: u64,
    pub request_count: u64,
    /// Those that ended in an error.
    pub error_count: u64,
    /// Cost in nano-USD.
    pub cost_nanousd: i64,
    /// Part of the input: read from providers' caches.
    #[serde(default)]
    pub cache_read_tokens: u64,
    /// Usage logs that were priced by the default of the price list, for want of a price of their own.
    #[serde(default)]
    pub default_priced_requests: u64,
}

impl Totals {
    /// Adds `other` to this sum.
    pub fn add(&mut self, other: &Self) {
        self.total_input += other.total_input;
        self.total_output += other.total_output;
        self.total_tokens += other.total_tokens;
        self.request_count += other.request_count;
        self.error_count += other.error_count;
        self.cost_nanousd += other.cost_nanousd;
        self.cache_read_tokens += other.cache_read_tokens;
        self.default_priced_requests += other.default_priced_requests;
    }
}

/// Totals of the whole cluster, and how far they can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalStats {
    #[serde(flatten)]
    pub totals: Totals,
    /// Up to here every peer that has not left with nothing owed has said that it owes nothing; `None` if that is not
    /// known.
    pub complete_through: Option<Timestamp>,
    /// The nodes because of which totals are not known to be complete.
    pub incomplete: Vec<Incomplete>,
}

/// Usage logs that the leader refused and that are given up, and what they add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dismissed {
    pub logs: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Cost in nano-USD.
    pub cost_nanousd: i64,
}

impl Dismissed {
    /// Adds one log. What a leader refuses may be beyond any measure, so nothing here overflows.
    pub fn add(&mut self, record: &UsageRecord) {
        self.logs += 1;
        self.input_tokens = self.input_tokens.saturating_add(record.tokens.input);
        self.output_tokens = self.output_tokens.saturating_add(record.tokens.output);
        self.cost_nanousd = self.cost_nanousd.saturating_add(record.cost_nanousd);
    }
}

/// What statistics can be grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatsBy {
    /// Per user.
    User,
    /// Per group.
    Group,
    /// Per model asked for.
    Model,
    /// Per node that served.
    Node,
    /// Per UTC day.
    Day,
}

/// Totals of one user, group, model, node or day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatRow {
    /// The user's or group's id, the model, the node, or the day (`2026-11-22`). Empty: no group, no model.
    pub key: String,
    /// The name shown to people; for models, nodes and days the same as `key`.
    pub name: String,
    #[serde(flatten)]
    pub totals: Totals,
}

/// Totals of one UTC day and one of the keys that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayPart {
    /// Its start.
    pub day: Timestamp,
    /// Which of the keys; `None`: all others.
    pub part: Option<usize>,
    pub totals: Totals,
}

/// A session of a client, as it names it itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSession {
    pub id: String,
    /// Its first call that is in the books.
    pub first: Timestamp,
    pub last: Timestamp,
    pub request_count: u64,
    pub total_tokens: u64,
    /// Cost in nano-USD.
    pub cost_nanousd: i64,
}

/// Totals of one user (`user_stats`).
pub type UserStatRow = StatRow;
