//! State on the wire: a snapshot in pieces of bounded size, and single changes; both put together again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use uuid::Uuid;

use crate::cluster::replication::state::{Ancestor, Change, Difference, State, StateVersion};
use crate::cluster::replication::state_log::Delta;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{GroupId, Jti, KeyId, LedgerId, UserId};
use crate::wire::account::{
    group_from_wire, group_to_wire, key_from_wire, key_to_wire, user_from_wire, user_to_wire,
};
use crate::wire::malformed::{Malformed, parse};
use crate::wire::{moment, v1};

/// How many users, groups or keys a piece holds at most.
const PIECE_LEN_MAX: usize = 1_000;

/// The most users, groups and keys together that a node takes from another.
const STATE_SIZE_MAX: usize = 10_000_000;

/// A snapshot as it is sent, piece by piece. Each is encoded when it is asked for, so that however many followers need
/// one at once, the state is in memory once.
#[must_use]
pub fn snapshot_to_wire(origin: StateVersion, state: Arc<State>) -> SnapshotWriter {
    SnapshotWriter { origin, state, next: Some(Next::Groups(None)), is_first: true }
}

/// What is still to be sent of a snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotWriter {
    origin: StateVersion,
    state: Arc<State>,
    next: Option<Next>,
    is_first: bool,
}

/// What the next piece holds, and the id after which it continues.
#[derive(Clone, Copy, Debug)]
enum Next {
    Groups(Option<GroupId>),
    Users(Option<UserId>),
    Keys(Option<KeyId>),
    Removed(Option<Uuid>),
    Ended(Option<Jti>),
    Last,
}

impl SnapshotWriter {
    /// Users, groups and keys together, of the whole snapshot.
    #[must_use]
    pub fn size(&self) -> usize {
        self.state.groups.len() + self.state.users.len() + self.state.keys.len()
    }

    fn piece(&mut self) -> v1::AccountsPart {
        v1::AccountsPart {
            ledger_id: self.origin.ledger.to_string(),
            version: self.origin.version,
            lineage: lineage_to_wire(&self.origin.lineage),
            lineage_versions: lineage_versions_to_wire(&self.origin.lineage),
            blank: self.origin.pristine,
            first: std::mem::take(&mut self.is_first),
            ..v1::AccountsPart::default()
        }
    }
}

impl Iterator for SnapshotWriter {
    type Item = v1::AccountsPart;

    fn next(&mut self) -> Option<v1::AccountsPart> {
        let state = Arc::clone(&self.state);
        loop {
            match self.next? {
                Next::Groups(after) => match page(&state.groups, after) {
                    (_, None) => self.next = Some(Next::Users(None)),
                    (groups, last) => {
                        self.next = Some(Next::Groups(last));
                        let groups = groups.map(group_to_wire).collect();
                        return Some(v1::AccountsPart { groups, ..self.piece() });
                    }
                },
                Next::Users(after) => match page(&state.users, after) {
                    (_, None) => self.next = Some(Next::Keys(None)),
                    (users, last) => {
                        self.next = Some(Next::Users(last));
                        let users = users.map(user_to_wire).collect();
                        return Some(v1::AccountsPart { users, ..self.piece() });
                    }
                },
                Next::Keys(after) => match page(&state.keys, after) {
                    (_, None) => self.next = Some(Next::Removed(None)),
                    (keys, last) => {
                        self.next = Some(Next::Keys(last));
                        let keys = keys.map(key_to_wire).collect();
                        return Some(v1::AccountsPart { keys, ..self.piece() });
                    }
                },
                Next::Removed(after) => {
                    let rest = state
                        .removed
                        .range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
                    let ids: Vec<Uuid> = rest.take(PIECE_LEN_MAX).copied().collect();
                    self.next = Some(ids.last().map_or(Next::Ended(None), |last| Next::Removed(Some(*last))));
                    if !ids.is_empty() {
                        let removed_ids = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
                        return Some(v1::AccountsPart { removed_ids, ..self.piece() });
                    }
                }
                Next::Ended(after) => match ended_page(&state.ended_sessions, after) {
                    (_, None) => self.next = Some(Next::Last),
                    (ended_sessions, last) => {
                        self.next = Some(Next::Ended(last));
                        return Some(v1::AccountsPart { ended_sessions, ..self.piece() });
                    }
                },
                Next::Last => {
                    self.next = None;
                    let token_keys = token_keys_to_wire(&state.token_keys);
                    return Some(v1::AccountsPart { last: true, token_keys, ..self.piece() });
                }
            }
        }
    }
}

