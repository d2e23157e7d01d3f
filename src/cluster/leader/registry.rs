//! The registry of peers: pure rules. The caller brings the time and keeps what changed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::{InstanceId, NodeId};
use crate::domain::peer::{Incomplete, Peer};

/// A peer that misses so many heartbeats in a row is inactive.
pub const MISSED_MAX: u32 = 3;

/// A node that says it is a run restarted waits for so many heartbeats of that run: it may be a copy of one that lives. No
/// heartbeat is waited for where that run's watch broke off.
const HEARD_FOR: u32 = 2;

/// As long as that at most where the run has no watch open: one that lives opens one again within that time
/// ([`crate::cluster::retry`]).
const UNWATCHED_FOR: Duration = SETTLING;

/// The most runs of one node that are remembered as refused.
const REFUSED_MAX: usize = 16;

/// A registry without a past gives no id away for so long: its leader may have lost its disk, and the nodes that have ids,
/// which notice a new leader and ask again within that time ([`crate::cluster::retry`]), come first.
pub const SETTLING: Duration = Duration::from_secs(5);

/// The most peers a registry holds; one more has to wait until an admin forgets another.
pub const PEERS_MAX: usize = 10_000;

/// The most names that wait for their nodes; who asks beyond that has to ask again later.
pub const UNCLAIMED_MAX: usize = 64;

/// Names `sp-N` are given below this.
const NUMBERS_MAX: u64 = 1 << 40;

/// A node that wants to be a peer.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its name.
    pub node_id: NodeId,
    /// This run of its process.
    pub instance: InstanceId,
    /// Earlier runs on the same data directory.
    pub former: Vec<InstanceId>,
    /// Names that it had before.
    pub former_names: Vec<NodeId>,
    /// How clients reach it.
    pub addr: String,
    /// Its share of traffic.
    pub weight: u32,
    /// Its sproxy version.
    pub version: String,
}

/// A node's sign of life.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeartbeatReport {
    /// Usage logs it owes.
    pub unsynced: u64,
    /// Up to here it owes nothing.
    pub synced_through: Option<Timestamp>,
    /// It goes, or wants no new traffic.
    pub draining: bool,
}

/// Why the registry says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another living process has the id.
    #[error("the node id {id} belongs to another running node, at {addr}")]
    Taken {
        /// The id.
        id: NodeId,
        /// Where clients reach the other one.
        addr: String,
    },
    /// The run that it says it was before is heard of still.
    #[error(
        "the node id {id} belongs to a run on this data directory that still lives, at {addr}: if this is a copy of that \
         node's data directory, stop this node, or start it with an empty one and another node.id"
    )]
    Lives {
        /// The id.
        id: NodeId,
        /// Where clients reach that run.
        addr: String,
    },
    /// The registry does not know this node, or knows a later run of it.
    #[error("the leader does not know this run of {0}: register")]
    Unknown(NodeId),
    /// No peer has this id.
    #[error("there is no peer {0}")]
    NoSuchPeer(NodeId),
    /// The leader itself can be neither registered nor forgotten.
    #[error("{0} is the leader itself")]
    Leader(NodeId),
    /// A peer that lives cannot be forgotten.
    #[error("{0} is active: stop it first, or drain it")]
    Active(NodeId),
    /// Who has an id may come, who wants one has to wait.
    #[error(
        "this leader's registry is new: nodes that have an id come first, others are given one from {0} on"
    )]
    Settling(Timestamp),
    /// Too many nodes were given an id and are still to come with it.
    #[error(
        "{UNCLAIMED_MAX} nodes were given an id and have not come with it yet: ask for one later, or set node.id"
    )]
    Unclaimed,
    /// The registry is full.
    #[error("there are {PEERS_MAX} peers already: forget one first")]
    Full,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Taken { .. } | Error::Lives { .. } | Error::Leader(_) | Error::Active(_) => {
                Kind::Conflict
            }
            Error::Unknown(_) | Error::NoSuchPeer(_) => Kind::NotFound,
            Error::Settling(_) | Error::Unclaimed | Error::Full => Kind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

/// A peer, and what only its present run says.
#[derive(Clone, Debug)]
struct Entry {
    /// As it is kept; `draining` is the admin's word.
    peer: Peer,
    /// The node's own word.
    drains_itself: bool,
    /// From here its silence counts: when it was last heard of, or when this leader started.
    silent_since: Timestamp,
    /// Its streams of `WatchState` that are open.
    watches: u32,
    /// The last of them ended, and nothing was heard of it since.
    hung_up: bool,
    /// Runs that wanted its place while it was heard of, and since when.
    refused: Vec<(InstanceId, Timestamp)>,
    /// Runs on its data directory before the one that registered.
    former: Vec<InstanceId>,
    /// Names that it had.
    former_names: Vec<NodeId>,
}

