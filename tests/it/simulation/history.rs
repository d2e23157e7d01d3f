//! One history of a cluster: who runs, what goes wrong, and what has to hold all the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sproxy::cluster::follower::{Follower, Identity};
use sproxy::cluster::leader::Leader;
use sproxy::domain::ids::{InstanceId, LedgerId, NodeId, RequestId, UserId};
use sproxy::domain::provider::Provider;
use sproxy::domain::usage::{Outcome, TokenSource, Tokens, UsageRecord};

use super::disks::{FollowerData, FollowerDisk, LeaderData, LeaderDisk, Owed, Shared, has_genesis, lock};
use super::net::{Line, Net};
use super::scheduler::{Owner, Scheduler, World};

const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long things go wrong, and how long they then may take to be right again.
const TROUBLE: Duration = Duration::from_mins(2);
const CALM: Duration = Duration::from_secs(90);
/// The longest between two turns of events.
const TURN_MILLIS: u64 = 3_000;

pub struct History {
    world: World,
    scheduler: Scheduler,
    net: Net,
    next_owner: Owner,
    disk: Shared<LeaderData>,
    ledgers: Shared<HashMap<LedgerId, Shared<LeaderData>>>,
    /// The last one that was made of a leader's disk.
    backup: Option<LeaderData>,
    followers: Vec<Node>,
    /// Clients go on asking.
    open: Shared<bool>,
    /// Somebody still knew the users when a leader's disk was lost, every time.
    genesis_survives: bool,
}

struct Node {
    disk: Shared<FollowerData>,
    /// Whose tasks it has; none: it is down.
    runs: Option<Owner>,
}

