//! Whether a leader takes the state of a follower: a leader that has lost its own, and one that goes back to that state
//! and lacks the end of it. Pure.
//!
//! A follower takes no state in place of its own that its own did not go into ([`StateVersion::may_become`]), so what it alone
//! knows is lost neither when the leader before this one had given it to nobody else, nor when this one has begun with what
//! another follower knew: it offers it, and the leader adds it ([`Adoption::Complete`]). What was removed is told from what
//! was never known by its id, which states remember ([`State::removed`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use uuid::Uuid;

use crate::cluster::replication::state::{State, StateVersion};
use crate::domain::clock::Timestamp;
use crate::domain::ids::LedgerId;
use crate::domain::user::{ApiKey, User};

/// So long after its creation a ledger that was changed already, because an admin was faster than the followers, still
/// takes followers' states, beside its own.
const YOUNG_FOR: Duration = Duration::from_hours(1);

/// How long a ledger has been there. What the clock said when the process started, and from there on what it went ahead
/// between two looks, as far as that can be true: a clock that is set while a leader waits for its followers neither ends
/// that time nor prolongs it.
#[derive(Clone, Copy, Debug)]
pub struct Age {
    age: Duration,
    updated_at: Timestamp,
}

impl Age {
    /// That of `ledger` at the start of a process.
    #[must_use]
    pub fn of(ledger: LedgerId, now: Timestamp) -> Self {
        Self { age: now.since(created_at(ledger)), updated_at: now }
    }

    /// Another look, not more than `longest` after the one before. Returns the age.
    pub fn update(&mut self, now: Timestamp, longest: Duration) -> Duration {
        self.age += now.since(self.updated_at).min(longest);
        self.updated_at = now;
        self.age
    }
}

/// What a leader's state goes back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// What it holds now.
    pub origin: StateVersion,
    /// The version that it had when it was created, or had just taken a follower's state in place of its own. Still
    /// the same: nobody has worked on it.
    pub pristine_version: u64,
    /// Whose state it took last, and of which version.
    pub adopted: Option<(LedgerId, u64)>,
}

/// How a follower's state is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// In place of one's own, which nobody has worked on.
    Replace,
    /// Beside one's own. Where both have a name, the follower's stays.
    Merge,
    /// Beside one's own, which is of the same family. Where both have a name, one's own stays.
    Complete,
}

impl Provenance {
    /// Whether a leader of this standing, whose ledger is so old, takes what a follower offers, and how. `offered` need say
    /// no more than whose state it is, how new, and what it goes back to.
    #[must_use]
    pub fn adopts(&self, offered: &StateVersion, age: Duration) -> Option<Adoption> {
        let own = &self.origin;
        let nothing = offered.version == 0 || offered.pristine;
        if nothing || offered.ledger == own.ledger || own.includes(offered.ledger, offered.version) {
            return None;
        }
        let is_pristine = own.version == self.pristine_version;
        // Another follower of the same lost leader, or of its successor, may know more than the first one did.
        let continues = |(ledger, version)| offered.includes(ledger, version);
        if is_pristine && (own.lineage.is_empty() || self.adopted.is_some_and(continues)) {
            return Some(Adoption::Replace);
        }
        if own.is_of_the_family_of(offered) {
            return Some(Adoption::Complete);
        }
        (age < YOUNG_FOR).then_some(Adoption::Merge)
    }
}

/// When a ledger was created: its id is a UUIDv7.
fn created_at(ledger: LedgerId) -> Timestamp {
    let (seconds, nanos) = ledger.0.get_timestamp().map_or((0, 0), |at| at.to_unix());
    let micros = i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000);
    Timestamp::from_micros(micros.saturating_add(i64::from(nanos / 1_000)))
}

/// What a leader holds after the adoption of `offered`.
#[must_use]
pub fn adopted(own: &State, offered: State, how: Adoption) -> State {
    let mut result = match how {
        Adoption::Replace => offered,
        Adoption::Merge => merge(&offered, own),
        Adoption::Complete => merge(own, &offered),
    };
    // Tokens that the leader has signed since it started stay valid, and so do those of the lost leader.
    result.token_keys.extend(&own.token_keys);
    result
}

/// What is in either and was removed in neither, each as it was changed last. Two of one name are one: the first's stays,
/// and what belonged to the second's is its own.
fn merge(first: &State, second: &State) -> State {
    let mut state = State {
        token_keys: &first.token_keys | &second.token_keys,
        removed: &first.removed | &second.removed,
        ..State::default()
    };
    let mut groups = NameOwners::default();
    for group in union(&first.groups, &second.groups, |one, other| {
        if other.updated_at > one.updated_at { other } else { one }.clone()
    }) {
        if groups.claim(&group.name, group.id, group.id.0, &mut state.removed) {
            state.groups.insert(group.id, group);
        }
    }
    let mut users = NameOwners::default();
    for user in union(&first.users, &second.users, newer) {
        if users.claim(&user.name, user.id, user.id.0, &mut state.removed) {
            let group_id = user.group_id.map(|id| groups.resolve(id));
            let group_id = group_id.filter(|id| state.groups.contains_key(id));
            state.users.insert(user.id, User { group_id, ..user });
        }
    }
    for key in union(&first.keys, &second.keys, |one, _| one.clone()) {
        let user_id = users.resolve(key.user_id);
        if state.users.contains_key(&user_id) && !state.removed.contains(&key.id.0) {
            state.keys.insert(key.id, ApiKey { user_id, ..key });
        }
    }
    state
}

/// A user as it was changed last; sessions that were ended on either side stay ended.
fn newer(one: &User, other: &User) -> User {
    let tokens_valid_from = one.tokens_valid_from.max(other.tokens_valid_from);
    let newer = if other.updated_at > one.updated_at { other } else { one };
    User { tokens_valid_from, ..newer.clone() }
}

/// What is in either, the first's before what only the second has.
fn union<K: Ord, V: Clone>(
    first: &BTreeMap<K, V>,
    second: &BTreeMap<K, V>,
    of_both: impl Fn(&V, &V) -> V,
) -> impl Iterator<Item = V> {
    let firsts = first.iter().map(move |(id, one)| match second.get(id) {
        Some(other) => of_both(one, other),
        None => one.clone(),
    });
    firsts.chain(second.iter().filter(|(id, _)| !first.contains_key(*id)).map(|(_, other)| other.clone()))
}

/// Who has which name; whoever found a name taken becomes an alias of its owner.
struct NameOwners<K> {
    taken: HashMap<String, K>,
    aliases: HashMap<K, K>,
}

impl<K> Default for NameOwners<K> {
    fn default() -> Self {
        Self { taken: HashMap::new(), aliases: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> NameOwners<K> {
    /// Whether it stays: it was not removed, and nobody has its name. Otherwise it becomes an alias of whoever has the name.
    fn claim(&mut self, name: &str, key: K, id: Uuid, removed: &mut BTreeSet<Uuid>) -> bool {
        if removed.contains(&id) {
            return false;
        }
        let owner = *self.taken.entry(name.to_owned()).or_insert(key);
        if owner != key {
            self.aliases.insert(key, owner);
            removed.insert(id);
        }
        owner == key
    }

    fn resolve(&self, key: K) -> K {
        self.aliases.get(&key).copied().unwrap_or(key)
    }
}

#[cfg(test)]
mod tests;
