//! The registry of peers: pure rules. The caller brings the time and what the database holds, and keeps what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cluster::leader::peer_entry::Entry;
use crate::cluster::registration::Registration;
use crate::domain::clock::Timestamp;
use crate::domain::fence::BatchesHeld;
use crate::domain::ids::{InstanceId, LedgerId, NodeId};
use crate::domain::peer::{Incomplete, Peer, PeerStatus};

pub use crate::cluster::leader::peer_entry::{Error, HeartbeatReport, PEERS_MAX, SETTLING, UNCLAIMED_MAX};

/// A peer that misses so many heartbeats in a row is inactive.
pub const MISSED_MAX: u32 = 3;

/// Names `sp-N` are given below this.
const NUMBERS_MAX: u64 = 1 << 40;

/// The peers of one leader: what the database holds of them, as this leader last read it, and what only this process
/// knows. Other leaders may work on the same database, so a rule that changes what is kept is asked after
/// [`Registry::refresh`], in the transaction that read the row and writes the answer.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Not among the peers, and never to be. None on a database that leaders share: each of them is a peer like any other.
    leader: Option<NodeId>,
    heartbeat: Duration,
    entries: BTreeMap<NodeId, Entry>,
    /// From here on ids are given to nodes that have none.
    settled_at: Timestamp,
}

impl Registry {
    /// The registry as it was kept. Peers that were active get three heartbeats from `now` to be heard of.
    #[must_use]
    pub fn new(leader: NodeId, heartbeat: Duration, kept: Vec<Peer>, now: Timestamp) -> Self {
        Self::open(Some(leader), heartbeat, kept, now)
    }

    /// The same of leaders that share a database.
    #[must_use]
    pub fn shared(heartbeat: Duration, kept: Vec<Peer>, now: Timestamp) -> Self {
        Self::open(None, heartbeat, kept, now)
    }

    fn open(leader: Option<NodeId>, heartbeat: Duration, kept: Vec<Peer>, now: Timestamp) -> Self {
        let entries: BTreeMap<NodeId, Entry> = kept
            .into_iter()
            .filter(|peer| Some(&peer.id) != leader.as_ref())
            .map(|peer| (peer.id.clone(), Entry::new(peer, now)))
            .collect();
        let settling = if entries.is_empty() { SETTLING } else { Duration::ZERO };
        Self { leader, heartbeat, entries, settled_at: now.plus(settling) }
    }

    /// The database holds `row` of this peer, or nothing, and `held` of its usage, if it was asked.
    pub fn refresh(&mut self, id: &NodeId, row: Option<Peer>, held: Option<BatchesHeld>, now: Timestamp) {
        if self.is_leader(id) {
            return;
        }
        match (self.entries.get_mut(id), row) {
            (Some(entry), Some(row)) => entry.refresh(row, held, now),
            (None, Some(row)) => drop(self.entries.insert(id.clone(), Entry::new(row, now))),
            (_, None) => drop(self.entries.remove(id)),
        }
    }

    /// `rows` are all peers that the database holds, after `written` was.
    pub fn refresh_all(&mut self, rows: Vec<Peer>, written: &[PeerStatus], now: Timestamp) {
        for status in written {
            let entry = self.entries.get_mut(&status.id);
            if let Some(entry) = entry.filter(|entry| entry.status.as_ref() == Some(status)) {
                entry.status = None;
            }
        }
        let held: BTreeSet<NodeId> = rows.iter().map(|row| row.id.clone()).collect();
        self.entries.retain(|id, _| held.contains(id));
        for row in rows {
            self.refresh(&row.id.clone(), Some(row), None, now);
        }
    }

    /// Registers a node, or registers it again. The answer is the peer to keep, before the node is told.
    ///
    /// # Errors
    /// [`Error::Taken`] while another run lives under the id, [`Error::Lives`] while the run is heard of that this one says
    /// it was, [`Error::Full`], [`Error::Leader`].
    pub fn register(&mut self, node: Registration, now: Timestamp) -> Result<Peer, Error> {
        let id = node.node_id.clone();
        if self.is_leader(&id) {
            return Err(Error::Leader(id));
        }
        if let Some(held) = self.entries.get_mut(&id) {
            held.check_takeover(&node, self.heartbeat, now)?;
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
            leads_at: node.leads_at,
            instance_id: Some(node.instance),
        };
        let again = known.filter(|entry| entry.peer.instance_id == Some(node.instance));
        let (watches, refused) =
            again.map(|entry| (entry.watches, entry.refused.clone())).unwrap_or_default();
        let (former, former_names, led_ledger) = (node.former, node.former_names, node.led_ledger);
        let entry =
            Entry { watches, refused, former, former_names, led_ledger, ..Entry::new(peer.clone(), now) };
        self.entries.insert(id, entry);
        Ok(peer)
    }