impl History {
    pub fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let disk = Arc::new(Mutex::new(LeaderData::new(&world, true)));
        let ledger = lock(&disk).ledger();
        let nodes = if world.chance(30) { world.between(10, 31) } else { world.between(1, 6) };
        let named = |n: u64| world.chance(700).then(|| format!("node-{n}").parse().expect("a node id"));
        let node = |n| FollowerData { node_id: named(n), ..FollowerData::default() };
        let followers =
            (0..nodes).map(|n| Node { disk: Arc::new(Mutex::new(node(n))), runs: None }).collect();
        let net = Net {
            world: world.clone(),
            up: Arc::default(),
            old: Arc::new(Mutex::new(world.chance(200))),
            cut: Arc::default(),
            loss: Arc::new(Mutex::new(
                [0, 20, 80, 200][usize::try_from(world.between(0, 4)).expect("small")],
            )),
        };
        let mut history = Self {
            scheduler: Scheduler::new(world.clone()),
            net,
            next_owner: 1,
            ledgers: Arc::new(Mutex::new(HashMap::from([(ledger, Arc::clone(&disk))]))),
            disk,
            backup: None,
            followers,
            open: Arc::new(Mutex::new(true)),
            genesis_survives: true,
            world,
        };
        history.start_leader();
        (0..history.followers.len()).for_each(|n| history.start_follower(n));
        history
    }

    pub fn steps(&self) -> u64 {
        self.scheduler.steps
    }

    pub fn records(&self) -> u64 {
        self.followers.iter().map(|node| lock(&node.disk).records.len() as u64).sum()
    }

    /// Everything goes wrong that can.
    pub fn trouble(&mut self) {
        let end = self.world.now().plus(TROUBLE);
        while self.world.now() < end {
            self.turn();
            let pause = Duration::from_millis(self.world.between(1, TURN_MILLIS));
            self.scheduler.run_until(self.world.now().plus(pause));
            self.check_always();
        }
    }

    /// Everybody is up, nothing gets lost, nobody asks any more.
    pub fn calm(&mut self) {
        *lock(&self.open) = false;
        lock(&self.net.cut).clear();
        *lock(&self.net.loss) = 0;
        if lock(&self.net.up).is_none() {
            self.start_leader();
        }
        for n in 0..self.followers.len() {
            if self.followers[n].runs.is_none() {
                self.start_follower(n);
            }
        }
        let end = self.world.now().plus(CALM);
        while self.world.now() < end {
            self.scheduler.run_until(self.world.now().plus(HEARTBEAT));
            self.check_always();
        }
    }

    fn turn(&mut self) {
        let n = usize::try_from(self.world.between(0, self.followers.len() as u64)).expect("small");
        match self.world.between(0, 100) {
            0..15 if self.followers[n].runs.is_some() => self.kill_follower(n),
            0..40 if self.followers[n].runs.is_none() => self.start_follower(n),
            40..50 => drop(lock(&self.net.cut).insert(n)),
            50..65 => drop(lock(&self.net.cut).remove(&n)),
            65..68 => lock(&self.net.cut).extend(0..self.followers.len()),
            68..72 => lock(&self.net.cut).clear(),
            72..80 => self.kill_leader(),
            80..82 => self.lose_the_leaders_disk(),
            82..84 => self.backup = Some(lock(&self.disk).clone()),
            84..86 => self.restore_the_backup(),
            86..93 if lock(&self.net.up).is_none() => self.start_leader(),
            93..100 => self.administer(),
            _ => {}
        }
    }

    fn owner(&mut self) -> Owner {
        self.next_owner += 1;
        self.next_owner
    }

    fn kill_leader(&mut self) {
        let up = lock(&self.net.up).take();
        if let Some((owner, _)) = up {
            self.scheduler.kill(owner);
        }
    }

    /// Not while a node has no name yet: a leader that has lost its disk cannot know which names are taken by nodes that
    /// are away, and might give one of theirs to a newcomer. (The one of the two that comes later is refused then.)
    fn lose_the_leaders_disk(&mut self) {
        if self.by_name().len() < self.followers.len() {
            return;
        }
        self.kill_leader();
        let known = self.followers.iter().any(|node| has_genesis(&lock(&node.disk).state));
        self.genesis_survives &= known;
        self.disk = Arc::new(Mutex::new(LeaderData::new(&self.world, false)));
        let ledger = lock(&self.disk).ledger();
        lock(&self.ledgers).insert(ledger, Arc::clone(&self.disk));
        self.start_leader();
    }

    /// Not a backup of a disk that is lost, and not one that was made before every node had a name: what a nameless node
    /// once asked would give it a second one, if it came as late as that.
    fn restore_the_backup(&mut self) {
        let names = self.by_name();
        let knows_all = |backup: &LeaderData| names.keys().all(|name| backup.peers.contains_key(name));
        let fits = |backup: &LeaderData| {
            !*lock(&self.net.old)
                && backup.ledger() == lock(&self.disk).ledger()
                && names.len() == self.followers.len()
                && knows_all(backup)
        };
        let Some(backup) = self.backup.clone().filter(fits) else { return };
        self.kill_leader();
        lock(&self.disk).restore(backup);
        self.start_leader();
    }

    fn start_leader(&mut self) {
        if *lock(&self.net.old) && self.world.chance(300) {
            // The next version. What is acknowledged without a number is not known to be lost.
            *lock(&self.net.old) = false;
            self.backup = None;
        }
        let owner = self.owner();
        let (world, up, data) = (self.world.clone(), Arc::clone(&self.net.up), Arc::clone(&self.disk));
        let work = async move {
            let kept = lock(&data).peers.values().cloned().collect();
            let disk = LeaderDisk { world: world.clone(), owner, data };
            let id = "sp-1".parse().expect("a node id");
            let clock = Arc::clone(&world.clock);
            let leader = Arc::new(Leader::open(id, HEARTBEAT, disk, kept, clock).await.expect("opens"));
            *lock(&up) = Some((owner, Arc::clone(&leader)));
            loop {
                world.sleep(HEARTBEAT).await;
                // A disk that is full now and then; the next sweep does it again.
                let _ = leader.sweep().await;
            }
        };
        self.world.spawn(owner, work);
        self.scheduler.run_until(self.world.now());
    }

    fn administer(&mut self) {
        let up = lock(&self.net.up).clone();
        if let Some((owner, leader)) = up {
            lock(&self.disk).administer(&self.world);
            self.world.spawn(owner, async move { leader.state_changed().await.expect("reads") });
        }
    }

    fn kill_follower(&mut self, n: usize) {
        if let Some(owner) = self.followers[n].runs.take() {
            self.scheduler.kill(owner);
        }
    }

    fn start_follower(&mut self, n: usize) {
        let owner = self.owner();
        self.followers[n].runs = Some(owner);
        let process = Process {
            world: self.world.clone(),
            owner,
            disk: Arc::clone(&self.followers[n].disk),
            ledgers: Arc::clone(&self.ledgers),
            line: Line { net: self.net.clone(), follower: n },
            open: Arc::clone(&self.open),
        };
        self.world.spawn(owner, process.run());
    }

    /// What has to hold at any moment.
    fn check_always(&self) {
        let followers = self.by_name();
        let leader = lock(&self.disk);
        for record in leader.records.values() {
            let source = followers.get(&record.source_node).expect("a known node");
            let owed = &lock(source).records[&(record.created_at, record.request_id)];
            assert_eq!(owed.record, *record, "the leader's account is the node's");
        }
        let up = lock(&self.net.up).clone();
        let Some((_, up)) = up else { return };
        let Some(through) = up.complete_through(Some(self.world.now())) else { return };
        for peer in up.peers().iter().filter(|peer| peer.is_active) {
            for owed in lock(&followers[&peer.id]).records.values().filter(|owed| !owed.set_aside) {
                let id = owed.record.request_id;
                let there = owed.record.created_at > through || leader.records.contains_key(&id);
                assert!(
                    there,
                    "totals are called complete through {through}, but {id} of {} is missing",
                    peer.id
                );
            }
        }
    }

    fn by_name(&self) -> BTreeMap<NodeId, Shared<FollowerData>> {
        let named = self.followers.iter().filter_map(|node| {
            let id = lock(&node.disk).node_id.clone()?;
            Some((id, Arc::clone(&node.disk)))
        });
        named.collect()
    }

    /// What has to hold once everything is calm.
    pub fn check_the_end(&self) {
        assert_eq!(self.by_name().len(), self.followers.len(), "every node has a name of its own");
        let leader = lock(&self.disk);
        let mut booked: BTreeSet<RequestId> = leader.records.keys().copied().collect();
        let (mut tokens, mut cost) = (0, 0);
        for node in &self.followers {
            let data = lock(&node.disk);
            let name = data.node_id.clone().expect("named");
            for owed in data.records.values() {
                let id = owed.record.request_id;
                assert!(owed.synced != owed.set_aside, "{id} of {name} is still owed");
                assert_eq!(owed.set_aside, is_poison(&owed.record), "{id} of {name} is set aside");
                assert_eq!(booked.remove(&id), owed.synced, "G1: {id} of {name} in the leader's ledger");
                if owed.synced {
                    tokens += owed.record.tokens.total();
                    cost += owed.record.cost_nanousd;
                }
            }
            assert_eq!(data.state, leader.state, "{name} has the leader's users");
        }
        assert!(booked.is_empty(), "G1: nothing else is in the leader's ledger");
        let totals = leader.records.values().map(|record| (record.tokens.total(), record.cost_nanousd));
        let sum = totals.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert_eq!(sum, (tokens, cost), "G8: the leader's totals are the nodes'");
        assert!(has_genesis(&leader.state) || !self.genesis_survives, "users are lost");
        let up = lock(&self.net.up).clone().expect("up").1;
        assert!(up.peers().iter().all(|peer| peer.is_active && peer.unsynced == 0), "{:?}", up.peers());
    }
}

