//! Disks of the simulation: what is committed outlives a crash, what is on its way does not, and a commit whose answer
//! gets lost has happened. They watch over the invariants as they are written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sproxy::cluster::adoption::Standing;
use sproxy::cluster::elsewhere::NodeUse;
use sproxy::cluster::follower::Replica;
use sproxy::cluster::leader::{LeaderBooks, Taken, spent_by};
use sproxy::cluster::state::{Change, Origin, State};
use sproxy::cluster::sync::{Debts, FollowerBooks, Place};
use sproxy::domain::clock::Timestamp;
use sproxy::domain::failure::{Failure, Kind};
use sproxy::domain::group::{Group, Limits};
use sproxy::domain::ids::{GroupId, InstanceId, LedgerId, NodeId, RequestId};
use sproxy::domain::peer::Peer;
use sproxy::domain::quota::Used;
use sproxy::domain::usage::UsageRecord;
use sproxy::quota::SubjectId;

use super::scheduler::{Owner, World};

/// The name of a group that is there from the beginning and that nobody ever removes.
pub const GENESIS: &str = "genesis";

pub type Shared<T> = Arc<Mutex<T>>;

pub fn lock<T>(shared: &Shared<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a leader's disk holds.
#[derive(Clone)]
pub struct LeaderData {
    pub records: BTreeMap<RequestId, UsageRecord>,
    /// How many batches of each node were taken.
    pub batches: BTreeMap<NodeId, u64>,
    pub peers: BTreeMap<NodeId, Peer>,
    /// What was ever taken, whether or not a backup has it.
    pub taken: BTreeSet<RequestId>,
    pub state: State,
    pub standing: Standing,
}

impl LeaderData {
    /// A disk that was never written to; `first` has users, others were lost.
    pub fn new(world: &World, first: bool) -> Self {
        let mut data = Self {
            records: BTreeMap::new(),
            batches: BTreeMap::new(),
            taken: BTreeSet::new(),
            peers: BTreeMap::new(),
            state: State::default(),
            standing: Standing {
                origin: Origin {
                    ledger: LedgerId(world.uuid()),
                    version: 1,
                    lineage: Vec::new(),
                    blank: !first,
                },
                untouched: u64::from(!first),
                adopted: None,
            },
        };
        data.add_group(world, if first { GENESIS } else { "bootstrap" });
        data
    }

    pub fn ledger(&self) -> LedgerId {
        self.standing.origin.ledger
    }

    /// The disk as it is after `backup` was put back, which is of its own ledger. Users are as they were: how nodes agree
    /// on them again is another story.
    pub fn restore(&mut self, backup: Self) {
        (self.records, self.batches, self.peers) = (backup.records, backup.batches, backup.peers);
    }

    fn add_group(&mut self, world: &World, name: &str) {
        let (id, at) = (GroupId(world.uuid()), world.now());
        let group =
            Group { id, name: name.to_owned(), limits: Limits::default(), created_at: at, updated_at: at };
        self.state.groups.insert(id, group);
    }

    /// An admin adds a group, or removes one.
    pub fn administer(&mut self, world: &World) {
        let removable =
            self.state.groups.values().find(|group| group.name.starts_with("group")).map(|group| group.id);
        match removable.filter(|_| world.chance(400)) {
            Some(id) => drop(self.state.groups.remove(&id)),
            None => self.add_group(world, &format!("group {}", world.random())),
        }
        self.standing.origin.version += 1;
        self.standing.origin.blank = false;
    }
}

/// What a follower's disk holds.
#[derive(Default)]
pub struct FollowerData {
    pub node_id: Option<NodeId>,
    pub instances: Vec<InstanceId>,
    pub records: BTreeMap<Place, Owed>,
    pub last_batch: u64,
    pub seen: Option<LedgerId>,
    pub held: Option<Origin>,
    pub state: State,
}

/// A record and what became of it.
pub struct Owed {
    pub record: UsageRecord,
    pub synced: bool,
    pub set_aside: bool,
    /// In which it was acknowledged.
    pub batch: Option<u64>,
}

pub fn has_genesis(state: &State) -> bool {
    state.groups.values().any(|group| group.name == GENESIS)
}

/// What users and groups have used in the windows of `as_of`, added up record by record.
pub fn used_in<'r>(
    records: impl Iterator<Item = &'r UsageRecord>,
    as_of: Timestamp,
) -> HashMap<SubjectId, Used> {
    let (day, month) = (as_of.day_start(), as_of.month_start());
    let mut sums: HashMap<SubjectId, Used> = HashMap::new();
    for record in records.filter(|record| record.created_at >= month) {
        for subject in [Some(SubjectId::User(record.user_id)), record.group_id.map(SubjectId::Group)] {
            let Some(subject) = subject else { continue };
            let sum = sums.entry(subject).or_default();
            let tokens = record.tokens.total();
            sum.daily_tokens += if record.created_at >= day { tokens } else { 0 };
            sum.monthly_tokens += tokens;
            sum.monthly_nanousd += record.cost_nanousd;
        }
    }
    sums
}

