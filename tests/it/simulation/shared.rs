//! Several leaders on one database: they are killed, stopped and resumed, cut off from it, and it falls back under them
//! to a standby that lagged behind. One seed is one history; `SPROXY_SIM_SHARED_SEEDS=10000` asks for more of them,
//! `SPROXY_SIM_SHARED_SEED=17` for one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sproxy::cluster::leader::{LastLook, Leader};
use sproxy::domain::clock::{Clock as _, Timestamp};
use sproxy::domain::ids::{InstanceId, NodeId};
use sproxy::wire::v1;

use super::clocks::NodeClock;
use super::crew::{Crew, Node, RETENTION};
use super::disks::{Kinds, LeaderData, LeaderDisk, Shared, lock};
use super::history::{HEARTBEAT, TROUBLE};
use super::net::{Net, Up};
use super::scheduler::{Owner, World};
use super::shared_plan::{Event, Plan};
use super::{Played, run_seeds, setting};

/// Histories in `cargo test`.
const SEEDS: u64 = 150;
/// Histories that failed once are played first, always.
const PINNED: &[u64] = &[];
const CALM: Duration = Duration::from_secs(90);
/// How often a leader looks for sums that it cannot be sure of, for users that others have changed, and for batches that
/// others have taken.
const SETTLE_EVERY: Duration = Duration::from_millis(500);
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// What one leader learns of a node reaches the others with their next look at the database; and after it fell back, the
/// nodes have to be heard of first.
const KNOWN_WITHIN: Duration = Duration::from_secs(15);

/// Each of these has to happen in `cargo test`.
const EXPECTED: &[&str] = &[
    "a commit's answer lost",
    "a follower goes on to another leader",
    "a follower left",
    "a leader asked a database that was away",
    "a leader heard of a batch of another",
    "a leader killed",
    "a leader resumed",
    "a peer drained or not any more",
    "pushed again",
    "the database fell back",
    "the leader's retention removed logs",
    "later batches owed again",
    "users changed",
];

struct SharedHistory {
    crew: Crew,
    disk: Shared<LeaderData>,
    leaders: Vec<Machine>,
    fell_back_at: Timestamp,
    /// Since when totals have to wait for a node.
    awaited: BTreeMap<NodeId, Timestamp>,
}

/// A leader's machine.
struct Machine {
    name: NodeId,
    clock: NodeClock,
    up: Up,
    is_stopped: bool,
    /// Since when nothing keeps it from its work.
    works_since: Timestamp,
    /// It does not reach the database.
    is_away: Shared<bool>,
}

impl Deref for SharedHistory {
    type Target = Crew;

    fn deref(&self) -> &Crew {
        &self.crew
    }
}

impl DerefMut for SharedHistory {
    fn deref_mut(&mut self) -> &mut Crew {
        &mut self.crew
    }
}

impl SharedHistory {
    fn new(seed: u64, plan: &Plan) -> Self {
        let world = World::new(seed);
        let kinds = Kinds { loses_power: true, is_real: false };
        let disk = Arc::new(Mutex::new(LeaderData::new(&world, world.now(), true, kinds)));
        let ledger = lock(&disk).ledger();
        let leaders: Vec<Machine> = (0..plan.leaders).map(|n| Machine::new(n, &world)).collect();
        let alone = Kinds { loses_power: false, is_real: false };
        let followers: Vec<Node> = (0..plan.followers).map(|n| Node::new(n, &world, alone)).collect();
        let losses = [0, 20, 80, 200];
        let net = Net {
            world: world.clone(),
            up: Arc::default(),
            away: Arc::default(),
            old: Arc::default(),
            cut: Arc::default(),
            loss: Arc::new(Mutex::new(losses[usize::try_from(world.between(0, 4)).expect("small")])),
        };
        let ups = leaders.iter().map(|leader| Arc::clone(&leader.up)).collect();
        let ledgers = HashMap::from([(ledger, Arc::clone(&disk))]);
        let fell_back_at = world.now();
        let crew = Crew::new(world, seed, net, ups, followers, ledgers);
        let mut history = Self { crew, disk, leaders, fell_back_at, awaited: BTreeMap::new() };
        (0..history.leaders.len()).for_each(|n| history.start_leader(n));
        (0..history.followers.len()).for_each(|n| history.start_follower(n));
        history
    }

