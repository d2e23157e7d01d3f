//! Whether a leader adopts the state of a follower: when it has lost its own, or when its own goes back to the same state and
//! lacks later versions of it. Pure.
//!
//! A follower replaces its state only by one that includes it ([`StateVersion::may_become`]). So what a follower alone knows
//! is not lost, neither when its former leader had replicated it to nobody else, nor when this leader has adopted the state
//! of another follower first: the follower offers its state, and the leader adds it to its own ([`Adoption::Complete`]).
//! States remember the ids of what was removed ([`State::removed`]), so that it is told from what was never known.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use uuid::Uuid;

use crate::cluster::replication::state::{State, StateVersion};
use crate::domain::clock::Timestamp;
use crate::domain::ids::LedgerId;
use crate::domain::user::{ApiKey, User};

/// For so long after its creation a ledger that an admin has changed before the followers registered still adopts their
/// states, in addition to its own.
const YOUNG_FOR: Duration = Duration::from_hours(1);

/// How long a ledger has existed: by the clock when the process started, and from then on by what the clock advanced between
/// two updates, as far as that can be true. A clock that is set while a leader waits for its followers neither ends that
/// time nor prolongs it.
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

    /// Updates and returns the age. To be called at most `longest` after the call before.
    pub fn update(&mut self, now: Timestamp, longest: Duration) -> Duration {
        self.age += now.since(self.updated_at).min(longest);
        self.updated_at = now;
        self.age
    }
}

/// What a leader's state goes back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The state that it holds now.
    pub origin: StateVersion,
    /// The version that it had when it was created, or when its state was last replaced by a follower's. As long as the
    /// version is the same, nobody has changed the state.
    pub pristine_version: u64,
    /// The ledger and the version of the state that it adopted last.
    pub adopted: Option<(LedgerId, u64)>,
}

/// How a follower's state is adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// It replaces the own state, which nobody has changed.
    Replace,
    /// It is added to the own state. Of two entries with one name, the follower's stays.
    Merge,
    /// It is added to the own state, with which it has an ancestor in common. Of two entries with one name, the own one stays.
    Complete,
}

impl Provenance {
    /// Whether a leader with this provenance, whose ledger has this age, adopts the state that a follower offers, and how. The
    /// version of that state suffices to tell.
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
        if own.shares_ancestor_with(offered) {
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
    result.ended_sessions.extend(&own.ended_sessions);
    result
}

/// What is in either and was removed in neither, each as it was changed last. Of two entries with one name, the first's
/// stays and takes over what belonged to the second's.
fn merge(first: &State, second: &State) -> State {
    let mut state = State {
        token_keys: &first.token_keys | &second.token_keys,
        ended_sessions: first
            .ended_sessions
            .iter()
            .chain(&second.ended_sessions)
            .map(|(id, until)| (*id, *until))
            .collect(),
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
            let manages = user.manages.iter().map(|id| groups.resolve(*id));
            let manages = manages.filter(|id| state.groups.contains_key(id)).collect();
            state.users.insert(user.id, User { group_id, manages, ..user });
        }
    }
    for key in union(&first.keys, &second.keys, sooner) {
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

/// A key ends when either side says: one that was reissued does so earlier than it would have.
fn sooner(one: &ApiKey, other: &ApiKey) -> ApiKey {
    let expires_at = one.expires_at.into_iter().chain(other.expires_at).min();
    ApiKey { expires_at, ..one.clone() }
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
    /// Whether an entry stays: it was not removed, and no other has its name. Otherwise it becomes an alias of the one that has.
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
