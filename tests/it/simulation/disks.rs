//! A leader's disk: what is committed outlives a crash, what is on its way does not, and a commit whose answer gets lost
//! has happened. It watches over the invariants as it is written.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use sproxy::cluster::leader::{LeaderStore, registry};
use sproxy::cluster::replication::adoption::Provenance;
use sproxy::cluster::replication::state::{State, StateVersion};
use sproxy::cluster::usage::per_node::NodeUse;
use sproxy::domain::clock::Timestamp;
use sproxy::domain::failure::{Failure, Kind};
use sproxy::domain::fence::{BatchesHeld, Fence, KnownSession, surely_held};
use sproxy::domain::group::{Group, Limits};
use sproxy::domain::ids::{GroupId, LedgerId, NodeId, RequestId, SessionId, UserId};
use sproxy::domain::peer::{Peer, PeerStatus};
use sproxy::domain::quota::Used;
use sproxy::domain::usage::UsageRecord;
use sproxy::ledger::AppliedBatch;
use sproxy::quota::SubjectId;
use tokio::sync::{OwnedMutexGuard, oneshot};
use uuid::Uuid;

use super::scheduler::{Owner, World};
use super::store::Real;

/// The name of a group that is there from the beginning and that nobody ever removes.
pub const GENESIS: &str = "genesis";
/// What an empty leader begins with. Nobody misses it.
pub const BOOTSTRAP: &str = "bootstrap";

pub type Shared<T> = Arc<Mutex<T>>;