impl Entry {
    fn new(peer: Peer, now: Timestamp) -> Self {
        Self {
            peer,
            drains_itself: false,
            silent_since: now,
            watches: 0,
            hung_up: false,
            refused: Vec::new(),
            former: Vec::new(),
            former_names: Vec::new(),
        }
    }

    fn shown(&self) -> Peer {
        Peer { draining: self.peer.draining || self.drains_itself, ..self.peer.clone() }
    }
}

/// The peers of one leader, the leader itself not among them.
#[derive(Clone, Debug)]
pub struct Registry {
    leader: NodeId,
    heartbeat: Duration,
    entries: BTreeMap<NodeId, Entry>,
    /// From here on ids are given to nodes that have none.
    settled_at: Timestamp,
}

impl Registry {
    /// The registry as it was kept. Peers that were active get three heartbeats from `now` to be heard of.
    #[must_use]
    pub fn new(leader: NodeId, heartbeat: Duration, kept: Vec<Peer>, now: Timestamp) -> Self {
        let entries: BTreeMap<NodeId, Entry> = kept
            .into_iter()
            .filter(|peer| peer.id != leader)
            .map(|peer| (peer.id.clone(), Entry::new(peer, now)))
            .collect();
        let settling = if entries.is_empty() { SETTLING } else { Duration::ZERO };
        Self { leader, heartbeat, entries, settled_at: now.plus(settling) }
    }

    /// Registers a node, or registers it again. The answer is the peer to keep, before the node is told.
    ///
    /// # Errors
    /// [`Error::Taken`] while another run lives under the id, [`Error::Lives`] while the run is heard of that this one says
    /// it was, [`Error::Full`], [`Error::Leader`].
    pub fn register(&mut self, node: Registration, now: Timestamp) -> Result<Peer, Error> {
        let id = node.node_id.clone();
        if id == self.leader {
            return Err(Error::Leader(id));
        }
        if let Some(held) = self.entries.get_mut(&id) {
            held.check(&node, self.heartbeat, now)?;
        }
        let known = self.entries.get(&id);
        if known.is_none() && self.entries.len() >= PEERS_MAX {
            return Err(Error::Full);
        }
        let peer = Peer {
            id: id.clone(),
            addr: node.addr,
            weight: node.weight,
            is_active: true,
            draining: known.is_some_and(|entry| entry.peer.draining),
            registered_at: known.map_or(now, |entry| entry.peer.registered_at),
            last_seen: Some(now),
            unsynced: known.map_or(0, |entry| entry.peer.unsynced),
            synced_through: known.and_then(|entry| entry.peer.synced_through),
            version: node.version,
            instance_id: Some(node.instance),
        };
        let again = known.filter(|entry| entry.peer.instance_id == Some(node.instance));
        let (watches, refused) =
            again.map(|entry| (entry.watches, entry.refused.clone())).unwrap_or_default();
        let (former, former_names) = (node.former, node.former_names);
        let entry = Entry { watches, refused, former, former_names, ..Entry::new(peer.clone(), now) };
        self.entries.insert(id, entry);
        Ok(peer)
    }

    /// Whether ids are given to nodes that have none.
    ///
    /// # Errors
    /// [`Error::Settling`] too early, [`Error::Full`].
    pub fn may_name(&self, now: Timestamp) -> Result<(), Error> {
        // A clock that was ahead when this leader started must not keep newcomers waiting until then.
        if now < self.settled_at && self.settled_at.since(now) <= SETTLING {
            return Err(Error::Settling(self.settled_at));
        }
        if self.entries.len() < PEERS_MAX { Ok(()) } else { Err(Error::Full) }
    }

    /// The peer whose present run `is_it`.
    #[must_use]
    pub fn named(&self, is_it: impl Fn(InstanceId) -> bool) -> Option<NodeId> {
        let entry = self.entries.values().find(|entry| entry.peer.instance_id.is_some_and(&is_it));
        entry.map(|entry| entry.peer.id.clone())
    }

    /// Whether usage under `name` is the node `id`'s own: it says that it had that name, and no other node lives under it.
    /// So a changed `node.id` costs nothing that was still owed, and nobody speaks for another living node.
    #[must_use]
    pub fn owns_name(&self, id: &NodeId, name: &NodeId) -> bool {
        let Some(node) = self.entries.get(id) else { return false };
        let is_another = |other: &Entry| {
            other.peer.is_active && other.peer.instance_id.is_none_or(|run| !node.former.contains(&run))
        };
        name == id
            || (node.former_names.contains(name)
                && *name != self.leader
                && !self.entries.get(name).is_some_and(is_another))
    }

