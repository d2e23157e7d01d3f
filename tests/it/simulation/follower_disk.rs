//! A follower's disk. As a leader's, it outlives the process; and it holds what the leader is said to have against what
//! the leader has.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sproxy::cluster::follower::Replica;
use sproxy::cluster::follower::push::{FollowerStore, SyncCursor, SyncStatus};
use sproxy::cluster::follower::sessions::Sessions;
use sproxy::cluster::replication::state::{Change, State, StateVersion};
use sproxy::domain::clock::Timestamp;
use sproxy::domain::failure::Failure;
use sproxy::domain::group::Group;
use sproxy::domain::ids::{GroupId, InstanceId, LedgerId, NodeId, RequestId};
use sproxy::domain::usage::UsageRecord;

use super::clocks::Stamps;
use super::disks::{BOOTSTRAP, LeaderData, Shared, disk_full, has_genesis, lock};
use super::scheduler::World;
use super::store::Real;

/// Commits that a machine may lose with its power.
const PAST_MAX: usize = 6;

/// What a follower's disk holds.
#[derive(Clone, Default)]
pub struct FollowerData {
    pub node_id: Option<NodeId>,
    pub instances: Vec<InstanceId>,
    pub records: BTreeMap<SyncCursor, Owed>,
    pub last_batch: u64,
    /// What the ledgers that it left had acknowledged, and in which batch.
    pub acknowledged: BTreeMap<(RequestId, LedgerId), u64>,
    pub sessions: Sessions,
    pub seen: Option<LedgerId>,
    pub held: Option<StateVersion>,
    pub state: State,
    /// As it was before the last commits; nothing, if the machine never loses its power.
    pub past: Option<VecDeque<FollowerData>>,
    /// The same on a real database.
    pub real: Option<Arc<Real>>,
}

impl FollowerData {
    pub fn remember(&mut self) {
        let Some(mut past) = self.past.take() else { return };
        past.push_back(self.clone());
        if past.len() > PAST_MAX {
            past.pop_front();
        }
        self.past = Some(past);
    }

    /// The machine goes without a word, and so many commits had not reached the platter. What it had and has no more.
    pub fn lose_power(&mut self, commits: usize) -> Option<Vec<UsageRecord>> {
        let past = self.past.take()?;
        let at = past.len().saturating_sub(commits);
        let Some(before) = past.get(at).cloned() else {
            self.past = Some(past);
            return None;
        };
        let now = std::mem::replace(self, Self { past: Some(VecDeque::new()), ..before });
        // Who it is stays: a node that knows neither its name nor its runs is another story.
        (self.node_id, self.instances) = (now.node_id, now.instances);
        let lost = now.records.into_iter().filter(|(place, _)| !self.records.contains_key(place));
        Some(lost.map(|(_, owed)| owed.record).collect())
    }

    pub fn add(&mut self, record: UsageRecord, is_late: bool) {
        self.remember();
        if let Some(real) = &self.real {
            real.insert(&record);
        }
        let place = (record.created_at, record.request_id);
        let owed = Owed { record, synced: false, set_aside: false, refused: None, batch: None, is_late };
        self.records.insert(place, owed);
    }

    /// Removes logs made before `before` that the leader has. Which.
    pub fn remove_before(&mut self, before: Timestamp) -> Vec<UsageRecord> {
        let gone = |owed: &&Owed| owed.synced && owed.record.created_at < before;
        let gone: Vec<UsageRecord> =
            self.records.values().filter(gone).map(|owed| owed.record.clone()).collect();
        self.records.retain(|_, owed| !(owed.synced && owed.record.created_at < before));
        self.acknowledged.retain(|(id, _), _| gone.iter().all(|record| record.request_id != *id));
        if let (Some(real), Some(own)) = (&self.real, &self.node_id) {
            assert_eq!(real.remove_before(before, own), gone.len(), "the database's retention");
        }
        gone
    }
}

/// A record and what became of it.
#[derive(Clone)]
pub struct Owed {
    pub record: UsageRecord,
    pub synced: bool,
    pub set_aside: bool,
    /// Why it was set aside once. Unlike a database, these books do not call that owed.
    pub refused: Option<String>,
    /// In which it was acknowledged.
    pub batch: Option<u64>,
    /// It was made after the clock was set back: earlier than the node had said that it owes nothing of.
    pub is_late: bool,
}

/// A follower's books on its disk.
pub struct FollowerDisk {
    pub world: World,
    pub data: Shared<FollowerData>,
    pub stamps: Shared<Stamps>,
    /// Every leader's disk there ever was, to hold promises against.
    pub ledgers: Shared<HashMap<LedgerId, Shared<LeaderData>>>,
}

