//! What a leader's database must hold of a node before it takes more of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::ids::SessionId;

/// The highest number of a batch that was ever acknowledged to a node, and the registration in which that was. A database
/// that holds fewer has fallen back: it was replaced by a standby that lagged behind. It must take no batch then, or the
/// numbers that it lost would be given a second time and nobody could see what is missing.
///
/// Two say how high: the node in its request, and the process that takes it, for a request that was on its way while
/// another one was acknowledged does not know of that. Where several processes take batches, one that was stopped for a
/// while does not know what the others have acknowledged since: so the database must have the same registration of the
/// node as its last, or one that goes back to it.
#[derive(Clone, Debug, Default)]
pub struct Fence {
    reported: u64,
    session: Option<SessionId>,
    acknowledged: Arc<AtomicU64>,
}

impl Fence {
    /// `reported` by the node as the last that was acknowledged to it, in a push of its registration `session`;
    /// `acknowledged` by this process, raised before an acknowledgement leaves it.
    #[must_use]
    pub fn new(reported: u64, session: Option<SessionId>, acknowledged: Arc<AtomicU64>) -> Self {
        Self { reported, session, acknowledged }
    }

    /// How many batches a database must hold. To be asked inside the transaction that counts the next one, on a
    /// connection that is there: what is acknowledged later was committed by the same database.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.reported.max(self.acknowledged.load(Ordering::Acquire))
    }

    /// The registration that a database must know as the last. `None`: the node is an older sproxy, and names none.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.session
    }
}

/// What a database holds of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchesHeld {
    /// How many batches.
    pub taken: u64,
    /// The node's last registration.
    pub session: Option<SessionId>,
}

impl BatchesHeld {
    /// Whether what a node says is about this: it was acknowledged no more, and this is its registration.
    #[must_use]
    pub fn are_those_of(&self, last_batch: u64, session: Option<SessionId>) -> bool {
        self.taken >= last_batch && (session.is_none() || self.session == session)
    }
}

/// A registration that a node remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownSession {
    pub id: SessionId,
    /// The highest number of a batch that had been acknowledged before.
    pub after: u64,
}

/// How many of `taken` batches, the last of them taken in the registration `held`, are surely those that were acknowledged
/// to a node which registers as `new` and remembers `known`, the latest last.
///
/// Where the database does not know the latest, it has lost that, and all that was acknowledged in it. It may hold as many
/// batches again: of a push that another leader had still to take then.
#[must_use]
pub fn surely_held(taken: u64, held: Option<SessionId>, new: SessionId, known: &[KnownSession]) -> u64 {
    let Some(held) = held.filter(|held| *held != new) else { return taken };
    let Some(at) = known.iter().position(|session| session.id == held) else { return taken };
    known.get(at + 1).map_or(taken, |next| taken.min(next.after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_in_a_registration_that_a_database_has_lost_is_not_surely_held() {
        let ids: Vec<SessionId> = (0..4).map(|_| SessionId::new()).collect();
        let known = [(0, 0), (1, 10), (2, 15)].map(|(at, after)| KnownSession { id: ids[at], after });
        for (held, taken, surely) in [
            (Some(ids[2]), 22, 22),
            (Some(ids[2]), 17, 17),
            (Some(ids[1]), 22, 15),
            (Some(ids[1]), 12, 12),
            (Some(ids[0]), 11, 10),
            (Some(ids[3]), 22, 22),
            (Some(SessionId::new()), 22, 22),
            (None, 22, 22),
        ] {
            assert_eq!(surely_held(taken, held, ids[3], &known), surely, "{held:?} {taken}");
        }
    }
}