    /// Checks that ids are given now to nodes that have none.
    ///
    /// # Errors
    /// [`Error::Settling`] too early, [`Error::Full`].
    pub fn may_assign_name(&self, now: Timestamp) -> Result<(), Error> {
        // A clock that was ahead when this leader started must not keep newcomers waiting until then.
        if now < self.settled_at && self.settled_at.since(now) <= SETTLING {
            return Err(Error::Settling(self.settled_at));
        }
        if self.entries.len() < PEERS_MAX { Ok(()) } else { Err(Error::Full) }
    }

    /// The id of the peer whose present run satisfies `is_it`.
    #[must_use]
    pub fn find_by_instance(&self, is_it: impl Fn(InstanceId) -> bool) -> Option<NodeId> {
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
                && !self.is_leader(name)
                && !self.entries.get(name).is_some_and(is_another))
    }

    /// The own ledger of a node's database, as its present run has told it.
    #[must_use]
    pub fn led_ledger(&self, id: &NodeId) -> Option<LedgerId> {
        self.entries.get(id)?.led_ledger
    }

    /// Whether the id is the leader's or a peer's.
    #[must_use]
    pub fn knows(&self, id: &NodeId) -> bool {
        self.is_leader(id) || self.entries.contains_key(id)
    }

    /// The highest `N` of all `sp-N` here, the leader's included. If there is none: 1, which is a single leader's, and 0 where
    /// leaders are peers.
    #[must_use]
    pub fn highest_number(&self) -> u64 {
        self.entries
            .keys()
            .chain(&self.leader)
            .filter_map(number_of)
            .chain(self.leader.as_ref().map(|_| 1))
            .max()
            .unwrap_or(0)
    }

    /// Takes a heartbeat; the answer says whether an admin wants the node drained, and whether the peer came back to life.
    ///
    /// # Errors
    /// [`Error::Unknown`]: the node has to register.
    pub fn heartbeat(
        &mut self,
        id: &NodeId,
        instance: InstanceId,
        report: HeartbeatReport,
        now: Timestamp,
    ) -> Result<Peer, Error> {
        let entry = self.entry_of_instance(id, instance)?;
        entry.mark_alive(now);
        entry.self_draining = report.draining;
        // Nothing can be synced that is still to come: a clock that is ahead must not make totals look complete.
        let through = report.synced_through.map(|through| through.min(now));
        entry.update_status(|status| {
            status.unsynced = Some(report.unsynced);
            (status.last_batch, status.session) = (report.last_batch, report.session);
            status.synced_through = status.synced_through.max(through);
        });
        Ok(entry.peer.clone())
    }

    /// Checks that `id` is spoken for by the run that registered, and notes that it lives.
    ///
    /// # Errors
    /// [`Error::Unknown`]: the node has to register.
    pub fn note_alive(&mut self, id: &NodeId, instance: InstanceId, now: Timestamp) -> Result<(), Error> {
        self.entry_of_instance(id, instance).map(|entry| entry.mark_alive(now))
    }

    /// A node watches the state: that it lives is seen until the watch ends.
    ///
    /// # Errors
    /// [`Error::Unknown`]: the node has to register.
    pub fn watch_opened(&mut self, id: &NodeId, instance: InstanceId, now: Timestamp) -> Result<(), Error> {
        let entry = self.entry_of_instance(id, instance)?;
        entry.mark_alive(now);
        entry.watches += 1;
        Ok(())
    }

    /// A watch ended. Where a process dies and its machine lives on, its last watch ends at once: until the run is heard of
    /// again, its successor may register.
    pub fn watch_closed(&mut self, id: &NodeId, instance: InstanceId) {
        if let Ok(entry) = self.entry_of_instance(id, instance) {
            entry.watches = entry.watches.saturating_sub(1);
            entry.watch_disconnected = entry.watches == 0;
        }
    }

    /// Up to when a node owes nothing is unknown until its next heartbeat: the leader's database has lost some of it.
    pub fn invalidate_sync_point(&mut self, id: &NodeId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.update_status(|status| (status.synced_through, status.sync_point_invalid) = (None, true));
        }
    }

    /// A node leaves, owing so many usage logs; `None`: nobody knows, and it is as if it had fallen silent. The answer is the
    /// peer to keep.
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
        let entry = self.entry_of_instance(id, instance)?;
        entry.mark_alive(now);
        // The peer that is kept now includes it.
        entry.status = None;
        entry.peer.is_active = false;
        if let Some(owed) = owed {
            entry.peer.unsynced = owed;
            // A heartbeat that was sent before and comes after must not bring it back.
            entry.peer.instance_id = None;
        }
        Ok(entry.peer.clone())
    }

    /// Active peers that have been silent for three heartbeats: to be marked inactive unless another leader heard of them.
    pub fn silent(&mut self, now: Timestamp) -> Vec<Peer> {
        let patience = self.heartbeat * MISSED_MAX;
        // Nobody was heard of later than now: the clock was ahead.
        for entry in self.entries.values_mut() {
            entry.silent_since = entry.silent_since.min(now);
        }
        let silent = |entry: &&Entry| entry.peer.is_active && now.since(entry.silent_since) > patience;
        self.entries.values().filter(silent).map(|entry| entry.peer.clone()).collect()
    }

    /// What heartbeats said of peers and is not written yet.
    #[must_use]
    pub fn statuses(&self) -> Vec<PeerStatus> {
        self.entries.values().filter_map(|entry| entry.status.clone()).collect()
    }

    /// Drains a peer, as an admin wants, or takes that back. The answer is the peer to keep.
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
            _ if self.is_leader(id) => Err(Error::Leader(id.clone())),
            None => Err(Error::NoSuchPeer(id.clone())),
            Some(entry) if entry.peer.is_active => Err(Error::Active(id.clone())),
            Some(_) => Ok(()),
        }
    }

    pub fn forget(&mut self, id: &NodeId) {
        self.entries.remove(id);
    }

    /// Every peer, as people see it.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.entries.values().map(Entry::listed).collect()
    }

    /// Every peer, as it is kept.
    #[must_use]
    pub fn kept(&self) -> Vec<Peer> {
        self.entries.values().map(|entry| entry.peer.clone()).collect()
    }

    /// Up to here every peer, and the ledger (`own`) of a leader that is no peer, owes nothing. A peer that died, is cut off
    /// or has left owing something holds this back until it has caught up, has left with nothing owed, or is forgotten.
    #[must_use]
    pub fn complete_through(&self, own: Option<Timestamp>) -> Option<Timestamp> {
        let own = self.leader.as_ref().map(|_| own);
        self.unsettled().map(|peer| peer.synced_through).chain(own).min().flatten()
    }

    /// Who holds that back: those that are not heard of, and those that live and have owed something for longer than
    /// three heartbeats.
    #[must_use]
    pub fn incomplete(&self, now: Timestamp) -> Vec<Incomplete> {
        let patience = self.heartbeat * MISSED_MAX;
        let is_late =
            |through: Option<Timestamp>| through.is_none_or(|through| now.since(through) > patience);
        self.unsettled()
            .filter(|peer| !peer.is_active || is_late(peer.synced_through))
            .map(|peer| Incomplete {
                node: peer.id.clone(),
                since: peer.synced_through.unwrap_or(peer.registered_at),
                unsynced: peer.unsynced,
            })
            .collect()
    }

    fn is_leader(&self, id: &NodeId) -> bool {
        self.leader.as_ref() == Some(id)
    }

    fn unsettled(&self) -> impl Iterator<Item = &Peer> {
        self.entries.values().map(|entry| &entry.peer).filter(|peer| !peer.has_settled())
    }

    fn entry_of_instance(&mut self, id: &NodeId, instance: InstanceId) -> Result<&mut Entry, Error> {
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

#[cfg(test)]
mod tests;
