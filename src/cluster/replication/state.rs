//! The replicated state, which a node needs to work alone: users, groups, API keys and what verifies access tokens. Pure:
//! versions, changes between versions, and which state may follow which.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::group::Group;
use crate::domain::ids::{GroupId, Jti, KeyId, LedgerId, UserId};
use crate::domain::user::{ApiKey, User};

/// The most ledgers that a lineage remembers.
const LINEAGE_MAX: usize = 16;

/// Whose state it is and how new. Versions grow within one ledger and say nothing across two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateVersion {
    /// The leader's database that the state comes from.
    pub ledger: LedgerId,
    /// Grows with every change.
    pub version: u64,
    /// The ledgers that the state goes back to, the latest last: their leaders had lost them, and followers gave
    /// what they held of them to the next one.
    pub lineage: Vec<Ancestor>,
    /// As it was created: nobody has changed it, so nothing is lost with it.
    pub pristine: bool,
}

/// A ledger that a state goes back to, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    pub ledger: LedgerId,
    /// Whatever was in this version of it is in the state too, or was removed since. `None`: an older sproxy did not say;
    /// taken for any version.
    pub version: Option<u64>,
}

impl StateVersion {
    /// Whether a node that holds `self` may replace it by `offered`: only by a newer version of the same ledger, or by a state
    /// that includes it. So no leader, empty or not, makes a follower lose what the leader never knew.
    #[must_use]
    pub fn may_become(&self, offered: &Self) -> bool {
        if self.ledger == offered.ledger {
            return offered.version > self.version;
        }
        self.pristine || offered.includes(self.ledger, self.version)
    }

    /// Whether this includes all that `ledger` held at `version`.
    #[must_use]
    pub fn includes(&self, ledger: LedgerId, version: u64) -> bool {
        if ledger == self.ledger {
            return self.version >= version;
        }
        let reaches = |to: &Ancestor| to.version.is_none_or(|reached| reached >= version);
        self.lineage.iter().any(|ancestor| ancestor.ledger == ledger && reaches(ancestor))
    }

    /// Whether this goes back to some version of `ledger`.
    #[must_use]
    pub fn goes_back_to(&self, ledger: LedgerId) -> bool {
        ledger == self.ledger || self.lineage.iter().any(|ancestor| ancestor.ledger == ledger)
    }

    /// Whether both go back to one ledger.
    #[must_use]
    pub fn shares_ancestor_with(&self, other: &Self) -> bool {
        self.goes_back_to(other.ledger) || other.lineage.iter().any(|common| self.goes_back_to(common.ledger))
    }

    /// The lineage of a state of this one's ledger into which `other` went as well.
    #[must_use]
    pub fn lineage_with(&self, other: &Self) -> Vec<Ancestor> {
        let mut lineage = self.lineage.clone();
        let itself = Ancestor { ledger: other.ledger, version: Some(other.version) };
        for ancestor in
            other.lineage.iter().chain([&itself]).filter(|ancestor| ancestor.ledger != self.ledger)
        {
            let known = lineage.iter().position(|known| known.ledger == ancestor.ledger);
            let reached = known.and_then(|at| lineage.remove(at).version);
            lineage.push(Ancestor { version: ancestor.version.max(reached), ..*ancestor });
        }
        lineage.split_off(lineage.len().saturating_sub(LINEAGE_MAX))
    }
}

/// The replicated state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub users: BTreeMap<UserId, User>,
    pub groups: BTreeMap<GroupId, Group>,
    pub keys: BTreeMap<KeyId, ApiKey>,
    /// Public keys that verify access tokens (Ed25519). The private one stays with the leader that made it.
    pub token_keys: BTreeSet<[u8; 32]>,
    /// Sessions that ended before their access tokens expired, and when the last of those does.
    pub ended_sessions: BTreeMap<Jti, Timestamp>,
    /// Ids of users, groups and API keys that were removed: none of them comes back when two states become one.
    pub removed: BTreeSet<Uuid>,
}