fn disk_full() -> Failure {
    Failure::new(Kind::Unavailable, "the simulated disk is full")
}

/// A leader's books on its disk.
pub struct LeaderDisk {
    pub world: World,
    /// The leader's process.
    pub owner: Owner,
    pub data: Shared<LeaderData>,
}

impl LeaderDisk {
    /// A write: takes time, and fails now and then before or after it has happened.
    async fn write<T>(&self, change: impl FnOnce(&mut LeaderData) -> T) -> Result<T, Failure> {
        self.world.sleep_millis(0, 4).await;
        if self.world.chance(15) {
            return Err(disk_full());
        }
        let result = change(&mut lock(&self.data));
        self.world.sleep_millis(0, 4).await;
        if self.world.chance(15) { Err(disk_full()) } else { Ok(result) }
    }
}

impl LeaderBooks for LeaderDisk {
    async fn take(&self, node: &NodeId, records: Vec<UsageRecord>) -> Result<Taken, Failure> {
        self.write(|data| {
            let count = data.batches.entry(node.clone()).or_default();
            *count += 1;
            let mut taken = Taken { batch: Some(*count), ..Taken::default() };
            for record in records {
                if let Some(known) = data.records.get(&record.request_id) {
                    assert_eq!(*known, record, "one request id, two accounts");
                    taken.duplicates += 1;
                } else {
                    taken.accepted.push(spent_by(&record));
                    data.taken.insert(record.request_id);
                    data.records.insert(record.request_id, record);
                }
            }
            taken
        })
        .await
    }

    async fn used_by(&self, node: &NodeId, as_of: Timestamp) -> Result<NodeUse, Failure> {
        let (subjects, batches) = {
            let data = lock(&self.data);
            let of_node = data.records.values().filter(|record| record.source_node == *node);
            (used_in(of_node, as_of), data.batches.get(node).copied().unwrap_or_default())
        };
        self.world.sleep_millis(0, 4).await;
        Ok(NodeUse { subjects: subjects.into_iter().collect(), batches })
    }

    fn detach(&self, work: BoxFuture<'static, ()>) {
        self.world.spawn(self.owner, work);
    }

    async fn batches_taken(&self, node: &NodeId) -> Result<u64, Failure> {
        Ok(lock(&self.data).batches.get(node).copied().unwrap_or_default())
    }

    async fn keep_peers(&self, peers: Vec<Peer>) -> Result<(), Failure> {
        self.write(|data| data.peers.extend(peers.into_iter().map(|peer| (peer.id.clone(), peer)))).await
    }

    async fn forget_peer(&self, id: NodeId) -> Result<(), Failure> {
        self.write(|data| drop(data.peers.remove(&id))).await
    }

    async fn load_state(&self) -> Result<(Standing, State), Failure> {
        let data = lock(&self.data);
        Ok((data.standing.clone(), data.state.clone()))
    }

    async fn reach(&self, version: u64) -> Result<(), Failure> {
        self.write(|data| data.standing.origin.version = data.standing.origin.version.max(version)).await
    }

    async fn adopt(&self, standing: Standing, state: State) -> Result<(), Failure> {
        self.write(|data| (data.standing, data.state) = (standing, state)).await
    }
}

/// A follower's books on its disk.
pub struct FollowerDisk {
    pub world: World,
    pub data: Shared<FollowerData>,
    /// Every leader's disk there ever was, to hold promises against.
    pub ledgers: Shared<HashMap<LedgerId, Shared<LeaderData>>>,
}

