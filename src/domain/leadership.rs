//! Who leads by promotion: what a node has to know of it to tell a leader from one that was superseded.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{LedgerId, NodeId};
use crate::domain::leader_url::LeaderUrl;

/// A leader that was promoted. Of two, the one of the higher term leads; of the same term, the one of the greater ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leadership {
    /// How often leadership of the cluster was taken over, this time included.
    pub term: u64,
    pub ledger: LedgerId,
    pub node: NodeId,
    /// Where followers register.
    pub leads_at: LeaderUrl,
}

impl Leadership {
    /// Whether this one leads rather than `other`.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        (self.term, self.ledger) > (other.term, other.ledger)
    }
}

impl fmt::Display for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} (term {})", self.node, self.leads_at, self.term)
    }
}

/// The term of the leader that `known` names; 0: nobody was ever promoted.
#[must_use]
pub fn term_of(known: Option<&Leadership>) -> u64 {
    known.map_or(0, |known| known.term)
}
