//! What a node needs to know to work alone: users, groups, API keys and what verifies
//! access tokens. Pure: versions, changes between
//! versions, and which state may follow which.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::group::Group;
use crate::domain::ids::{GroupId, KeyId, LedgerId, UserId};
use crate::domain::user::{ApiKey, User};

/// The most ledgers that a lineage remembers.
const LINEAGE_MAX: usize = 16;

/// Whose state it is and how new. Versions grow within one ledger and say nothing across two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The leader's database that the state comes from.
    pub ledger: LedgerId,
    /// Grows with every change.
    pub version: u64,
    /// The ledgers that the state goes back to, the latest last: their leaders had lost them, and followers gave
    /// what they held of them to the next one.
    pub lineage: Vec<LedgerId>,
    /// As it was created: nobody has worked on it, so nothing is lost with it.
    pub blank: bool,
}

impl Origin {
    /// Whether a node that holds `self` may take `offered` in its place: only what is newer within one ledger, or what
    /// goes back to it. So an empty leader never empties a follower.
    #[must_use]
    pub fn may_become(&self, offered: &Self) -> bool {
        if self.ledger == offered.ledger {
            return offered.version > self.version;
        }
        self.blank || offered.lineage.contains(&self.ledger)
    }

    /// The lineage of a state that goes back to both this one's and `other`.
    #[must_use]
    pub fn lineage_with(&self, other: &Self) -> Vec<LedgerId> {
        let mut lineage = self.lineage.clone();
        for ledger in other.lineage.iter().chain([&other.ledger]) {
            lineage.retain(|known| known != ledger);
            lineage.push(*ledger);
        }
        lineage.split_off(lineage.len().saturating_sub(LINEAGE_MAX))
    }
}

/// Everything that is replicated for good.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Users by id.
    pub users: BTreeMap<UserId, User>,
    /// Groups by id.
    pub groups: BTreeMap<GroupId, Group>,
    /// API keys by id.
    pub keys: BTreeMap<KeyId, ApiKey>,
    /// Public keys that verify access tokens (Ed25519). The private one stays with the leader that made it.
    pub token_keys: BTreeSet<[u8; 32]>,
}

/// What turns one state into another: what is new or different, and what is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference<K, V> {
    /// New or different, by id.
    pub set: Vec<(K, V)>,
    /// Gone.
    pub removed: Vec<K>,
}

impl<K, V> Default for Difference<K, V> {
    fn default() -> Self {
        Self { set: Vec::new(), removed: Vec::new() }
    }
}

/// What turns one version of the state into a later one, deletions included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Users.
    pub users: Difference<UserId, User>,
    /// Groups.
    pub groups: Difference<GroupId, Group>,
    /// API keys.
    pub keys: Difference<KeyId, ApiKey>,
    /// All public keys that verify access tokens, changed or not: there are few.
    pub token_keys: BTreeSet<[u8; 32]>,
}

impl Change {
    /// How many users, groups and API keys it touches.
    #[must_use]
    pub fn size(&self) -> usize {
        self.users.len() + self.groups.len() + self.keys.len()
    }
}

impl State {
    /// What leads from this state to `later`.
    #[must_use]
    pub fn change_to(&self, later: &Self) -> Change {
        Change {
            users: Difference::between(&self.users, &later.users),
            groups: Difference::between(&self.groups, &later.groups),
            keys: Difference::between(&self.keys, &later.keys),
            token_keys: later.token_keys.clone(),
        }
    }

    /// Takes the step that [`Self::change_to`] found.
    pub fn apply(&mut self, change: Change) {
        change.users.apply(&mut self.users);
        change.groups.apply(&mut self.groups);
        change.keys.apply(&mut self.keys);
        self.token_keys = change.token_keys;
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> Difference<K, V> {
    fn between(from: &BTreeMap<K, V>, to: &BTreeMap<K, V>) -> Self {
        let differs = |(id, value): &(&K, &V)| from.get(*id) != Some(*value);
        Self {
            set: to.iter().filter(differs).map(|(id, value)| (id.clone(), value.clone())).collect(),
            removed: from.keys().filter(|id| !to.contains_key(*id)).cloned().collect(),
        }
    }

    fn apply(self, to: &mut BTreeMap<K, V>) {
        for id in self.removed {
            to.remove(&id);
        }
        to.extend(self.set);
    }
}

impl<K, V> Difference<K, V> {
    fn len(&self) -> usize {
        self.set.len() + self.removed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Timestamp;
    use crate::domain::group::Limits;

    fn group(name: &str) -> (GroupId, Group) {
        let id = GroupId::new();
        let at = Timestamp::from_micros(1);
        (id, Group { id, name: name.to_owned(), limits: Limits::default(), created_at: at, updated_at: at })
    }

    fn origin(ledger: LedgerId, version: u64, lineage: &[LedgerId]) -> Origin {
        Origin { ledger, version, lineage: lineage.to_vec(), blank: false }
    }

    #[test]
    fn a_change_carries_what_is_new_different_and_gone() {
        let (kept, changed, gone, new) = (group("kept"), group("changed"), group("gone"), group("new"));
        let mut before = State::default();
        before.groups.extend([kept.clone(), changed.clone(), gone.clone()]);
        let mut after = State::default();
        let renamed = Group { name: "renamed".to_owned(), ..changed.1.clone() };
        after.groups.extend([kept, (changed.0, renamed), new]);
        let change = before.change_to(&after);
        assert_eq!((change.groups.set.len(), change.groups.removed.clone()), (2, vec![gone.0]));
        before.apply(change);
        assert_eq!(before, after);
        assert_eq!(before.change_to(&after).size(), 0);
    }

    #[test]
    fn a_state_follows_only_a_newer_one_of_its_ledger_or_one_that_was_adopted_from_it() {
        let (old, new, foreign) = (LedgerId::new(), LedgerId::new(), LedgerId::new());
        let held = origin(old, 7, &[]);
        assert!(held.may_become(&origin(old, 8, &[])));
        assert!(!held.may_become(&origin(old, 7, &[])));
        assert!(!held.may_become(&origin(old, 6, &[])), "a change that comes late");
        assert!(!held.may_become(&origin(new, 100, &[])), "an empty leader");
        assert!(!held.may_become(&origin(new, 100, &[foreign])), "another cluster's");
        assert!(held.may_become(&origin(new, 8, &[foreign, old])));
        let blank = Origin { blank: true, ..held };
        assert!(blank.may_become(&origin(new, 1, &[])), "nothing is lost");
    }

    #[test]
    fn a_lineage_names_each_ledger_once_the_latest_last() {
        let ids: Vec<LedgerId> = (0..4).map(|_| LedgerId::new()).collect();
        let own = origin(ids[3], 1, &[ids[0], ids[1]]);
        assert_eq!(own.lineage_with(&origin(ids[2], 1, &[ids[0]])), vec![ids[1], ids[0], ids[2]]);
    }
}