    fn trouble(&mut self, plan: &Plan) {
        for (pause, event) in &plan.steps {
            self.apply(*event);
            self.pass(*pause);
            self.check_always();
        }
    }

    fn calm(&mut self) {
        *lock(&self.open) = false;
        *lock(&self.net.loss) = 0;
        self.apply(Event::MendAll);
        self.apply(Event::MendDatabase);
        for n in 0..self.leaders.len() {
            self.resume_leader(n);
            self.start_leader(n);
        }
        (0..self.followers.len()).for_each(|n| self.start_follower(n));
        let end = self.world.now().plus(CALM);
        while self.world.now() < end {
            self.pass(HEARTBEAT);
            self.check_always();
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::KillFollower(n) => self.kill_follower(n),
            Event::StopFollower(n) => self.stop_follower(n),
            Event::StartFollower(n) => self.start_follower(n),
            Event::Cut(n) => drop(lock(&self.net.cut).insert(n)),
            Event::CutFrom(n, leader) => drop(lock(&self.net.away).insert((n, leader))),
            Event::Mend(n) => {
                lock(&self.net.cut).remove(&n);
                lock(&self.net.away).retain(|(follower, _)| *follower != n);
            }
            Event::MendAll => {
                lock(&self.net.cut).clear();
                lock(&self.net.away).clear();
            }
            Event::KillLeader(n) => self.kill_leader(n),
            Event::StartLeader(n) => self.start_leader(n),
            Event::PauseLeader(n) => self.pause_leader(n),
            Event::ResumeLeader(n) => self.resume_leader(n),
            Event::CutFromDatabase(n) => *lock(&self.leaders[n].is_away) = true,
            Event::MendDatabase => {
                let now = self.world.now();
                for leader in self.leaders.iter_mut().filter(|leader| *lock(&leader.is_away)) {
                    *lock(&leader.is_away) = false;
                    leader.works_since = now;
                }
            }
            Event::FailOver(commits) => self.fail_over(commits),
            Event::Administer(n) => self.administer(n),
            Event::Drain(n, leader) => self.drain(n, leader),
            Event::Retention(n) => self.retention(n),
            Event::FollowerRetention(n) => self.followers_retention(n),
        }
    }

    /// Not while a node has no name yet: it might be given to another.
    fn fail_over(&mut self, commits: usize) {
        if self.by_name().len() < self.followers.len() {
            return;
        }
        let mut disk = lock(&self.disk);
        if !disk.lose_power(commits) {
            return;
        }
        // Who had not registered by then is unknown until it is heard of.
        let LeaderData { awaited, peers, .. } = &mut *disk;
        awaited.retain(|name| peers.contains_key(name));
        drop(disk);
        self.world.happened("the database fell back");
        self.fell_back_at = self.world.now();
    }

    fn kill_leader(&mut self, n: usize) {
        let up = lock(&self.leaders[n].up).take();
        if let Some((owner, _)) = up {
            self.world.happened("a leader killed");
            self.scheduler.resume(owner);
            self.scheduler.kill(owner);
            self.leaders[n].is_stopped = false;
        }
    }

    fn pause_leader(&mut self, n: usize) {
        let owner = lock(&self.leaders[n].up).as_ref().map(|(owner, _)| *owner);
        if let Some(owner) = owner {
            self.scheduler.stop(owner);
            self.leaders[n].is_stopped = true;
        }
    }

    fn resume_leader(&mut self, n: usize) {
        let owner = lock(&self.leaders[n].up).as_ref().map(|(owner, _)| *owner);
        if let Some(owner) = owner.filter(|_| std::mem::take(&mut self.leaders[n].is_stopped)) {
            self.world.happened("a leader resumed");
            self.scheduler.resume(owner);
            self.leaders[n].works_since = self.world.now();
        }
    }