/// No leader ever takes a record with such a model.
fn is_poison(record: &UsageRecord) -> bool {
    record.model.len() > sproxy::wire::usage::TEXT_BYTES_MAX
}

/// One run of a follower.
#[derive(Clone)]
struct Process {
    world: World,
    owner: Owner,
    disk: Shared<FollowerData>,
    ledgers: Shared<HashMap<LedgerId, Shared<LeaderData>>>,
    line: Line,
    open: Shared<bool>,
}

type Running = Arc<Follower<FollowerDisk, Line>>;

impl Process {
    async fn run(self) {
        let identity = self.identity();
        let follower = self.follower(identity.clone());
        while lock(&self.disk).node_id.is_none() {
            if let Ok(session) = follower.register().await {
                lock(&self.disk).node_id = Some(session.node_id);
            }
            self.world.sleep_millis(100, 3_000).await;
        }
        let node_id = lock(&self.disk).node_id.clone();
        let follower = self.follower(Identity { node_id, ..identity });
        self.world.spawn(self.owner, self.clone().answer());
        self.world.spawn(self.owner, self.clone().sync(Arc::clone(&follower)));
        self.world.spawn(self.owner, self.clone().beat(Arc::clone(&follower)));
        self.world.spawn(self.owner, self.clone().watch(follower));
    }

