//! What a caller's messages may take of the memory for bodies while they are coming.

use crate::proxy::request_body::BodyPermit;
use crate::websocket::{NoRoom, ReceiveBudget};

/// Below that a connection holds no more than its own buffers, which its place accounts for.
const FREE: usize = 64 * 1024;

/// The memory of one connection's message that is coming.
pub(super) struct Budget {
    permit: BodyPermit,
    arrived: usize,
}

impl Budget {
    pub(super) fn new(permit: BodyPermit) -> Self {
        Self { permit, arrived: 0 }
    }
}

impl ReceiveBudget for Budget {
    fn received(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.arrived += bytes;
        if self.arrived <= FREE {
            return Ok(());
        }
        self.permit.grow_within_share(bytes).map_err(|_| NoRoom)
    }

    fn delivered(&mut self) {
        self.arrived = 0;
        self.permit.clear();
    }
}
