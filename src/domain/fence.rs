//! What a leader's database must hold of a node before it takes more of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The highest number of a batch that was ever acknowledged to a node. A database that holds fewer has fallen back: it
/// was replaced by a standby that lagged behind. It must take no batch then, or the numbers that it lost would be given
/// a second time and nobody could see what is missing.
///
/// Two say how high: the node in its request, and the process that takes it, for a request that was on its way while
/// another one was acknowledged does not know of that.
#[derive(Clone, Debug, Default)]
pub struct Fence {
    reported: u64,
    acknowledged: Arc<AtomicU64>,
}

impl Fence {
    /// `reported` by the node as the last that was acknowledged to it; `acknowledged` by this process, raised before an
    /// acknowledgement leaves it.
    #[must_use]
    pub fn new(reported: u64, acknowledged: Arc<AtomicU64>) -> Self {
        Self { reported, acknowledged }
    }

    /// How many batches a database must hold. To be asked inside the transaction that counts the next one, on a
    /// connection that is there: what is acknowledged later was committed by the same database.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.reported.max(self.acknowledged.load(Ordering::Acquire))
    }
}
