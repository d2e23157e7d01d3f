//! Everyone's credentials in memory: what a request is authenticated from, without a database on the way.
//!
//! Every look-up is by hash, so its cost does not grow with the number of users. A change takes the write lock
//! for the moment of a few map operations; a replaced state is built aside and swapped in.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use subtle::ConstantTimeEq;

use crate::accounts::error::Error;
use crate::crypto::api_key::Digest;
use crate::domain::clock::Timestamp;
use crate::domain::group::{Group, Limits};
use crate::domain::ids::{GroupId, KeyId, UserId};
use crate::domain::principal::{Credential, Principal};
use crate::domain::quota::Allowance;
use crate::domain::user::{ApiKey, Role, User};
use crate::store::AccountsChange;

/// Resolution of `last_used_at`: a key in use is recorded once in this time.
const LAST_USED_GRAIN: Duration = Duration::from_mins(1);

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Users, groups and keys as a request needs them.
#[derive(Debug, Default)]
pub struct Directory {
    tables: RwLock<Tables>,
    /// Keys whose last use has not been written yet.
    used: Mutex<Vec<(KeyId, Timestamp)>>,
}

#[derive(Debug, Default)]
struct Tables {
    users: Map<UserId, Arc<UserEntry>>,
    groups: Map<GroupId, Arc<GroupEntry>>,
    keys: Map<Digest, Arc<Key>>,
    digests: Map<KeyId, Digest>,
    keys_of: Map<UserId, Vec<KeyId>>,
}

#[derive(Debug)]
struct UserEntry {
    id: UserId,
    name: Arc<str>,
    group: Option<GroupId>,
    role: Role,
    manages: Arc<[GroupId]>,
    active: bool,
    allowance: Arc<Allowance>,
    tokens_valid_from: Timestamp,
}

#[derive(Debug)]
struct GroupEntry {
    id: GroupId,
    name: Arc<str>,
    allowance: Arc<Allowance>,
}

#[derive(Debug)]
struct Key {
    id: KeyId,
    user: UserId,
    digest: Digest,
    expires_at: Option<Timestamp>,
    last_used_micros: AtomicI64,
}

impl Directory {
    /// Authenticates the owner of the key with this digest.
    ///
    /// # Errors
    /// [`Error::UnknownCredential`], [`Error::Expired`], [`Error::Disabled`].
    pub fn by_key(&self, digest: &Digest, now: Timestamp) -> Result<Principal, Error> {
        let tables = self.tables.read();
        let key = tables.keys.get(digest).ok_or(Error::UnknownCredential)?;
        if !bool::from(key.digest.ct_eq(digest)) {
            return Err(Error::UnknownCredential);
        }
        if let Some(at) = key.expires_at.filter(|at| *at <= now) {
            return Err(Error::Expired { what: "API key", at });
        }
        let user_entry = tables.users.get(&key.user).ok_or(Error::UnknownCredential)?;
        let principal = tables.principal(user_entry, Credential::ApiKey(key.id))?;
        self.note_use(key, now);
        Ok(principal)
    }

    /// The principal of a user whose token was issued at `issued_at`.
    ///
    /// # Errors
    /// [`Error::UnknownCredential`] when the user is gone, [`Error::Revoked`], [`Error::Disabled`].
    pub fn by_user(
        &self,
        id: UserId,
        credential: Credential,
        issued_at: Timestamp,
    ) -> Result<Principal, Error> {
        let tables = self.tables.read();
        let user_entry = tables.users.get(&id).ok_or(Error::UnknownCredential)?;
        let principal = tables.principal(user_entry, credential)?;
        if issued_at < user_entry.tokens_valid_from { Err(Error::Revoked) } else { Ok(principal) }
    }

    pub fn put_user(&self, user: &User) {
        let user_entry = Arc::new(UserEntry::new(user));
        self.tables.write().users.insert(user.id, user_entry);
    }

    /// Forgets a user and the user's keys.
    pub fn remove_user(&self, id: UserId) {
        self.tables.write().remove_user(id);
    }