    /// One that does not reach the database does not start.
    fn start_leader(&mut self, n: usize) {
        let Machine { name, clock, up, is_away, .. } = &self.leaders[n];
        if lock(up).is_some() || *lock(is_away) {
            return;
        }
        let (name, clock, up, is_away) = (name.clone(), clock.clone(), Arc::clone(up), Arc::clone(is_away));
        let others = self.ups.clone();
        let owner = self.owner();
        let process =
            Process { world: self.world.clone(), owner, data: Arc::clone(&self.disk), others, is_away };
        self.world.spawn(owner, process.run(name, clock, Arc::clone(&up)));
        while lock(&up).is_none() {
            self.pass(Duration::from_millis(10));
        }
    }

    fn administer(&mut self, n: usize) {
        if lock(&self.leaders[n].up).is_none() || *lock(&self.leaders[n].is_away) {
            return;
        }
        self.world.happened("users changed");
        lock(&self.disk).administer(&self.world);
    }

    fn drain(&mut self, n: usize, leader: usize) {
        let up = lock(&self.leaders[leader].up).clone();
        let name = lock(&self.followers[n].machine.disk).node_id.clone();
        if let (Some((owner, leader)), Some(name)) = (up, name) {
            let (world, draining) = (self.world.clone(), self.world.chance(500));
            self.world.spawn(owner, async move {
                if leader.drain(&name, draining).await.is_ok() {
                    world.happened("a peer drained or not any more");
                }
            });
        }
    }

    fn retention(&mut self, n: usize) {
        let before = self.leaders[n].clock.now().minus(RETENTION);
        if !*lock(&self.leaders[n].is_away) && lock(&self.disk).remove_before(before) > 0 {
            self.world.happened("the leader's retention removed logs");
        }
    }

    fn check_always(&mut self) {
        let disk = Arc::clone(&self.disk);
        let data = lock(&disk);
        self.check_booked(&data);
        let now = self.world.now();
        self.awaited.retain(|name, _| data.awaited.contains(name));
        for name in &data.awaited {
            self.awaited.entry(name.clone()).or_insert(now);
        }
        if now.since(self.fell_back_at) < KNOWN_WITHIN {
            return;
        }
        let settled = now.minus(KNOWN_WITHIN);
        let works = |leader: &&Machine| {
            !leader.is_stopped && !*lock(&leader.is_away) && leader.works_since <= settled
        };
        for leader in self.leaders.iter().filter(works) {
            let up = lock(&leader.up).clone();
            if let Some(through) = up.and_then(|(_, up)| up.complete_through(Some(now))) {
                let is_awaited =
                    |name: &NodeId| self.awaited.get(name).is_some_and(|since| *since <= settled);
                self.check_complete(&data, through, is_awaited);
            }
        }
    }

    fn check_the_end(&self) {
        let data = lock(&self.disk);
        self.check_books(&data);
        for leader in &self.leaders {
            let (_, up) = lock(&leader.up).clone().expect("up");
            self.check_leader(&up, &data, leader.clock.now());
        }
    }
}

impl Machine {
    fn new(n: usize, world: &World) -> Self {
        Self {
            name: format!("leader-{n}").parse().expect("a node id"),
            clock: NodeClock::new(world),
            up: Arc::default(),
            is_stopped: false,
            works_since: world.now(),
            is_away: Arc::default(),
        }
    }
}

/// One run of a leader.
#[derive(Clone)]
struct Process {
    world: World,
    owner: Owner,
    data: Shared<LeaderData>,
    others: Vec<Up>,
    is_away: Shared<bool>,
}

type Lead = Arc<Leader<LeaderDisk>>;

impl Process {
    async fn run(self, name: NodeId, clock: NodeClock, up: Up) {
        let instance = InstanceId(self.world.uuid());
        let (kept, nodes): (_, BTreeSet<_>) = {
            let data = lock(&self.data);
            let nodes = data.booked.values().map(|record| record.source_node.clone());
            (data.peers.values().cloned().collect(), nodes.collect())
        };
        let alone = LeaderDisk::alone(self.world.clone(), self.owner, Arc::clone(&self.data), false);
        let disk = LeaderDisk { is_shared: true, is_away: Arc::clone(&self.is_away), ..alone };
        let leader = Leader::open(name, instance, HEARTBEAT, disk, kept, Arc::new(clock)).await;
        let leader = Arc::new(leader.expect("the database is there"));
        leader.invalidate(nodes);
        let _later = leader.reload_invalidated().await;
        *lock(&up) = Some((self.owner, Arc::clone(&leader)));
        self.world.spawn(self.owner, self.clone().compare(Arc::clone(&leader)));
        self.world.spawn(self.owner, self.clone().take_over(Arc::clone(&leader)));
        loop {
            self.world.sleep(HEARTBEAT).await;
            // The next sweep does it again.
            let _ = leader.sweep().await;
        }
    }