pub fn lock<T>(shared: &Shared<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Commits that a machine may lose with its power.
const PAST_MAX: usize = 6;

/// What kinds of disks a history has.
#[derive(Clone, Copy, Debug)]
pub struct Kinds {
    /// Machines lose their power.
    pub loses_power: bool,
    /// There is a database under each.
    pub is_real: bool,
}

/// What a leader's disk holds.
#[derive(Clone)]
pub struct LeaderData {
    /// Logs, as long as retention leaves them.
    pub records: BTreeMap<RequestId, UsageRecord>,
    /// What its sums have.
    pub booked: BTreeMap<RequestId, UsageRecord>,
    /// When each was committed there.
    pub booked_at: BTreeMap<RequestId, Timestamp>,
    /// How many batches of each node were taken.
    pub batches: BTreeMap<NodeId, u64>,
    /// The last registration of each node, and what it was told of its batches before it pushed.
    pub sessions: BTreeMap<NodeId, (SessionId, Option<u64>)>,
    /// Up to where logs of each node were removed.
    pub floors: BTreeMap<NodeId, Timestamp>,
    pub peers: BTreeMap<NodeId, Peer>,
    /// It was put back from a backup, and no leader has seen that yet.
    pub is_copy: bool,
    /// The highest number of a name that was given.
    pub node_number: u64,
    /// Nodes that were told that they are peers, and have neither left with nothing owed nor been forgotten since, whether or
    /// not a backup has it.
    pub awaited: BTreeSet<NodeId>,
    /// What was ever taken, whether or not a backup has it.
    pub taken: BTreeSet<RequestId>,
    pub state: State,
    /// What an admin removed here.
    pub removed: BTreeSet<GroupId>,
    pub standing: Provenance,
    /// As it was before the last commits, for a machine that loses its power; nothing, if none ever does.
    pub past: Option<VecDeque<LeaderData>>,
    /// The same on a real database.
    pub real: Option<Arc<Real>>,
}

impl LeaderData {
    /// A disk that was never written to, at a time that the leader believes it to be; `first` has users, others were lost.
    pub fn new(world: &World, now: Timestamp, first: bool, kind: Kinds) -> Self {
        let mut data = Self {
            records: BTreeMap::new(),
            booked: BTreeMap::new(),
            booked_at: BTreeMap::new(),
            batches: BTreeMap::new(),
            sessions: BTreeMap::new(),
            floors: BTreeMap::new(),
            taken: BTreeSet::new(),
            peers: BTreeMap::new(),
            is_copy: false,
            awaited: BTreeSet::new(),
            node_number: 0,
            state: State::default(),
            removed: BTreeSet::new(),
            standing: Provenance {
                origin: StateVersion {
                    ledger: LedgerId(world.uuid_at(now)),
                    version: 1,
                    lineage: Vec::new(),
                    pristine: !first,
                },
                pristine_version: u64::from(!first),
                adopted: None,
            },
            past: kind.loses_power.then(VecDeque::new),
            real: kind.is_real.then(|| Arc::new(Real::new())),
        };
        data.add_group(world, if first { GENESIS } else { BOOTSTRAP });
        data
    }

    pub fn ledger(&self) -> LedgerId {
        self.standing.origin.ledger
    }

    /// The disk as it is after `backup` was put back, which is of its own ledger. Users are as they were: how nodes agree
    /// on them again is another story.
    pub fn restore(&mut self, backup: Self) {
        (self.records, self.booked) = (backup.records, backup.booked);
        (self.batches, self.peers, self.node_number) = (backup.batches, backup.peers, backup.node_number);
        (self.floors, self.sessions) = (backup.floors, backup.sessions);
        self.forget_the_past();
    }

    /// All that was written so far is on the platter.
    pub fn forget_the_past(&mut self) {
        self.past.iter_mut().for_each(VecDeque::clear);
    }

    /// The machine goes without a word, and so many commits had not reached the platter.
    pub fn lose_power(&mut self, commits: usize) -> bool {
        let Some(past) = &mut self.past else { return false };
        let at = past.len().saturating_sub(commits);
        let Some(before) = past.get(at).cloned() else { return false };
        self.restore(before);
        true
    }

    fn remember(&mut self) {
        let Some(mut past) = self.past.take() else { return };
        past.push_back(self.clone());
        if past.len() > PAST_MAX {
            past.pop_front();
        }
        self.past = Some(past);
    }

    /// Removes logs made before `before` that nobody will push again, by their node's own word. How many.
    pub fn remove_before(&mut self, before: Timestamp) -> usize {
        let may_come_again = |record: &UsageRecord| {
            let peer = self.peers.get(&record.source_node);
            peer.is_some_and(|peer| peer.synced_through.is_none_or(|through| through < record.created_at))
        };
        let gone = |record: &&UsageRecord| record.created_at < before && !may_come_again(record);
        let gone: Vec<RequestId> =
            self.records.values().filter(gone).map(|record| record.request_id).collect();
        for id in &gone {
            let record = self.records.remove(id).expect("there");
            let floor = self.floors.entry(record.source_node).or_insert(record.created_at);
            *floor = record.created_at.max(*floor);
        }
        if let Some(real) = &self.real {
            let own = "sp-1".parse().expect("a node id");
            assert_eq!(real.remove_before(before, &own), gone.len(), "the database's retention");
        }
        gone.len()
    }

    fn apply_batch(
        &mut self,
        node: &NodeId,
        records: Vec<UsageRecord>,
        now: Timestamp,
        fence: &Fence,
    ) -> AppliedBatch {
        let count = self.batches.entry(node.clone()).or_default();
        *count += 1;
        let mut applied = AppliedBatch { number: Some(*count), ..AppliedBatch::default() };
        if let Some(real) = &self.real {
            let inserted = real.insert_pushed_batch(node, &records, fence);
            assert_eq!(inserted.number, applied.number, "the database's number of the batch");
            let is_new =
                |r: &UsageRecord| !self.records.contains_key(&r.request_id) && !self.is_below_floor(r);
            let known: Vec<bool> = records.iter().map(is_new).collect();
            assert_eq!(inserted.is_new, known, "what is new to the database");
        }
        for record in records {
            if let Some(known) = self.records.get(&record.request_id) {
                assert_eq!(*known, record, "one request id, two accounts");
                applied.duplicates += 1;
            } else if self.is_below_floor(&record) {
                applied.below_floor.push(record.request_id);
            } else {
                applied.accepted.push(record.clone());
                self.taken.insert(record.request_id);
                let before = self.booked.insert(record.request_id, record.clone());
                assert!(before.is_none(), "G8: {} counts twice", record.request_id);
                self.booked_at.insert(record.request_id, now);
                self.records.insert(record.request_id, record);
            }
        }
        applied
    }

    pub fn all_held(&self) -> HashMap<NodeId, BatchesHeld> {
        self.batches.keys().map(|node| (node.clone(), self.held(node))).collect()
    }

    fn held(&self, node: &NodeId) -> BatchesHeld {
        BatchesHeld {
            taken: self.batches.get(node).copied().unwrap_or_default(),
            session: self.sessions.get(node).map(|(session, _)| *session),
        }
    }

    /// What was heard of peers, as far as it is true of this disk.
    fn note_statuses(&mut self, heard: &[PeerStatus]) {
        for status in heard {
            let held = self.held(&status.id);
            if let Some(peer) = self.peers.get_mut(&status.id) {
                status.held_by(held).apply(peer);
            }
        }
    }

    /// Its row may have been removed.
    pub fn is_below_floor(&self, record: &UsageRecord) -> bool {
        self.floors.get(&record.source_node).is_some_and(|floor| record.created_at <= *floor)
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
            Some(id) => {
                self.state.groups.remove(&id);
                self.state.removed.insert(id.0);
                self.removed.insert(id);
            }
            None => self.add_group(world, &format!("group {}", world.random())),
        }
        self.standing.origin.version += 1;
        self.standing.origin.pristine = false;
    }
}