impl FollowerDisk {
    async fn write<T>(&self, change: impl FnOnce(&mut FollowerData) -> T) -> Result<T, Failure> {
        self.world.sleep(Duration::from_micros(self.world.between(0, 2_000))).await;
        if self.world.chance(5) {
            return Err(disk_full());
        }
        let result = change(&mut lock(&self.data));
        if self.world.chance(5) { Err(disk_full()) } else { Ok(result) }
    }
}

impl FollowerDisk {
    /// In steps, each of which may be the last one that happens.
    async fn mark_unsynced(&self, which: impl Fn(&Owed) -> bool) -> Result<u64, Failure> {
        let places: Vec<Place> = lock(&self.data).records.keys().copied().collect();
        let mut marked = 0;
        for step in places.chunks(5) {
            self.write(|data| {
                for place in step {
                    if let Some(owed) = data.records.get_mut(place).filter(|owed| which(owed)) {
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

impl FollowerBooks for FollowerDisk {
    async fn list_unsynced(&self, after: Option<Place>, limit: usize) -> Result<Vec<UsageRecord>, Failure> {
        let data = lock(&self.data);
        let owed = data.records.iter().filter(|(_, owed)| !owed.synced && !owed.set_aside);
        let behind = owed.filter(|(place, _)| after.is_none_or(|after| **place > after));
        Ok(behind.take(limit).map(|(_, owed)| owed.record.clone()).collect())
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
                if !owed.synced {
                    (owed.synced, owed.set_aside, owed.batch) = (true, false, batch);
                }
            }
            data.last_batch = data.last_batch.max(batch.unwrap_or_default());
        })
        .await
    }

    async fn set_aside(&self, rejected: &[(RequestId, String)]) -> Result<(), Failure> {
        self.write(|data| {
            for owed in data.records.values_mut() {
                owed.set_aside |= rejected.iter().any(|(id, _)| *id == owed.record.request_id);
            }
        })
        .await
    }

    async fn mark_all_unsynced(&self) -> Result<(), Failure> {
        self.mark_unsynced(|_| true).await?;
        self.write(|data| data.last_batch = 0).await
    }

    async fn last_batch(&self) -> Result<u64, Failure> {
        Ok(lock(&self.data).last_batch)
    }

    async fn mark_unsynced_after(&self, batch: u64) -> Result<u64, Failure> {
        let marked = self.mark_unsynced(|owed| owed.batch.is_some_and(|number| number > batch)).await?;
        self.write(|data| data.last_batch = batch).await?;
        Ok(marked)
    }

    async fn seen_ledger(&self) -> Result<Option<LedgerId>, Failure> {
        Ok(lock(&self.data).seen)
    }

    async fn remember_ledger(&self, ledger: LedgerId) -> Result<(), Failure> {
        self.write(|data| data.seen = Some(ledger)).await
    }

    async fn debts(&self) -> Result<Debts, Failure> {
        let data = lock(&self.data);
        let owed = || data.records.values().filter(|owed| !owed.synced && !owed.set_aside);
        let oldest = owed().map(|owed| owed.record.created_at).min();
        let through = oldest.unwrap_or(self.world.now()).minus(Duration::from_micros(1));
        Ok(Debts { unsynced: owed().count() as u64, oldest, synced_through: Some(through) })
    }
}

impl Replica for FollowerDisk {
    async fn held(&self) -> Result<Option<Origin>, Failure> {
        Ok(lock(&self.data).held.clone())
    }

    async fn load(&self) -> Result<State, Failure> {
        Ok(lock(&self.data).state.clone())
    }

    async fn replace(&self, origin: Origin, state: State) -> Result<(), Failure> {
        self.write(|data| {
            assert!(
                has_genesis(&state) || !has_genesis(&data.state),
                "an empty leader has emptied a follower"
            );
            (data.held, data.state) = (Some(origin), state);
        })
        .await
    }

    async fn step(&self, origin: Origin, change: Change) -> Result<(), Failure> {
        self.write(|data| {
            let held = data.held.replace(origin.clone()).expect("a step from something");
            assert!(held.ledger == origin.ledger && held.version < origin.version, "a step back");
            data.state.apply(change);
        })
        .await
    }
}