/// What turns one state into another: what is new or different, and what is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference<K, V> {
    /// New or different, by id.
    pub set: Vec<(K, V)>,
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
    pub users: Difference<UserId, User>,
    pub groups: Difference<GroupId, Group>,
    pub keys: Difference<KeyId, ApiKey>,
    /// All public keys that verify access tokens, changed or not: there are few.
    pub token_keys: BTreeSet<[u8; 32]>,
    /// Those that are new. They go by themselves, with time.
    pub ended_sessions: BTreeMap<Jti, Timestamp>,
}

impl Change {
    /// How many users, groups, API keys and sessions it touches.
    #[must_use]
    pub fn size(&self) -> usize {
        self.users.len() + self.groups.len() + self.keys.len() + self.ended_sessions.len()
    }

    /// Whether it leaves users, groups and API keys as they are.
    #[must_use]
    pub fn is_about_sign_in(&self) -> bool {
        self.size() == self.ended_sessions.len()
    }

    /// The ids of what is gone.
    pub fn removed_ids(&self) -> impl Iterator<Item = Uuid> {
        let users = self.users.removed.iter().map(|id| id.0);
        users.chain(self.groups.removed.iter().map(|id| id.0)).chain(self.keys.removed.iter().map(|id| id.0))
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
            ended_sessions: Difference::between(&self.ended_sessions, &later.ended_sessions)
                .set
                .into_iter()
                .collect(),
        }
    }

    /// Applies a change that [`Self::change_to`] made.
    pub fn apply(&mut self, change: Change) {
        self.removed.extend(change.removed_ids());
        change.users.apply(&mut self.users);
        change.groups.apply(&mut self.groups);
        change.keys.apply(&mut self.keys);
        self.token_keys = change.token_keys;
        self.ended_sessions.extend(change.ended_sessions);
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
    use crate::domain::group::Limits;

    fn group(name: &str) -> (GroupId, Group) {
        let id = GroupId::new();
        let at = Timestamp::from_micros(1);
        (id, Group { id, name: name.to_owned(), limits: Limits::default(), created_at: at, updated_at: at })
    }

    fn origin(ledger: LedgerId, version: u64, lineage: &[(LedgerId, u64)]) -> StateVersion {
        let ancestor =
            |(ledger, version): &(LedgerId, u64)| Ancestor { ledger: *ledger, version: Some(*version) };
        StateVersion { ledger, version, lineage: lineage.iter().map(ancestor).collect(), pristine: false }
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
        after.removed.insert(gone.0.0);
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
        assert!(!held.may_become(&origin(new, 100, &[(foreign, 9)])), "another cluster's");
        assert!(held.may_become(&origin(new, 8, &[(foreign, 9), (old, 7)])));
        assert!(!held.may_become(&origin(new, 100, &[(old, 6)])), "it never knew the last of it");
        let unversioned = Ancestor { ledger: old, version: None };
        let older = StateVersion { lineage: vec![unversioned], ..origin(new, 8, &[]) };
        assert!(held.may_become(&older), "an older version of sproxy does not say more");
        let pristine = StateVersion { pristine: true, ..held };
        assert!(pristine.may_become(&origin(new, 1, &[])), "nothing is lost");
    }

    #[test]
    fn a_lineage_names_each_ledger_once_the_latest_last() {
        let ids: Vec<LedgerId> = (0..4).map(|_| LedgerId::new()).collect();
        let own = origin(ids[3], 9, &[(ids[0], 3), (ids[1], 4)]);
        let both = origin(ids[3], 9, &[(ids[1], 4), (ids[0], 5), (ids[2], 8)]);
        assert_eq!(own.lineage_with(&origin(ids[2], 8, &[(ids[0], 5)])), both.lineage);
        assert_eq!(
            both.lineage_with(&origin(ids[2], 7, &[(ids[3], 2)])),
            both.lineage,
            "it reaches as far as ever"
        );
    }
}