pub fn has_genesis(state: &State) -> bool {
    state.groups.values().any(|group| group.name == GENESIS)
}

/// What users and groups have used in the windows of `as_of`, added up record by record.
pub fn used_in<'r>(
    records: impl Iterator<Item = &'r UsageRecord>,
    as_of: Timestamp,
) -> Vec<(SubjectId, Used)> {
    let (day, month) = (as_of.day_start(), as_of.month_start());
    let mut sums: BTreeMap<(bool, Uuid), Used> = BTreeMap::new();
    for record in records.filter(|record| record.created_at >= month) {
        let group = record.group_id.map(|group| (true, group.0));
        for subject in [(false, record.user_id.0)].into_iter().chain(group) {
            let sum = sums.entry(subject).or_default();
            let tokens = record.tokens.total();
            sum.daily_tokens += if record.created_at >= day { tokens } else { 0 };
            sum.monthly_tokens += tokens;
            sum.monthly_nanousd += record.cost_nanousd;
        }
    }
    let subject =
        |(is_group, id)| if is_group { SubjectId::Group(GroupId(id)) } else { SubjectId::User(UserId(id)) };
    sums.into_iter().map(|(id, used)| (subject(id), used)).collect()
}

pub fn disk_full(world: &World) -> Failure {
    world.happened("a write failed");
    Failure::new(Kind::Unavailable, "the simulated disk is full")
}

/// A leader's books on its disk.
pub struct LeaderDisk {
    pub world: World,
    /// The leader's process.
    pub owner: Owner,
    pub data: Shared<LeaderData>,
    /// A write that has begun is carried out though nobody waits any more, as in SQLite; on a server it is not.
    pub carries_out: bool,
    /// Held while nobody may change users.
    pub accounts: Arc<tokio::sync::Mutex<()>>,
    /// Other leaders work on it, too.
    pub is_shared: bool,
    /// The leader does not reach it.
    pub is_away: Shared<bool>,
}

impl LeaderDisk {
    /// Of a leader that has it alone.
    pub fn alone(world: World, owner: Owner, data: Shared<LeaderData>, carries_out: bool) -> Self {
        let is_away = Arc::default();
        Self { world, owner, data, carries_out, accounts: Arc::default(), is_shared: false, is_away }
    }

    fn reach(&self) -> Result<(), Failure> {
        if !*lock(&self.is_away) {
            return Ok(());
        }
        self.world.happened("a leader asked a database that was away");
        Err(Failure::new(Kind::Unavailable, "the simulated database is away"))
    }