    fn identity(&self) -> Identity {
        let instance = InstanceId(self.world.uuid());
        let mut disk = lock(&self.disk);
        let former = disk.instances.clone();
        disk.instances.push(instance);
        Identity {
            node_id: disk.node_id.clone(),
            instance,
            former,
            addr: format!("http://node-{}", self.line.follower),
            weight: 50,
            version: "sim".to_owned(),
        }
    }

    fn follower(&self, identity: Identity) -> Running {
        let (world, data, ledgers) = (self.world.clone(), Arc::clone(&self.disk), Arc::clone(&self.ledgers));
        Arc::new(Follower::new(identity, FollowerDisk { world, data, ledgers }, self.line.clone(), 4))
    }

    /// Answers clients and books what they used.
    async fn answer(self) {
        let node = lock(&self.disk).node_id.clone().expect("named");
        loop {
            self.world.sleep_millis(0, 8_000).await;
            if !*lock(&self.open) {
                return;
            }
            for _ in 0..self.world.between(1, 6) {
                let record = record(&self.world, &node);
                let place = (record.created_at, record.request_id);
                let owed = Owed { record, synced: false, set_aside: false, batch: None };
                lock(&self.disk).records.insert(place, owed);
            }
        }
    }

    async fn sync(self, follower: Running) {
        loop {
            let wait = if follower.round().await.is_ok() { 2_000 } else { 5_000 };
            if let Some(session) = follower.session() {
                lock(&self.disk).instances = vec![session.instance];
            }
            self.world.sleep_millis(200, wait).await;
        }
    }

    async fn beat(self, follower: Running) {
        loop {
            // Failures show in the session; the next round registers.
            let _ = follower.beat(0, false).await;
            self.world.sleep(HEARTBEAT).await;
        }
    }

    async fn watch(self, follower: Running) {
        loop {
            self.world.sleep_millis(200, 4_000).await;
            let Some(session) = follower.session() else { continue };
            let request = follower.watch_request(&session).await.expect("reads");
            for update in self.line.watch(request).await.unwrap_or_default() {
                if follower.hear(update).await.is_err() {
                    break;
                }
            }
        }
    }
}

fn record(world: &World, node: &NodeId) -> UsageRecord {
    let model = if world.chance(10) {
        "m".repeat(sproxy::wire::usage::TEXT_BYTES_MAX + 1)
    } else {
        "model".to_owned()
    };
    UsageRecord {
        request_id: RequestId(world.uuid()),
        user_id: UserId(uuid::Uuid::nil()),
        user: "alice".into(),
        group_id: None,
        group: None,
        model: model.into(),
        actual_model: "model".into(),
        provider: Provider::Anthropic,
        target: "target".into(),
        upstream_url: "http://upstream".into(),
        tokens: Tokens {
            input: world.between(0, 1_000),
            output: world.between(0, 1_000),
            ..Tokens::default()
        },
        token_source: TokenSource::Reported,
        outcome: Outcome::Ok,
        is_streaming: false,
        status_code: 200,
        duration_ms: 1,
        ttfb_ms: None,
        price: Arc::default(),
        cost_nanousd: i64::try_from(world.between(0, 1_000_000)).expect("small"),
        session_id: None,
        agent_id: None,
        client_request_id: None,
        source_node: node.clone(),
        created_at: world.now(),
    }
}