    pub fn put_group(&self, group: &Group) {
        let group_entry = Arc::new(GroupEntry::new(group));
        self.tables.write().groups.insert(group.id, group_entry);
    }

    /// Forgets a group. Its members, who should have been moved before, are in none then.
    pub fn remove_group(&self, id: GroupId) {
        self.tables.write().groups.remove(&id);
    }

    pub fn put_key(&self, key: &ApiKey) {
        self.tables.write().put_key(key);
    }

    pub fn remove_key(&self, id: KeyId) {
        self.tables.write().remove_key(id);
    }

    /// Applies a change of another node's accounts, atomically. Costs what changes.
    pub fn step(&self, change: &AccountsChange) {
        let user_entries: Vec<_> = change.users.iter().map(|user| Arc::new(UserEntry::new(user))).collect();
        let group_entries: Vec<_> =
            change.groups.iter().map(|group| Arc::new(GroupEntry::new(group))).collect();
        let mut tables = self.tables.write();
        for id in &change.removed_users {
            tables.remove_user(*id);
        }
        for id in &change.removed_groups {
            tables.groups.remove(id);
        }
        for id in change.removed_keys.iter().copied().chain(change.keys.iter().map(|key| key.id)) {
            tables.remove_key(id);
        }
        tables.users.extend(user_entries.into_iter().map(|user_entry| (user_entry.id, user_entry)));
        tables.groups.extend(group_entries.into_iter().map(|group_entry| (group_entry.id, group_entry)));
        for key in &change.keys {
            tables.put_key(key);
        }
    }

    pub fn replace(&self, users: &[User], groups: &[Group], keys: &[ApiKey]) {
        let mut tables = Tables {
            users: collect(users.iter().map(|user| (user.id, Arc::new(UserEntry::new(user))))),
            groups: collect(groups.iter().map(|group| (group.id, Arc::new(GroupEntry::new(group))))),
            ..Tables::default()
        };
        tables.keys.reserve(keys.len());
        tables.digests.reserve(keys.len());
        for key in keys {
            tables.put_key(key);
        }
        let old = std::mem::replace(&mut *self.tables.write(), tables);
        // Freed after the lock is released: at 100,000 users that takes a while.
        drop(old);
    }

    #[must_use]
    pub fn user_name(&self, id: UserId) -> Option<Arc<str>> {
        self.tables.read().users.get(&id).map(|user_entry| user_entry.name.clone())
    }

    #[must_use]
    pub fn group_name(&self, id: GroupId) -> Option<Arc<str>> {
        self.tables.read().groups.get(&id).map(|group_entry| group_entry.name.clone())
    }

    /// A user's name and what the user may use.
    #[must_use]
    pub fn user_allowance(&self, id: UserId) -> Option<(Arc<str>, Arc<Allowance>)> {
        let tables = self.tables.read();
        tables.users.get(&id).map(|user| (user.name.clone(), user.allowance.clone()))
    }

    /// A group's name and what its members may use together.
    #[must_use]
    pub fn group_allowance(&self, id: GroupId) -> Option<(Arc<str>, Arc<Allowance>)> {
        let tables = self.tables.read();
        tables.groups.get(&id).map(|group| (group.name.clone(), group.allowance.clone()))
    }