    /// A write: takes time, and fails now and then before or after it has happened.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut LeaderData) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (world, data, is_away) = (self.world.clone(), Arc::clone(&self.data), Arc::clone(&self.is_away));
        let work = async move {
            world.sleep_millis(0, 4).await;
            if *lock(&is_away) || world.chance(15) {
                return Err(disk_full(&world));
            }
            let result = {
                let mut data = lock(&data);
                data.remember();
                change(&mut data)
            };
            world.sleep_millis(0, 4).await;
            if *lock(&is_away) || world.chance(15) {
                world.happened("a commit's answer lost");
                return Err(disk_full(&world));
            }
            Ok(result)
        };
        if !self.carries_out {
            return work.await;
        }
        let (sender, receiver) = oneshot::channel();
        self.world.spawn(self.owner, async move {
            let _ = sender.send(work.await);
        });
        receiver.await.unwrap_or_else(|_| Err(disk_full(&self.world)))
    }
}

impl LeaderStore for LeaderDisk {
    fn is_shared(&self) -> bool {
        self.is_shared
    }

    async fn apply_batch(
        &self,
        node: &NodeId,
        records: Vec<UsageRecord>,
        fence: &Fence,
    ) -> Result<AppliedBatch, Failure> {
        let (node, world, fence) = (node.clone(), self.world.clone(), fence.clone());
        self.write(move |data| {
            let held = data.held(&node);
            if !held.are_those_of(0, fence.session()) {
                return Err(Failure::new(Kind::NotFound, "another registration"));
            }
            if held.taken < fence.least() {
                return Err(Failure::behind(held.taken));
            }
            if let (Some((_, told)), Some(_)) = (data.sessions.get_mut(&node), fence.session()) {
                *told = None;
            }
            let applied = data.apply_batch(&node, records, world.now(), &fence);
            if applied.duplicates > 0 {
                world.happened("pushed again");
            }
            if !applied.below_floor.is_empty() {
                world.happened("pushed below the floor");
            }
            Ok(applied)
        })
        .await?
    }

    async fn used_by(&self, node: &NodeId, as_of: Timestamp) -> Result<NodeUse, Failure> {
        self.reach()?;
        let read = {
            let data = lock(&self.data);
            let of_node = data.booked.values().filter(|record| record.source_node == *node);
            let (subjects, batches) =
                (used_in(of_node, as_of), data.batches.get(node).copied().unwrap_or_default());
            if let Some(real) = &data.real {
                let named = subjects.iter().map(|(subject, used)| (format!("{subject:?}"), *used)).collect();
                assert_eq!(real.used_by(node, as_of), (named, batches), "the database's sums of a node");
            }
            NodeUse { subjects, batches }
        };
        self.world.sleep_millis(0, 4).await;
        Ok(read)
    }

    fn detach(&self, work: BoxFuture<'static, ()>) {
        self.world.spawn(self.owner, work);
    }

    async fn batches_held(&self, node: &NodeId) -> Result<BatchesHeld, Failure> {
        self.reach()?;
        let data = lock(&self.data);
        let held = data.held(node);
        if let Some(real) = &data.real {
            assert_eq!(real.batches_held(node), held, "the database's batches of a node");
        }
        Ok(held)
    }

    async fn begin_session(
        &self,
        node: &NodeId,
        new: SessionId,
        known: &[KnownSession],
    ) -> Result<u64, Failure> {
        let (node, known) = (node.clone(), known.to_vec());
        let world = self.world.clone();
        self.write(move |data| {
            let BatchesHeld { taken, session } = data.held(&node);
            let told = data.sessions.get(&node).and_then(|(_, told)| *told);
            let surely = surely_held(taken, session, new, &known).min(told.unwrap_or(u64::MAX));
            if surely < taken {
                world.happened("a registration that a database had lost");
            }
            data.batches.entry(node.clone()).or_default();
            data.sessions.insert(node.clone(), (new, (surely < taken).then_some(surely)));
            if let Some(real) = &data.real {
                assert_eq!(
                    real.begin_session(&node, new, &known),
                    surely,
                    "the database's batches of a node"
                );
            }
            surely
        })
        .await
    }