    /// Whether the id is the leader's or a peer's.
    #[must_use]
    pub fn knows(&self, id: &NodeId) -> bool {
        *id == self.leader || self.entries.contains_key(id)
    }

    /// The highest `N` of all `sp-N` here, the leader's included; 1 if there is none.
    #[must_use]
    pub fn highest_number(&self) -> u64 {
        self.entries.keys().chain([&self.leader]).filter_map(number_of).chain([1]).max().unwrap_or(1)
    }

    /// Takes a heartbeat; the answer says whether an admin wants the node drained, and whether the peer came back to life.
    ///
    /// # Errors
    /// [`Error::Unknown`]: the node has to register.
    pub fn heartbeat(
        &mut self,
        id: &NodeId,
        instance: InstanceId,
        sign: HeartbeatReport,
        now: Timestamp,
    ) -> Result<Peer, Error> {
        let entry = self.living(id, instance)?;
        entry.heard(now);
        entry.drains_itself = sign.draining;
        entry.peer.unsynced = sign.unsynced;
        // Nobody can owe nothing of what is still to come: a clock that is ahead must not make totals look complete.
        let through = sign.synced_through.map(|through| through.min(now));
        entry.peer.synced_through = entry.peer.synced_through.max(through);
        Ok(entry.peer.clone())
    }

    /// Checks that `id` is spoken for by the run that registered, and notes that it lives.
    ///
    /// # Errors
    /// [`Error::Unknown`]: the node has to register.
    pub fn seen(&mut self, id: &NodeId, instance: InstanceId, now: Timestamp) -> Result<(), Error> {
        self.living(id, instance).map(|entry| entry.heard(now))
    }

    /// A node watches the state: that it lives is seen until the watch ends.
    ///
    /// # Errors
    /// [`Error::Unknown`]: the node has to register.
    pub fn watch_opened(&mut self, id: &NodeId, instance: InstanceId, now: Timestamp) -> Result<(), Error> {
        let entry = self.living(id, instance)?;
        entry.heard(now);
        entry.watches += 1;
        Ok(())
    }

    /// A watch ended. The last one of a run that is gone ends at once where its machine goes on; until the run is heard of
    /// again, it counts as gone for its successor.
    pub fn watch_closed(&mut self, id: &NodeId, instance: InstanceId) {
        if let Ok(entry) = self.living(id, instance) {
            entry.watches = entry.watches.saturating_sub(1);
            entry.hung_up = entry.watches == 0;
        }
    }

