//! One history of a cluster: who runs, and what goes wrong.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sproxy::cluster::leader::Leader;
use sproxy::domain::clock::{Clock as _, Timestamp};
use sproxy::domain::ids::InstanceId;
use sproxy::domain::peer::Peer;

use super::clocks::NodeClock;
use super::crew::{Crew, Node, RETENTION};
use super::disks::{Kinds, LeaderData, LeaderDisk, Shared, has_genesis, lock};
use super::net::Net;
use super::plan::{Event, Plan};
use super::scheduler::World;

pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long things go wrong, and how long they then may take to be right again.
pub const TROUBLE: Duration = Duration::from_mins(2);
const CALM: Duration = Duration::from_secs(90);
/// How often a leader looks for sums that it cannot be sure of.
const SETTLE_EVERY: Duration = Duration::from_millis(500);
pub struct History {
    crew: Crew,
    kinds: Kinds,
    carries_out: bool,
    pub(super) disk: Shared<LeaderData>,
    pub(super) leader_clock: NodeClock,
    pub(super) leader_up_since: Timestamp,
    /// The last one that was made of a leader's disk.
    backup: Option<LeaderData>,
    /// Somebody still knew the users when a leader's disk was lost, every time.
    pub(super) genesis_survives: bool,
}

impl Deref for History {
    type Target = Crew;

    fn deref(&self) -> &Crew {
        &self.crew
    }
}

impl DerefMut for History {
    fn deref_mut(&mut self) -> &mut Crew {
        &mut self.crew
    }
}

impl History {
    pub fn new(seed: u64, plan: &Plan, is_real: bool) -> Self {
        let world = World::new(seed);
        let kinds = Kinds { loses_power: !is_real && world.chance(300), is_real };
        let disk = Arc::new(Mutex::new(LeaderData::new(&world, world.now(), true, kinds)));
        let ledger = lock(&disk).ledger();
        let followers: Vec<_> = (0..plan.followers).map(|n| Node::new(n, &world, kinds)).collect();
        let losses = [0, 20, 80, 200];
        let net = Net {
            world: world.clone(),
            up: Arc::default(),
            away: Arc::default(),
            old: Arc::new(Mutex::new(world.chance(200))),
            cut: Arc::default(),
            loss: Arc::new(Mutex::new(losses[usize::try_from(world.between(0, 4)).expect("small")])),
        };
        let ups = vec![Arc::clone(&net.up)];
        let ledgers = HashMap::from([(ledger, Arc::clone(&disk))]);
        let crew = Crew::new(world.clone(), seed, net, ups, followers, ledgers);
        let mut history = Self {
            crew,
            kinds,
            carries_out: is_real || world.chance(500),
            leader_clock: NodeClock::new(&world),
            leader_up_since: world.now(),
            disk,
            backup: None,
            genesis_survives: true,
        };
        history.start_leader();
        (0..history.followers.len()).for_each(|n| history.start_follower(n));
        history
    }

    /// Everything goes wrong that is planned.
    pub fn trouble(&mut self, plan: &Plan) {
        for (pause, event) in &plan.steps {
            self.apply(*event);
            self.pass(*pause);
            self.check_always();
        }
    }