    async fn next_node_number(&self, above: u64) -> Result<u64, Failure> {
        self.write(move |data| {
            data.node_number = data.node_number.max(above) + 1;
            if let Some(real) = &data.real {
                assert_eq!(real.next_node_number(above), data.node_number, "the database's next number");
            }
            data.node_number
        })
        .await
    }

    async fn change_peer(
        &self,
        id: NodeId,
        rule: impl Fn(Option<Peer>, BatchesHeld) -> Result<Option<Peer>, registry::Error> + Send + Sync + 'static,
    ) -> Result<Option<Peer>, Failure> {
        let change = move |data: &mut LeaderData| {
            let kept = rule(data.peers.get(&id).cloned(), data.held(&id))?;
            if let Some(real) = &data.real {
                real.change_peer(&id, data.peers.get(&id), kept.as_ref());
            }
            if kept.as_ref().is_none_or(Peer::has_settled) {
                data.awaited.remove(&id);
            }
            match kept.clone() {
                Some(peer) => drop(data.peers.insert(id, peer)),
                None => drop(data.peers.remove(&id)),
            }
            Ok(kept)
        };
        self.write(change).await?
    }

    async fn update_peers(&self, heard: Vec<PeerStatus>, silent: Vec<Peer>) -> Result<Vec<Peer>, Failure> {
        if self.is_shared {
            // Three transactions, and other leaders' between them.
            self.write(move |data| {
                data.note_statuses(&heard);
            })
            .await?;
            self.write(move |data| {
                data.peers.values_mut().for_each(|peer| peer.is_active &= !silent.contains(peer));
            })
            .await?;
            return self.write(|data| data.peers.values().cloned().collect()).await;
        }
        self.write(move |data| {
            data.note_statuses(&heard);
            data.peers.values_mut().for_each(|peer| peer.is_active &= !silent.contains(peer));
            let rows: Vec<Peer> = data.peers.values().cloned().collect();
            if let Some(real) = &data.real {
                assert_eq!(real.update_peers(&heard, &silent), rows, "the database's peers");
            }
            rows
        })
        .await
    }

    async fn make_durable(&self) -> Result<(), Failure> {
        if self.is_shared {
            // What a standby lacks, no leader can do anything about.
            return self.reach();
        }
        self.write(LeaderData::forget_the_past).await
    }

    async fn hold_accounts(&self) -> Option<OwnedMutexGuard<()>> {
        Some(Arc::clone(&self.accounts).lock_owned().await)
    }

    async fn load_state(&self) -> Result<(Provenance, State), Failure> {
        self.reach()?;
        let data = lock(&self.data);
        Ok((data.standing.clone(), data.state.clone()))
    }

    async fn raise_version(&self, version: u64) -> Result<(), Failure> {
        self.write(move |data| data.standing.origin.version = data.standing.origin.version.max(version)).await
    }

    async fn adopt(&self, version: u64, standing: Provenance, state: State) -> Result<(), Failure> {
        self.world.happened("a state adopted");
        let (_, ours) = self.load_state().await?;
        if ours.groups.keys().any(|id| state.groups.contains_key(id)) {
            self.world.happened("a state completed");
        }
        self.write(move |data| {
            if data.standing.origin.version != version {
                return Err(Failure::new(Kind::Unavailable, "users have changed meanwhile"));
            }
            let back = data.removed.iter().find(|id| state.groups.contains_key(id));
            assert_eq!(back, None, "an admin removed it here, and it is back");
            let known =
                |group: &&Group| state.groups.contains_key(&group.id) || state.removed.contains(&group.id.0);
            let lost = data.state.groups.values().find(|group| group.name != BOOTSTRAP && !known(group));
            assert_eq!(lost, None, "a leader has lost what it had");
            (data.standing, data.state) = (standing, state);
            Ok(())
        })
        .await?
    }
}