    /// What a node said it owes nothing of is untrue: the leader's database has lost some of it. Until the next word.
    pub fn doubt(&mut self, id: &NodeId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.peer.synced_through = None;
        }
    }

    /// A node goes on purpose, owing so many usage logs; none: nobody knows, and it is as if it had fallen silent. The
    /// answer is the peer to keep.
    ///
    /// # Errors
    /// [`Error::Unknown`] for another run than the registered one: a Leave that comes late takes nobody down.
    pub fn leave(
        &mut self,
        id: &NodeId,
        instance: InstanceId,
        owed: Option<u64>,
        now: Timestamp,
    ) -> Result<Peer, Error> {
        let entry = self.living(id, instance)?;
        entry.heard(now);
        entry.peer.is_active = false;
        if let Some(owed) = owed {
            entry.peer.unsynced = owed;
            // A heartbeat that was sent before and comes after must not bring it back.
            entry.peer.instance_id = None;
        }
        Ok(entry.peer.clone())
    }

    /// Marks peers inactive that have been silent for three heartbeats; the answer is the peers to keep.
    pub fn sweep(&mut self, now: Timestamp) -> Vec<Peer> {
        let patience = self.heartbeat * MISSED_MAX;
        // Nobody was heard of later than now: the clock was ahead.
        for entry in self.entries.values_mut() {
            entry.silent_since = entry.silent_since.min(now);
        }
        let silent = |entry: &&mut Entry| entry.peer.is_active && now.since(entry.silent_since) > patience;
        self.entries
            .values_mut()
            .filter(silent)
            .map(|entry| {
                entry.peer.is_active = false;
                entry.peer.clone()
            })
            .collect()
    }

    /// An admin's word on whether a peer gets traffic. The answer is the peer to keep.
    ///
    /// # Errors
    /// [`Error::NoSuchPeer`].
    pub fn drain(&mut self, id: &NodeId, draining: bool) -> Result<Peer, Error> {
        let entry = self.entries.get_mut(id).ok_or_else(|| Error::NoSuchPeer(id.clone()))?;
        entry.peer.draining = draining;
        Ok(entry.peer.clone())
    }

    /// Whether a peer may be forgotten: only what does not live.
    ///
    /// # Errors
    /// [`Error::NoSuchPeer`], [`Error::Active`], [`Error::Leader`].
    pub fn may_forget(&self, id: &NodeId) -> Result<(), Error> {
        match self.entries.get(id) {
            _ if *id == self.leader => Err(Error::Leader(id.clone())),
            None => Err(Error::NoSuchPeer(id.clone())),
            Some(entry) if entry.peer.is_active => Err(Error::Active(id.clone())),
            Some(_) => Ok(()),
        }
    }

    /// Forgets a peer.
    pub fn forget(&mut self, id: &NodeId) {
        self.entries.remove(id);
    }

    /// Every peer, as people see it.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.entries.values().map(Entry::shown).collect()
    }

    /// Every peer, as it is kept.
    #[must_use]
    pub fn kept(&self) -> Vec<Peer> {
        self.entries.values().map(|entry| entry.peer.clone()).collect()
    }

    /// Up to here every peer, and the leader's own ledger (`own`), owes nothing. A peer that died, is cut off or has left
    /// owing something holds this back until it has caught up, has left with nothing owed, or is forgotten.
    #[must_use]
    pub fn complete_through(&self, own: Option<Timestamp>) -> Option<Timestamp> {
        self.awaited().map(|peer| peer.synced_through).chain([own]).min().flatten()
    }

    /// Who holds that back: those that are not heard of, and those that live and have owed something for longer than
    /// three heartbeats.
    #[must_use]
    pub fn incomplete(&self, now: Timestamp) -> Vec<Incomplete> {
        let patience = self.heartbeat * MISSED_MAX;
        let is_late =
            |through: Option<Timestamp>| through.is_none_or(|through| now.since(through) > patience);
        self.awaited()
            .filter(|peer| !peer.is_active || is_late(peer.synced_through))
            .map(|peer| Incomplete {
                node: peer.id.clone(),
                since: peer.synced_through.unwrap_or(peer.registered_at),
                unsynced: peer.unsynced,
            })
            .collect()
    }

    fn awaited(&self) -> impl Iterator<Item = &Peer> {
        self.entries.values().map(|entry| &entry.peer).filter(|peer| !peer.has_settled())
    }

    fn living(&mut self, id: &NodeId, instance: InstanceId) -> Result<&mut Entry, Error> {
        self.entries
            .get_mut(id)
            .filter(|entry| entry.peer.instance_id == Some(instance))
            .ok_or_else(|| Error::Unknown(id.clone()))
    }
}

/// The `N` of `sp-N`. One so high that nobody can have been given it is any name.
fn number_of(id: &NodeId) -> Option<u64> {
    let number = id.as_str().strip_prefix("sp-")?.parse().ok()?;
    (number < NUMBERS_MAX).then_some(number)
}

impl Entry {
    /// Whether `node` may have this place: it is this run, or one after it, or nobody is there.
    fn check(&mut self, node: &Registration, heartbeat: Duration, now: Timestamp) -> Result<(), Error> {
        let Some(held) = self.peer.instance_id.filter(|held| self.peer.is_active && *held != node.instance)
        else {
            return Ok(());
        };
        let (id, addr) = (node.node_id.clone(), self.peer.addr.clone());
        if !node.former.contains(&held) {
            return Err(Error::Taken { id, addr });
        }
        let waits = self.refused.iter().find(|(run, _)| *run == node.instance);
        // A run does not live on beside its successor: who is refused and does is a copy, whatever breaks off later.
        let is_copy = waits.is_some_and(|(_, since)| self.silent_since >= since.plus(heartbeat));
        let patience = heartbeat * HEARD_FOR;
        let patience = if self.watches == 0 { patience.min(UNWATCHED_FOR) } else { patience };
        let is_heard = !self.hung_up && now.since(self.silent_since) <= patience;
        if !is_copy && !is_heard {
            return Ok(());
        }
        if waits.is_none() {
            if self.refused.len() == REFUSED_MAX {
                self.refused.remove(0);
            }
            self.refused.push((node.instance, now));
        }
        Err(Error::Lives { id, addr })
    }

    fn heard(&mut self, now: Timestamp) {
        self.peer.is_active = true;
        self.peer.last_seen = Some(now);
        self.silent_since = now;
        self.hung_up = false;
    }
}

#[cfg(test)]
mod tests;