/// The piece after `after`, and the id it ends with; none if nothing is left.
fn page<K: Ord + Copy, V>(all: &BTreeMap<K, V>, after: Option<K>) -> (impl Iterator<Item = &V>, Option<K>) {
    let rest =
        all.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)).take(PIECE_LEN_MAX);
    (rest.clone().map(|(_, value)| value), rest.last().map(|(id, _)| *id))
}

fn ended_page(all: &BTreeMap<Jti, Timestamp>, after: Option<Jti>) -> (Vec<v1::EndedSession>, Option<Jti>) {
    let rest = all.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
    let page: Vec<_> = rest.take(PIECE_LEN_MAX).collect();
    let last = page.last().map(|(session, _)| **session);
    (page.into_iter().map(ended_to_wire).collect(), last)
}

/// A step from one version to a later one.
#[must_use]
pub fn delta_to_wire(ledger: LedgerId, step: &Delta) -> v1::AccountsChange {
    let change = &*step.change;
    v1::AccountsChange {
        ledger_id: ledger.to_string(),
        base_version: step.base,
        version: step.version,
        users: change.users.set.iter().map(|(_, user)| user_to_wire(user)).collect(),
        groups: change.groups.set.iter().map(|(_, group)| group_to_wire(group)).collect(),
        keys: change.keys.set.iter().map(|(_, key)| key_to_wire(key)).collect(),
        token_keys: token_keys_to_wire(&change.token_keys),
        removed_user_ids: change.users.removed.iter().map(UserId::to_string).collect(),
        removed_group_ids: change.groups.removed.iter().map(ToString::to_string).collect(),
        removed_key_ids: change.keys.removed.iter().map(ToString::to_string).collect(),
        ended_sessions: change.ended_sessions.iter().map(ended_to_wire).collect(),
    }
}

/// A step as another node sent it: the ledger, the version it starts from, the one it leads to, what changes.
///
/// # Errors
/// [`Malformed`]: the step cannot be taken at all, in part neither.
pub fn delta_from_wire(step: v1::AccountsChange) -> Result<(LedgerId, u64, u64, Change), Malformed> {
    let mut change = Change {
        token_keys: token_keys_from_wire(step.token_keys)?,
        ended_sessions: step.ended_sessions.iter().map(ended_from_wire).collect::<Result<_, _>>()?,
        ..Change::default()
    };
    for user in step.users {
        let user = user_from_wire(user)?;
        change.users.set.push((user.id, user));
    }
    for group in step.groups {
        let group = group_from_wire(group)?;
        change.groups.set.push((group.id, group));
    }
    for key in step.keys {
        let key = key_from_wire(key)?;
        change.keys.set.push((key.id, key));
    }
    removed(&mut change.users, "removed_user_ids", &step.removed_user_ids)?;
    removed(&mut change.groups, "removed_group_ids", &step.removed_group_ids)?;
    removed(&mut change.keys, "removed_key_ids", &step.removed_key_ids)?;
    Ok((parse("ledger_id", &step.ledger_id)?, step.base_version, step.version, change))
}

/// Puts a snapshot together. Nothing of it counts before its last piece has come.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    begun: Option<(StateVersion, State)>,
}