    /// Users that others have changed, and sums that it cannot be sure of.
    async fn take_over(self, leader: Lead) {
        let mut version = 0;
        loop {
            self.world.sleep(SETTLE_EVERY).await;
            let _later = leader.reload_invalidated().await;
            let now = lock(&self.data).standing.origin.version;
            if now != version && leader.state_changed().await.is_ok() {
                version = now;
            }
        }
    }

    /// What others take, by their word and by the database's.
    async fn compare(self, leader: Lead) {
        let mut last = LastLook::default();
        let mut heard = BTreeSet::new();
        loop {
            self.world.sleep(COMPARE_EVERY).await;
            if !*lock(&self.is_away) {
                let held = lock(&self.data).all_held();
                leader.compare_batches(&mut last, held);
            }
            for other in &self.others {
                let other = lock(other).clone().filter(|(owner, _)| *owner != self.owner);
                if let Some((_, other)) = other.filter(|(owner, _)| heard.insert(*owner)) {
                    let request = v1::WatchBatchesRequest {
                        node_id: leader.id().to_string(),
                        ledger_id: leader.ledger().to_string(),
                    };
                    let batches = other.watch_batches(&request).expect("of the same ledger");
                    self.world.spawn(self.owner, self.clone().hear(batches, Arc::clone(&leader)));
                }
            }
        }
    }

    async fn hear(self, mut batches: tokio::sync::broadcast::Receiver<Arc<v1::AppliedBatch>>, leader: Lead) {
        loop {
            match batches.recv().await {
                Ok(_) if self.world.chance(50) => {}
                Ok(batch) => {
                    self.world.sleep_millis(1, 60).await;
                    self.world.happened("a leader heard of a batch of another");
                    leader.batch_elsewhere(&batch).expect("it can be read");
                }
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

fn play(seed: u64, plan: &Plan) -> Played {
    let mut history = SharedHistory::new(seed, plan);
    history.trouble(plan);
    history.calm();
    history.check_the_end();
    let (steps, records) = (history.steps(), history.records());
    Played { steps, records, trace: history.trace(), happened: history.happened() }
}

/// Plays a seed; one that fails is reported with the least that makes it fail.
fn run(seed: u64) -> Played {
    let plan = Plan::new(seed, TROUBLE);
    catch_unwind(AssertUnwindSafe(|| play(seed, &plan))).unwrap_or_else(|panic| {
        let fails = |plan: &Plan| catch_unwind(AssertUnwindSafe(|| play(seed, plan))).is_err();
        let least = super::least(plan, |plan| plan.steps.len(), Plan::without, fails);
        println!("the simulation failed: repeat it with SPROXY_SIM_SHARED_SEED={seed}");
        println!("with {} leaders and {} followers, this is enough:", least.leaders, least.followers);
        for (pause, event) in &least.steps {
            println!("  {event:?}, then {pause:?}");
        }
        std::panic::resume_unwind(panic)
    })
}

#[test]
fn with_several_leaders_on_one_database_every_record_is_booked_once() {
    if let Some(seed) = setting("SPROXY_SIM_SHARED_SEED") {
        run(seed);
        return;
    }
    let count = setting("SPROXY_SIM_SHARED_SEEDS").unwrap_or(SEEDS);
    let seeds: Vec<u64> = PINNED.iter().copied().chain(0..count).collect();
    let played = run_seeds(&seeds, run);
    println!("{count} histories, {} steps, {} records: {:#?}", played.steps, played.records, played.happened);
    if count >= SEEDS {
        let missing: Vec<_> = EXPECTED.iter().filter(|kind| !played.happened.contains_key(*kind)).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

#[test]
fn one_seed_is_one_history() {
    for seed in 0..5 {
        let plan = Plan::new(seed, TROUBLE);
        assert_eq!(play(seed, &plan), play(seed, &plan), "seed {seed}");
    }
}