    /// How many users, groups and keys there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let tables = self.tables.read();
        (tables.users.len(), tables.groups.len(), tables.keys.len())
    }

    /// At most `most` of the keys used since the last call, with the time of use to within a minute.
    pub fn take_used(&self, most: usize) -> Vec<(KeyId, Timestamp)> {
        let mut used = self.used.lock();
        let most = most.min(used.len());
        used.drain(..most).collect()
    }

    /// Records uses on another node, where they are later than what is known.
    pub fn note_used(&self, uses: &[(KeyId, Timestamp)]) {
        let tables = self.tables.read();
        for (id, at) in uses {
            let key = tables.digests.get(id).and_then(|digest| tables.keys.get(digest));
            let known = key.map(|key| key.last_used_micros.fetch_max(at.as_micros(), Ordering::Relaxed));
            if known.is_some_and(|known| known < at.as_micros()) {
                self.used.lock().push((*id, *at));
            }
        }
    }

    /// Puts back what [`Directory::take_used`] gave and could not be written.
    pub fn put_back_used(&self, unwritten: &[(KeyId, Timestamp)]) {
        self.used.lock().extend(unwritten);
    }

    /// At most one note per key and minute, so the list is bounded by the number of keys however busy they are.
    fn note_use(&self, key: &Key, now: Timestamp) {
        let (seen, now_micros) = (key.last_used_micros.load(Ordering::Relaxed), now.as_micros());
        let stale = Timestamp::from_micros(seen).plus(LAST_USED_GRAIN) <= now;
        let swap = |seen| {
            let result =
                key.last_used_micros.compare_exchange(seen, now_micros, Ordering::Relaxed, Ordering::Relaxed);
            result.is_ok()
        };
        if stale && swap(seen) {
            self.used.lock().push((key.id, now));
        }
    }
}

impl Tables {
    fn principal(&self, user_entry: &UserEntry, credential: Credential) -> Result<Principal, Error> {
        if !user_entry.active {
            return Err(Error::Disabled(user_entry.name.to_string()));
        }
        let group_entry = user_entry.group.and_then(|id| self.groups.get(&id));
        Ok(Principal {
            user_id: user_entry.id,
            user: user_entry.name.clone(),
            group: group_entry.map(|group_entry| (group_entry.id, group_entry.name.clone())),
            allowance: user_entry.allowance.clone(),
            group_allowance: group_entry.map(|group_entry| group_entry.allowance.clone()),
            role: user_entry.role,
            manages: user_entry.manages.clone(),
            credential,
        })
    }

    fn put_key(&mut self, key: &ApiKey) {
        let entry = Key {
            id: key.id,
            user: key.user_id,
            digest: key.digest,
            expires_at: key.expires_at,
            last_used_micros: AtomicI64::new(key.last_used_at.map_or(0, Timestamp::as_micros)),
        };
        self.keys.insert(key.digest, Arc::new(entry));
        if self.digests.insert(key.id, key.digest).is_none() {
            self.keys_of.entry(key.user_id).or_default().push(key.id);
        }
    }

    fn remove_user(&mut self, id: UserId) {
        self.users.remove(&id);
        for key in self.keys_of.remove(&id).unwrap_or_default() {
            self.forget_digest(key);
        }
    }

    fn remove_key(&mut self, id: KeyId) {
        if let Some(key) = self.forget_digest(id)
            && let Some(keys) = self.keys_of.get_mut(&key.user)
        {
            keys.retain(|other| *other != id);
        }
    }

    fn forget_digest(&mut self, id: KeyId) -> Option<Arc<Key>> {
        let digest = self.digests.remove(&id)?;
        self.keys.remove(&digest)
    }
}

impl UserEntry {
    fn new(user: &User) -> Self {
        Self {
            id: user.id,
            name: user.name.as_str().into(),
            group: user.group_id,
            role: user.role,
            manages: user.manages.iter().copied().collect(),
            active: user.active,
            allowance: compiled(&user.limits),
            tokens_valid_from: user.tokens_valid_from,
        }
    }
}

impl GroupEntry {
    fn new(group: &Group) -> Self {
        Self { id: group.id, name: group.name.as_str().into(), allowance: compiled(&group.limits) }
    }
}

/// Globs were checked when the limits were set. Should a database hold one that cannot be read all the same,
/// no model is allowed: a limit nobody can read must not become no limit.
fn compiled(limits: &Limits) -> Arc<Allowance> {
    let allowance = Allowance::new(limits.clone())
        .or_else(|_| Allowance::new(Limits { models: Some(Vec::new()), ..limits.clone() }));
    Arc::new(allowance.unwrap_or_default())
}

fn collect<K: Eq + Hash, V>(entries: impl Iterator<Item = (K, V)>) -> Map<K, V> {
    entries.collect()
}
