//! Whom a follower may ask: one leader, or one of several that share a ledger. [`LeaderSet`] knows several, by their
//! addresses; a [`LeaderClient`] alone is one, and is asked whatever it answers.
//!
//! [`LeaderSet`]: crate::cluster::follower::leader_set::LeaderSet

use std::time::Duration;

use crate::cluster::follower::leader_client::{LeaderClient, LeaderError};
use crate::cluster::follower::push::Session;
use crate::domain::ids::LedgerId;
use crate::wire::v1;

/// What a session says to its leader, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Push,
    Heartbeat,
    Watch,
}

/// The leaders that a follower knows of. A session belongs to the one that it was made with.
pub trait Leaders: Send + Sync {
    type Client: LeaderClient + Clone;

    /// Whom to ask for a session, one after the other until one gives it.
    fn in_turn(&self) -> Vec<Self::Client>;

    /// How a leader is reached, for logs.
    fn name_of(&self, leader: &Self::Client) -> String {
        let _ = leader;
        "the leader".to_owned()
    }

    /// A leader gave no session, for this reason.
    fn note_miss(&self, leader: &Self::Client, error: &LeaderError) {
        let _ = (leader, error);
    }

    /// Whether a leader that would give this session may be followed by a node whose usage the ledger `seen` has.
    ///
    /// # Errors
    /// [`LeaderError::OtherLedger`], [`LeaderError::Superseded`]
    fn check(
        &self,
        leader: &Self::Client,
        session: &Session,
        seen: Option<LedgerId>,
    ) -> Result<(), LeaderError> {
        let _ = (leader, session, seen);
        Ok(())
    }

    /// The highest term of a leader that was heard of.
    fn highest_term(&self) -> u64 {
        0
    }

    /// The node follows this leader from now on, with this session.
    fn follow(&self, leader: &Self::Client, session: &Session) {
        let _ = (leader, session);
    }

    /// Those that lead on `ledger` now, by the word of the leader that is followed.
    fn learn(&self, ledger: LedgerId, leaders: &[v1::Leader]) {
        let _ = (ledger, leaders);
    }

    /// The leader of a session did what it was asked for.
    fn note_answer(&self, leader: &Self::Client, call: Call) {
        let _ = (leader, call);
    }

    /// The leader of a session failed it. Whether the session is over: the node asks in turn again.
    fn note_failure(&self, leader: &Self::Client, call: Call, error: &LeaderError) -> bool {
        let _ = (leader, call, error);
        false
    }

    /// How often the leader of a session is to give a sign of life. None: nobody else could be asked if it gave none.
    fn signs_of_life(&self) -> Option<Duration> {
        None
    }
}

impl<C: LeaderClient + Clone> Leaders for C {
    type Client = C;

    fn in_turn(&self) -> Vec<C> {
        vec![self.clone()]
    }
}
