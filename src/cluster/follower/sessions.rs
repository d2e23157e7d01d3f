//! The registrations of a follower with the ledger that it pushes to, as it remembers them: a leader's database that does not
//! know the latest has lost what was acknowledged in it.

use serde::{Deserialize, Serialize};

use crate::domain::fence::KnownSession;
use crate::domain::ids::SessionId;

/// The most that are remembered. A node registers when its leader, or its connection to it, is lost; a database falls
/// back by seconds.
pub const SESSIONS_MAX: usize = 64;

/// Written down before a leader hears of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// One that no leader has answered, although one may have heard of it.
    pending: Option<SessionId>,
    /// The latest last, with the highest number of a batch that had been acknowledged before.
    begun: Vec<(SessionId, u64)>,
}

impl Sessions {
    /// The next registration: the same until a leader has answered it.
    pub fn next(&mut self, new: impl FnOnce() -> SessionId) -> SessionId {
        *self.pending.get_or_insert_with(new)
    }

    /// A leader has answered it; `after` is the highest number of a batch that was acknowledged before, as the node knows
    /// by now.
    pub fn begin(&mut self, session: SessionId, after: u64) {
        self.pending = None;
        self.begun.push((session, after));
        let last = self.begun.len().saturating_sub(SESSIONS_MAX);
        self.begun.drain(..last);
    }

    /// Another ledger: nothing of these is known there.
    pub fn forget(&mut self) {
        self.begun.clear();
    }

    #[must_use]
    pub fn known(&self) -> Vec<KnownSession> {
        self.begun.iter().map(|(id, after)| KnownSession { id: *id, after: *after }).collect()
    }
}