impl SnapshotReader {
    /// Takes the next piece; the whole when it was the last.
    ///
    /// # Errors
    /// [`Malformed`]: a piece that cannot be read, or not the one that comes next. The snapshot is void then.
    pub fn read_piece(&mut self, part: v1::AccountsPart) -> Result<Option<(StateVersion, State)>, Malformed> {
        let origin = StateVersion {
            ledger: parse("ledger_id", &part.ledger_id)?,
            version: part.version,
            lineage: lineage_from_wire("lineage", &part.lineage, &part.lineage_versions)?,
            pristine: part.blank,
        };
        let mut state = match self.begun.take() {
            _ if part.first => State::default(),
            Some((begun, state)) if begun == origin => state,
            _ => return Err(Malformed::invalid("first", "is missing: a snapshot without its beginning")),
        };
        for user in part.users {
            let user = user_from_wire(user)?;
            state.users.insert(user.id, user);
        }
        for group in part.groups {
            let group = group_from_wire(group)?;
            state.groups.insert(group.id, group);
        }
        for key in part.keys {
            let key = key_from_wire(key)?;
            state.keys.insert(key.id, key);
        }
        for id in part.removed_ids {
            let id = Uuid::from_slice(&id)
                .map_err(|_| Malformed::invalid("removed_ids", "hold one that is not 16 bytes long"))?;
            state.removed.insert(id);
        }
        for ended in &part.ended_sessions {
            let (session, until) = ended_from_wire(ended)?;
            state.ended_sessions.insert(session, until);
        }
        let marks = state.removed.len() + state.ended_sessions.len();
        if state.users.len() + state.groups.len() + state.keys.len() + marks > STATE_SIZE_MAX {
            return Err(Malformed::invalid("users", "hold more than any cluster has"));
        }
        if part.last {
            state.token_keys = token_keys_from_wire(part.token_keys)?;
            return Ok(Some((origin, state)));
        }
        self.begun = Some((origin, state));
        Ok(None)
    }
}

/// The ledgers that a state goes back to.
#[must_use]
pub fn lineage_to_wire(lineage: &[Ancestor]) -> Vec<String> {
    lineage.iter().map(|ancestor| ancestor.ledger.to_string()).collect()
}

/// How far it does, for each of them.
#[must_use]
pub fn lineage_versions_to_wire(lineage: &[Ancestor]) -> Vec<u64> {
    lineage.iter().map(|ancestor| ancestor.version.unwrap_or_default()).collect()
}

/// The ledgers that a state goes back to, and how far.
///
/// # Errors
/// [`Malformed`] for what is no ledger's id.
pub fn lineage_from_wire(
    field: &'static str,
    ledgers: &[String],
    versions: &[u64],
) -> Result<Vec<Ancestor>, Malformed> {
    let versions = versions.iter().map(|version| Some(*version).filter(|version| *version > 0));
    let ancestor = |(ledger, version)| Ok(Ancestor { ledger: parse(field, ledger)?, version });
    ledgers.iter().map(String::as_str).zip(versions.chain(std::iter::repeat(None))).map(ancestor).collect()
}

fn ended_to_wire((session, until): (&Jti, &Timestamp)) -> v1::EndedSession {
    v1::EndedSession { session: session.0.as_bytes().to_vec(), until: Some(moment::to_wire(*until)) }
}

fn ended_from_wire(ended: &v1::EndedSession) -> Result<(Jti, Timestamp), Malformed> {
    let session = Uuid::from_slice(&ended.session)
        .map_err(|_| Malformed::invalid("session", "is not 16 bytes long"))?;
    Ok((Jti(session), moment::required("until", ended.until)?))
}

fn token_keys_to_wire(keys: &BTreeSet<[u8; 32]>) -> Vec<Vec<u8>> {
    keys.iter().map(|key| key.to_vec()).collect()
}