    /// Everybody is up and knows the time, nothing gets lost, nobody asks any more.
    pub fn calm(&mut self) {
        let before = self.world.now();
        *lock(&self.open) = false;
        lock(&self.net.cut).clear();
        *lock(&self.net.loss) = 0;
        self.leader_clock.set_off(0);
        if lock(&self.net.up).is_none() {
            self.start_leader();
        }
        for n in 0..self.followers.len() {
            self.followers[n].machine.clock.set_off(0);
            self.start_follower(n);
        }
        let end = before.plus(CALM);
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
            Event::Mend(n) => drop(lock(&self.net.cut).remove(&n)),
            Event::CutAll => lock(&self.net.cut).extend(0..self.followers.len()),
            Event::MendAll => lock(&self.net.cut).clear(),
            Event::KillLeader => self.kill_leader(),
            Event::StartLeader if lock(&self.net.up).is_none() => self.start_leader(),
            Event::LoseLeadersDisk => self.lose_the_leaders_disk(),
            Event::Backup if !self.kinds.is_real => self.backup = Some(lock(&self.disk).clone()),
            Event::Restore => self.restore_the_backup(),
            Event::Administer => self.administer(),
            Event::Drain(n) => self.drain(n),
            Event::Forget(n) => self.forget(n),
            Event::LeaderRetention => self.leaders_retention(),
            Event::FollowerRetention(n) => self.followers_retention(n),
            Event::LeaderLosesPower(commits) => self.leader_loses_power(commits),
            Event::FollowerLosesPower(n, commits) => self.follower_loses_power(n, commits),
            Event::SetClock(whose, seconds) => self.set_clock(whose, seconds),
            // It is up; a database's backup is another story.
            Event::StartLeader | Event::Backup => {}
        }
    }

    fn kill_leader(&mut self) {
        let up = lock(&self.net.up).take();
        if let Some((owner, _)) = up {
            self.world.happened("the leader killed");
            self.scheduler.kill(owner);
        }
    }

    fn all_have_names(&self) -> bool {
        self.by_name().len() == self.followers.len()
    }

    /// Not while a node has no name yet: a leader that has lost its disk cannot know which names are taken by nodes that
    /// are away, and might give one of theirs to a newcomer. (The one of the two that comes later is refused then.) The new
    /// machine knows the time.
    fn lose_the_leaders_disk(&mut self) {
        if !self.all_have_names() {
            return;
        }
        self.world.happened("the leader's disk lost");
        self.kill_leader();
        self.leader_clock.set_off(0);
        self.genesis_survives &= self.a_follower_knows_the_users();
        self.disk =
            Arc::new(Mutex::new(LeaderData::new(&self.world, self.leader_clock.now(), false, self.kinds)));
        let ledger = lock(&self.disk).ledger();
        lock(&self.ledgers).insert(ledger, Arc::clone(&self.disk));
        self.start_leader();
    }

    /// Not one that was made before every node had a name: it does not know which it has given since.
    fn restore_the_backup(&mut self) {
        let names = self.by_name();
        let fits = |backup: &LeaderData| {
            !*lock(&self.net.old)
                && self.all_have_names()
                && names.keys().all(|name| backup.peers.contains_key(name))
        };
        let Some(backup) = self.backup.clone().filter(fits) else { return };
        self.world.happened("a backup restored");
        self.kill_leader();
        if backup.ledger() != lock(&self.disk).ledger() {
            self.world.happened("a backup of a lost disk restored");
            let lost = lock(&self.ledgers).get(&backup.ledger()).cloned();
            self.disk = lost.expect("a ledger that was there");
        }
        lock(&self.disk).restore(backup);
        lock(&self.disk).is_copy = true;
        self.start_leader();
    }

    fn a_follower_knows_the_users(&self) -> bool {
        self.followers.iter().any(|node| has_genesis(&lock(&node.machine.disk).state))
    }

    fn leader_loses_power(&mut self, commits: usize) {
        if *lock(&self.net.old) || !self.all_have_names() {
            return;
        }
        self.kill_leader();
        if lock(&self.disk).lose_power(commits) {
            self.world.happened("the leader lost power");
            // What was made later than this is not of the past that goes on.
            self.backup = None;
        }
        self.start_leader();
    }

    fn follower_loses_power(&mut self, n: usize, commits: usize) {
        if lock(&self.followers[n].machine.disk).node_id.is_none() {
            return;
        }
        self.kill_follower(n);
        let lost = lock(&self.followers[n].machine.disk).lose_power(commits);
        if let Some(lost) = lost {
            self.world.happened("a follower lost power");
            lock(&self.oracle).lost(&lost);
            // It may have been the only one that knew them, while an empty leader waited.
            self.genesis_survives &=
                has_genesis(&lock(&self.disk).state) || self.a_follower_knows_the_users();
        }
    }

    fn start_leader(&mut self) {
        if *lock(&self.net.old) && self.world.chance(300) {
            // The next version. What is acknowledged without a number is not known to be lost.
            *lock(&self.net.old) = false;
            self.backup = None;
            lock(&self.disk).forget_the_past();
        }
        if !self.all_have_met_the_ledger() {
            // How old its ledger is, and so whether it waits for its followers' users still, a process that starts can only
            // read off its clock. From then on it may be set.
            self.leader_clock.set_off(0);
        }
        let owner = self.owner();
        let (world, up, data) = (self.world.clone(), Arc::clone(&self.net.up), Arc::clone(&self.disk));
        let (clock, carries_out) = (Arc::new(self.leader_clock.clone()), self.carries_out);
        let instance = InstanceId(world.uuid());
        let work = async move {
            let (kept, nodes): (_, BTreeSet<_>) = {
                let mut data = lock(&data);
                if std::mem::take(&mut data.is_copy) {
                    data.peers.values_mut().for_each(Peer::distrust_departure);
                }
                let nodes = data.booked.values().map(|record| record.source_node.clone());
                (data.peers.values().cloned().collect(), nodes.collect())
            };
            let disk = LeaderDisk::alone(world.clone(), owner, data, carries_out);
            let id = "sp-1".parse().expect("a node id");
            let leader = Leader::open(id, instance, HEARTBEAT, disk, kept, clock).await.expect("opens");
            let leader = Arc::new(leader);
            leader.invalidate(nodes);
            leader.reload_invalidated().await.expect("reads");
            *lock(&up) = Some((owner, Arc::clone(&leader)));
            let (sweeping, swept) = (world.clone(), Arc::clone(&leader));
            world.spawn(owner, async move {
                loop {
                    sweeping.sleep(HEARTBEAT).await;
                    // A disk that is full now and then; the next sweep does it again.
                    let _ = swept.sweep().await;
                }
            });
            loop {
                world.sleep(SETTLE_EVERY).await;
                leader.reload_invalidated().await.expect("reads");
                let _nothing_of_its_own = leader.take_clock_setback();
            }
        };
        self.world.spawn(owner, work);
        // Until it is up: it reads before it answers.
        while lock(&self.net.up).is_none() {
            self.pass(Duration::from_millis(10));
        }
        self.leader_up_since = self.world.now();
    }

    fn administer(&mut self) {
        let up = lock(&self.net.up).clone();
        if let Some((owner, leader)) = up {
            let Ok(turn) = Arc::clone(&leader.store().accounts).try_lock_owned() else { return };
            self.world.happened("users changed");
            lock(&self.disk).administer(&self.world);
            drop(turn);
            self.world.spawn(owner, async move { leader.state_changed().await.expect("reads") });
        }
    }

    fn drain(&mut self, n: usize) {
        let (up, name) = (lock(&self.net.up).clone(), lock(&self.followers[n].machine.disk).node_id.clone());
        if let (Some((owner, leader)), Some(name)) = (up, name) {
            let (world, draining) = (self.world.clone(), self.world.chance(500));
            self.world.spawn(owner, async move {
                if leader.drain(&name, draining).await.is_ok() {
                    world.happened("a peer drained or not any more");
                }
            });
        }
    }

    fn forget(&mut self, n: usize) {
        let (up, name) = (lock(&self.net.up).clone(), lock(&self.followers[n].machine.disk).node_id.clone());
        if let (Some((owner, leader)), Some(name)) = (up, name) {
            let world = self.world.clone();
            self.world.spawn(owner, async move {
                if leader.forget(&name).await.is_ok() {
                    world.happened("a peer forgotten");
                }
            });
        }
    }

    /// By the leader's own clock, which may be ahead.
    fn leaders_retention(&mut self) {
        let before = self.leader_clock.now().minus(RETENTION);
        if lock(&self.disk).remove_before(before) > 0 {
            self.world.happened("the leader's retention removed logs");
        }
    }

    fn set_clock(&mut self, whose: Option<usize>, seconds: i64) {
        let clock = whose.map_or(&self.leader_clock, |n| &self.followers[n].machine.clock);
        let before = clock.now();
        clock.set_off(seconds);
        self.world.happened(match (whose, clock.now() > before) {
            (None, true) => "the leader's clock set ahead",
            (None, false) => "the leader's clock set back",
            (Some(_), true) => "a follower's clock set ahead",
            (Some(_), false) => "a follower's clock set back",
        });
    }

    fn all_have_met_the_ledger(&self) -> bool {
        let ledger = lock(&self.disk).ledger();
        let has_met = |node: &Node| {
            let disk = lock(&node.machine.disk);
            disk.held.as_ref().is_some_and(|held| held.ledger == ledger)
        };
        self.followers.iter().all(has_met)
    }
}
