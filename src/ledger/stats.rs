//! What the ledger tells about itself.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use crate::telemetry::scrape::{counter, gauge};

/// State and counters of the ledger since the start of the process. Cheap to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerStats {
    /// `usage.queue`
    pub capacity: u64,
    /// Places taken: reserved, waiting, or being written.
    pub taken: u64,
    pub queued: u64,
    /// Whether the database takes no records at the moment.
    pub is_failing: bool,
    pub committed_total: u64,
    pub batches_total: u64,
    /// Batches that failed and were tried again.
    pub retries_total: u64,
    /// Reservations refused: every place was taken, the user's share was, or the database takes no records.
    pub refused_total: u64,
    /// Records that came after the writer had ended and could not be written. More than 0 is a defect.
    pub lost_total: u64,
}

impl LedgerStats {
    pub(super) fn encode(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        gauge(
            to,
            "sproxy_ledger_capacity",
            "Records that may be reserved, waiting or being written.",
            self.capacity,
        )?;
        gauge(to, "sproxy_ledger_taken", "Records that are reserved, waiting or being written.", self.taken)?;
        gauge(to, "sproxy_ledger_queued", "Records that are waiting or being written.", self.queued)?;
        gauge(
            to,
            "sproxy_ledger_failing",
            "Whether the database takes no records; calls are refused meanwhile.",
            u64::from(self.is_failing),
        )?;
        counter(to, "sproxy_ledger_committed", "Records committed.", self.committed_total)?;
        counter(to, "sproxy_ledger_batches", "Transactions committed.", self.batches_total)?;
        counter(
            to,
            "sproxy_ledger_retries",
            "Transactions that failed and were tried again.",
            self.retries_total,
        )?;
        counter(
            to,
            "sproxy_ledger_refused",
            "Calls refused because the ledger was full, for all or for one user, or could not be written.",
            self.refused_total,
        )?;
        counter(to, "sproxy_ledger_lost", "Records that could not be written at the end.", self.lost_total)
    }
}