impl FollowerDisk {
    async fn write<T>(&self, change: impl FnOnce(&mut FollowerData) -> T) -> Result<T, Failure> {
        self.world.sleep(Duration::from_micros(self.world.between(0, 2_000))).await;
        if self.world.chance(5) {
            return Err(disk_full(&self.world));
        }
        let result = {
            let mut data = lock(&self.data);
            data.remember();
            change(&mut data)
        };
        if self.world.chance(5) { Err(disk_full(&self.world)) } else { Ok(result) }
    }
}

impl FollowerDisk {
    /// In steps, each of which may be the last one that happens.
    async fn mark_unsynced(
        &self,
        left: Option<LedgerId>,
        which: impl Fn(&Owed) -> bool,
    ) -> Result<u64, Failure> {
        let places: Vec<SyncCursor> = lock(&self.data).records.keys().copied().collect();
        let mut marked = 0;
        // A database does all its steps at once here: it has no seams where it could break off.
        let is_real = lock(&self.data).real.is_some();
        for step in places.chunks(if is_real { usize::MAX } else { 5 }) {
            self.write(|data| {
                let FollowerData { records, acknowledged, .. } = data;
                for place in step {
                    if let Some(owed) = records.get_mut(place).filter(|owed| which(owed)) {
                        if let (Some(left), true, Some(batch)) = (left, owed.synced, owed.batch) {
                            acknowledged.entry((owed.record.request_id, left)).or_insert(batch);
                        }
                        (owed.synced, owed.set_aside, owed.batch) = (false, false, None);
                        marked += 1;
                    }
                }
            })
            .await?;
        }
        Ok(marked)
    }
}

impl FollowerStore for FollowerDisk {
    async fn list_unsynced(
        &self,
        after: Option<SyncCursor>,
        limit: usize,
    ) -> Result<Vec<UsageRecord>, Failure> {
        let data = lock(&self.data);
        let owed = data.records.iter().filter(|(_, owed)| !owed.synced && !owed.set_aside);
        let behind = owed.filter(|(place, _)| after.is_none_or(|after| **place > after));
        let listed: Vec<UsageRecord> = behind.take(limit).map(|(_, owed)| owed.record.clone()).collect();
        if let Some(real) = &data.real {
            let ids: Vec<RequestId> = listed.iter().map(|record| record.request_id).collect();
            assert_eq!(real.list_unsynced(after, limit), ids, "what the database lists as owed");
        }
        Ok(listed)
    }

    async fn mark_synced(&self, ids: &[RequestId], batch: Option<u64>) -> Result<(), Failure> {
        let ledgers = Arc::clone(&self.ledgers);
        self.write(|data| {
            let leader =
                data.seen.and_then(|seen| lock(&ledgers).get(&seen).cloned()).expect("a leader was met");
            let leader = lock(&leader);
            for owed in data.records.values_mut().filter(|owed| ids.contains(&owed.record.request_id)) {
                let id = owed.record.request_id;
                assert!(
                    leader.taken.contains(&id),
                    "G1: {id} is called synced, but its leader never took it"
                );
                if owed.refused.is_some() {
                    self.world.happened("a record taken that had been set aside");
                }
                if !owed.synced {
                    (owed.synced, owed.set_aside, owed.batch) = (true, false, batch);
                }
            }
            data.last_batch = data.last_batch.max(batch.unwrap_or_default());
            if let Some(real) = &data.real {
                real.mark_synced(ids, batch);
            }
        })
        .await
    }

    async fn set_aside(&self, rejected: &[(RequestId, String)]) -> Result<(), Failure> {
        self.write(|data| {
            if let Some(real) = &data.real {
                real.set_aside(rejected);
            }
            self.world.happened("a record set aside");
            for owed in data.records.values_mut().filter(|owed| !owed.synced) {
                if let Some((_, why)) = rejected.iter().find(|(id, _)| *id == owed.record.request_id) {
                    (owed.set_aside, owed.refused) = (true, Some(why.clone()));
                }
            }
        })
        .await
    }

    async fn retry_set_aside(&self) -> Result<u64, Failure> {
        self.write(|data| {
            let mut retried = 0;
            for owed in data.records.values_mut().filter(|owed| owed.set_aside) {
                owed.set_aside = false;
                retried += 1;
            }
            if let Some(real) = &data.real {
                assert_eq!(real.retry_set_aside(), retried, "what the database offers again");
            }
            retried
        })
        .await
    }

    async fn mark_all_unsynced(&self, left: Option<LedgerId>) -> Result<(), Failure> {
        self.world.happened("everything owed again");
        self.mark_unsynced(left, |_| true).await?;
        self.write(|data| {
            data.last_batch = 0;
            if let Some(real) = &data.real {
                real.mark_all_unsynced(left);
            }
        })
        .await
    }

