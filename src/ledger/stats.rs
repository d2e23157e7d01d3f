//! What the ledger tells about itself.

/// What the ledger is doing, for metrics. Cheap to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerStats {
    /// Places there are (`usage.queue`).
    pub capacity: u64,
    /// Places taken: reserved, waiting, or being written.
    pub taken: u64,
    /// Records waiting or being written.
    pub queued: u64,
    /// Whether the database takes no records at the moment.
    pub is_failing: bool,
    /// Records committed since the start.
    pub committed_total: u64,
    /// Transactions committed since the start.
    pub batches_total: u64,
    /// Batches that failed and were tried again.
    pub retries_total: u64,
    /// Reservations refused: every place was taken, the user's share was, or the database takes no records.
    pub refused_total: u64,
    /// Records that came after the writer had ended and could not be written. More than 0 is a defect.
    pub lost_total: u64,
}
