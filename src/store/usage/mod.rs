//! Tables `usage_logs`, `usage_rollups` and `usage_totals`: who used what.
//!
//! A log is inserted once per `request_id`. In the same transaction its numbers are added to two sums: `usage_rollups`
//! per hour, user, group, model and node, and `usage_totals` per hour and node. Statistics over whole hours read
//! only sums, and the ragged edges of a window read the logs of at most two hours, so that cost does not grow with
//! the number of logs:
//!
//! | query | grows with |
//! |---|---|
//! | a page of logs | the page; with a filter by user, group, model or node also the other logs of the hours it is from |
//! | totals, per node, per day | hours in the window × nodes |
//! | per user, group, model; what quotas start from | hours in the window × who used which model on which node |
//! | one user's totals | hours in the window × that user's models and nodes |
//! | what is unsynced: the next batch, the oldest | the answer (a partial index holds nothing else) |
//! | how much is unsynced | what is unsynced |
//!
//! Sums outlive logs: retention removes logs, not sums. A window older than retention is exact where it begins and
//! ends on whole hours.

mod acknowledged;
mod batch;
mod binding;
mod connections;
mod filtered;
mod insert;
mod logs;
mod period_usage;
mod postgres;
mod retention;
mod rollup;
mod row;
mod sessions;
mod set_aside;
mod sqlite;
mod sqlite_sync;
mod stats;
mod stats_page;
mod sync;
mod usage_columns;
mod window;

pub use batch::InsertedBatch;
pub(super) use connections::Connections;
pub use filtered::Took;
pub use period_usage::{NodeFilter, UsedTotals};
pub(in crate::store) use rollup::SUMS;
pub(in crate::store) use sessions::held_in;
pub use stats_page::{StatsCursor, StatsPage};

use crate::store::Store;

/// Reads and writes usage logs and their sums.
#[derive(Clone, Copy, Debug)]
pub struct UsageRepo<'a>(&'a Store);

impl<'a> UsageRepo<'a> {
    /// On a store: inserts are transactions of their own.
    #[must_use]
    pub fn on(store: &'a Store) -> Self {
        Self(store)
    }
}