    async fn acknowledged_by(&self, ledger: LedgerId, ids: &[RequestId]) -> Result<Vec<RequestId>, Failure> {
        let data = lock(&self.data);
        let is_known = |id: &&RequestId| data.acknowledged.contains_key(&(**id, ledger));
        let known: Vec<RequestId> = ids.iter().filter(is_known).copied().collect();
        if !known.is_empty() {
            self.world.happened("known to be counted below the floor");
        }
        if let Some(real) = &data.real {
            let known = known.iter().copied().collect();
            assert_eq!(real.acknowledged_by(ledger, ids), known, "what the database knows of a ledger");
        }
        Ok(known)
    }

    async fn forget_acknowledged_after(&self, ledger: LedgerId, batch: u64) -> Result<(), Failure> {
        self.write(|data| {
            data.acknowledged.retain(|(_, of), number| *of != ledger || *number <= batch);
            if let Some(real) = &data.real {
                real.forget_acknowledged_after(ledger, batch);
            }
        })
        .await
    }

    async fn last_batch(&self) -> Result<u64, Failure> {
        let data = lock(&self.data);
        if let Some(real) = &data.real {
            assert_eq!(real.last_batch(), data.last_batch, "the database's last batch");
        }
        Ok(data.last_batch)
    }

    async fn mark_unsynced_after(&self, batch: u64) -> Result<u64, Failure> {
        self.world.happened("later batches owed again");
        let marked = self.mark_unsynced(None, |owed| owed.batch.is_some_and(|number| number > batch)).await?;
        self.write(|data| {
            data.last_batch = batch;
            if let Some(real) = &data.real {
                assert_eq!(real.mark_unsynced_after(batch), marked, "what the database owes again");
            }
        })
        .await?;
        Ok(marked)
    }

    async fn sessions(&self) -> Result<Sessions, Failure> {
        Ok(lock(&self.data).sessions.clone())
    }

    async fn keep_sessions(&self, sessions: &Sessions) -> Result<(), Failure> {
        let sessions = sessions.clone();
        self.write(|data| data.sessions = sessions).await
    }

    async fn seen_ledger(&self) -> Result<Option<LedgerId>, Failure> {
        Ok(lock(&self.data).seen)
    }

    async fn remember_ledger(&self, ledger: LedgerId) -> Result<(), Failure> {
        self.write(|data| data.seen = Some(ledger)).await
    }

    async fn sync_status(&self) -> Result<SyncStatus, Failure> {
        let data = lock(&self.data);
        let owed = || data.records.values().filter(|owed| !owed.synced && !owed.set_aside);
        let oldest = owed().map(|owed| owed.record.created_at).min();
        let unsynced = owed().count() as u64;
        if let Some(real) = &data.real {
            assert_eq!(real.owed(), (unsynced, oldest), "what the database owes");
        }
        let nothing_comes = lock(&self.stamps).nothing_comes_through();
        let through =
            oldest.map_or(nothing_comes, |at| nothing_comes.min(at.minus(Duration::from_micros(1))));
        Ok(SyncStatus { unsynced, oldest, synced_through: Some(through) })
    }
}

impl Replica for FollowerDisk {
    async fn held_version(&self) -> Result<Option<StateVersion>, Failure> {
        Ok(lock(&self.data).held.clone())
    }

    async fn load(&self) -> Result<State, Failure> {
        Ok(lock(&self.data).state.clone())
    }

    async fn replace(&self, origin: StateVersion, state: State) -> Result<(), Failure> {
        let ledgers = Arc::clone(&self.ledgers);
        self.write(|data| {
            assert!(
                has_genesis(&state) || !has_genesis(&data.state),
                "an empty leader has emptied a follower"
            );
            let removed: BTreeSet<GroupId> =
                lock(&ledgers).values().flat_map(|leader| lock(leader).removed.clone()).collect();
            let known = |group: &&Group| state.groups.contains_key(&group.id) || removed.contains(&group.id);
            let lost = data.state.groups.values().find(|group| group.name != BOOTSTRAP && !known(group));
            assert_eq!(lost, None, "what only a follower knew is lost");
            let back = state.groups.keys().find(|id| data.state.removed.contains(&id.0));
            assert_eq!(back, None, "it was removed, and is back");
            (data.held, data.state) = (Some(origin), state);
        })
        .await
    }

    async fn apply_change(&self, origin: StateVersion, change: Change) -> Result<(), Failure> {
        self.write(|data| {
            let held = data.held.replace(origin.clone()).expect("a step from something");
            assert!(held.ledger == origin.ledger && held.version < origin.version, "a step back");
            data.state.apply(change);
        })
        .await
    }
}