fn token_keys_from_wire(keys: Vec<Vec<u8>>) -> Result<BTreeSet<[u8; 32]>, Malformed> {
    keys.into_iter()
        .map(|key| {
            key.try_into()
                .map_err(|_| Malformed::invalid("token_keys", "hold a key that is not 32 bytes long"))
        })
        .collect()
}

fn removed<K, V>(
    difference: &mut Difference<K, V>,
    field: &'static str,
    ids: &[String],
) -> Result<(), Malformed>
where
    K: std::str::FromStr,
    K::Err: std::fmt::Display,
{
    difference.removed = ids.iter().map(|id| parse(field, id)).collect::<Result<_, _>>()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Timestamp;
    use crate::domain::group::{Group, Limits};
    use crate::domain::user::{ApiKey, Role, User};

    /// So many groups, each with a user that has a key.
    fn state(groups: usize) -> State {
        let at = Timestamp::from_micros(1);
        let mut state = State { token_keys: [[7; 32]].into(), ..State::default() };
        for n in 0..groups {
            state.removed.insert(Uuid::now_v7());
            state.ended_sessions.insert(Jti::new(), at);
            let (group_id, user_id, key_id) = (GroupId::new(), UserId::new(), KeyId::new());
            let name = n.to_string();
            let limits = Limits::default();
            let group = Group {
                id: group_id,
                name: name.clone(),
                limits: limits.clone(),
                created_at: at,
                updated_at: at,
            };
            state.groups.insert(group_id, group);
            let user = User {
                id: user_id,
                name: name.clone(),
                group_id: Some(group_id),
                role: Role::User,
                manages: BTreeSet::new(),
                active: true,
                password_hash: None,
                limits,
                tokens_valid_from: at,
                created_at: at,
                updated_at: at,
                last_login_at: None,
                identity: None,
                external_id: None,
            };
            state.users.insert(user_id, user);
            let key = ApiKey {
                id: key_id,
                user_id,
                name,
                prefix: "sp-".to_owned(),
                digest: [9; 32],
                created_at: at,
                last_used_at: None,
                expires_at: None,
            };
            state.keys.insert(key_id, key);
        }
        state
    }

    fn origin() -> StateVersion {
        let ancestor = |version| Ancestor { ledger: LedgerId::new(), version };
        let lineage = vec![ancestor(Some(2)), ancestor(None)];
        StateVersion { ledger: LedgerId::new(), version: 3, lineage, pristine: false }
    }

    #[test]
    fn a_snapshot_arrives_whole_whatever_its_size() {
        for groups in [0, 1, PIECE_LEN_MAX, PIECE_LEN_MAX + 1] {
            let (origin, state) = (origin(), state(groups));
            let mut reader = SnapshotReader::default();
            let whole = snapshot_to_wire(origin.clone(), Arc::new(state.clone()))
                .find_map(|part| reader.read_piece(part).expect("readable"))
                .expect("a last piece");
            assert_eq!(whole, (origin, state), "{groups} groups");
        }
    }

    #[test]
    fn a_snapshot_that_broke_off_is_void() {
        let mut parts = snapshot_to_wire(origin(), Arc::new(state(PIECE_LEN_MAX * 2)));
        let mut reader = SnapshotReader::default();
        assert!(reader.read_piece(parts.next().expect("a piece")).expect("readable").is_none());
        let last = snapshot_to_wire(origin(), Arc::new(state(1))).last().expect("a piece");
        assert!(reader.read_piece(last).is_err(), "the end of another snapshot");
        assert!(reader.read_piece(parts.next().expect("a piece")).is_err(), "the first one was thrown away");
    }

    #[test]
    fn a_step_arrives_as_it_was_sent() {
        let (before, after, origin) = (state(3), state(2), origin());
        let change = before.change_to(&after);
        let step = Delta { base: 2, version: 3, change: Arc::new(change.clone()) };
        let read = delta_from_wire(delta_to_wire(origin.ledger, &step)).expect("readable");
        assert_eq!(read, (origin.ledger, 2, 3, change));
    }
}
