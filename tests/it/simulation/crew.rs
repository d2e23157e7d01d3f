//! The followers of a history, with all that one has around it: the world, the network, clients, and who sees everything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sproxy::domain::ids::{LedgerId, NodeId, RequestId};

use super::checks::Oracle;
use super::clocks::{NodeClock, Stamps};
use super::disks::{Kinds, LeaderData, Shared, lock};
use super::follower_disk::FollowerData;
use super::net::{Line, Lines, Net, Up};
use super::process::{Machine, Process, Running, farewell};
use super::scheduler::{Happened, Owner, Scheduler, World};
use super::store::Real;

/// How long logs are kept.
pub const RETENTION: Duration = Duration::from_secs(45);

pub struct Crew {
    pub(super) world: World,
    pub(super) scheduler: Scheduler,
    pub(super) net: Net,
    /// The leaders.
    pub(super) ups: Vec<Up>,
    next_owner: Owner,
    pub(super) ledgers: Shared<HashMap<LedgerId, Shared<LeaderData>>>,
    pub(super) followers: Vec<Node>,
    /// Clients go on asking.
    pub(super) open: Shared<bool>,
    pub(super) oracle: Shared<Oracle>,
    /// What followers' retention removed.
    pub(super) removed: BTreeSet<RequestId>,
}

pub struct Node {
    pub(super) machine: Machine,
    /// Whose tasks it has; none: it is down.
    runs: Option<Owner>,
    /// The tasks of one that is going.
    goes: Option<Owner>,
    running: Shared<Option<Running>>,
}

impl Crew {
    pub fn new(
        world: World,
        seed: u64,
        net: Net,
        ups: Vec<Up>,
        followers: Vec<Node>,
        ledgers: HashMap<LedgerId, Shared<LeaderData>>,
    ) -> Self {
        Self {
            scheduler: Scheduler::new(world.clone(), seed),
            net,
            ups,
            next_owner: 1,
            ledgers: Arc::new(Mutex::new(ledgers)),
            followers,
            open: Arc::new(Mutex::new(true)),
            oracle: Arc::default(),
            removed: BTreeSet::new(),
            world,
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.scheduler.run_until(self.world.now().plus(time));
    }

    pub fn steps(&self) -> u64 {
        self.scheduler.steps
    }

    pub fn trace(&self) -> u64 {
        self.scheduler.trace()
    }

    pub fn happened(&self) -> Happened {
        self.world.all_that_happened()
    }

    pub fn records(&self) -> u64 {
        lock(&self.oracle).count()
    }

    pub(super) fn by_name(&self) -> BTreeMap<NodeId, Shared<FollowerData>> {
        let named = self.followers.iter().filter_map(|node| {
            let id = lock(&node.machine.disk).node_id.clone()?;
            Some((id, std::sync::Arc::clone(&node.machine.disk)))
        });
        named.collect()
    }
    pub(super) fn owner(&mut self) -> Owner {
        self.next_owner += 1;
        self.next_owner
    }

    pub(super) fn followers_retention(&mut self, n: usize) {
        let gone = lock(&self.followers[n].machine.disk).remove_before(self.world.now().minus(RETENTION));
        if !gone.is_empty() {
            self.world.happened("a follower's retention removed logs");
            self.removed.extend(gone.iter().map(|record| record.request_id));
        }
    }

    pub(super) fn kill_follower(&mut self, n: usize) {
        let node = &mut self.followers[n];
        lock(&node.running).take();
        for owner in [node.runs.take(), node.goes.take()].into_iter().flatten() {
            self.world.happened("a follower killed");
            self.scheduler.kill(owner);
        }
    }

    pub(super) fn stop_follower(&mut self, n: usize) {
        let running = lock(&self.followers[n].running).take();
        let Some(running) = running else { return };
        self.kill_follower(n);
        let owner = self.owner();
        self.followers[n].goes = Some(owner);
        self.world.spawn(owner, farewell(self.world.clone(), running));
    }

    pub(super) fn start_follower(&mut self, n: usize) {
        if self.followers[n].runs.is_some() {
            return;
        }
        if let Some(owner) = self.followers[n].goes.take() {
            self.scheduler.kill(owner);
        }
        let owner = self.owner();
        let lines = (0..self.ups.len()).map(|leader| self.line(n, leader)).collect();
        let node = &mut self.followers[n];
        node.runs = Some(owner);
        node.machine.starts();
        let process = Process {
            world: self.world.clone(),
            owner,
            machine: node.machine.clone(),
            ledgers: Arc::clone(&self.ledgers),
            lines: Lines::new(lines),
            open: Arc::clone(&self.open),
            oracle: Arc::clone(&self.oracle),
            running: Arc::clone(&node.running),
        };
        self.world.spawn(owner, process.run());
    }

    fn line(&self, follower: usize, leader: usize) -> Line {
        Line { net: self.net.clone(), follower, leader, up: Arc::clone(&self.ups[leader]) }
    }
}

impl Node {
    pub(super) fn new(n: usize, world: &World, kinds: Kinds) -> Self {
        let data = FollowerData {
            node_id: world.chance(700).then(|| format!("node-{n}").parse().expect("a node id")),
            past: kinds.loses_power.then(Default::default),
            real: kinds.is_real.then(|| Arc::new(Real::new())),
            ..FollowerData::default()
        };
        let clock = NodeClock::new(world);
        let stamps = Arc::new(Mutex::new(Stamps::new(clock.clone())));
        let machine = Machine { disk: Arc::new(Mutex::new(data)), clock, stamps };
        Self { machine, runs: None, goes: None, running: Arc::default() }
    }
}
