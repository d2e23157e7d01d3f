//! What has to hold at any moment of a history, and what in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sproxy::cluster::leader::Leader;
use sproxy::cluster::replication::state::State;
use sproxy::domain::clock::{Clock as _, Timestamp};
use sproxy::domain::ids::{NodeId, RequestId};
use sproxy::domain::quota::Used;
use sproxy::domain::usage::UsageRecord;
use sproxy::quota::SubjectId;

use super::crew::Crew;
use super::disks::{LeaderData, LeaderDisk, has_genesis, lock, used_in};
use super::history::History;
use super::process::is_poison;

/// Subjects of one answer on what others used: more than there are.
const SUBJECTS: usize = 1_000;
/// Within that a living leader's sums are those of its books: it commits, and reads what it is not sure of.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);
/// How far ahead a node's clock may be for the leader to believe that a day has begun.
const AHEAD_MAX: Duration = Duration::from_mins(1);

/// Who sees everything.
#[derive(Default)]
pub struct Oracle {
    /// Every answer that a client received.
    made: BTreeMap<RequestId, UsageRecord>,
    /// What a machine lost with its power before anybody else had it for certain.
    lost: BTreeSet<RequestId>,
}

impl Oracle {
    pub fn made(&mut self, record: &UsageRecord) {
        assert!(self.made.insert(record.request_id, record.clone()).is_none(), "ids are not used twice");
    }

    pub fn lost(&mut self, records: &[UsageRecord]) {
        self.lost.extend(records.iter().map(|record| record.request_id));
    }

    pub fn count(&self) -> u64 {
        self.made.len() as u64
    }
}

impl History {
    /// What has to hold at any moment.
    pub(super) fn check_always(&self) {
        let leader = lock(&self.disk);
        self.check_booked(&leader);
        let up = lock(&self.net.up).clone();
        let Some((_, up)) = up else { return };
        self.check_limits_meanwhile(&up, &leader);
        if let Some(through) = up.complete_through(Some(self.world.now())) {
            self.check_complete(&leader, through, |name| leader.awaited.contains(name));
        }
    }

    /// What has to hold once everything is calm.
    pub fn check_the_end(&self) {
        let leader = lock(&self.disk);
        self.check_books(&leader);
        assert!(has_genesis(&leader.state) || !self.genesis_survives, "users are lost");
        let up = lock(&self.net.up).clone().expect("up").1;
        self.check_leader(&up, &leader, self.leader_clock.now());
    }

    /// It is not more than that, and no less than they said a moment ago: whatever became of whoever pushed it, who may not
    /// come back for long. While a window turns, which some clock may do before others, it may be of either.
    fn check_limits_meanwhile(&self, up: &Leader<LeaderDisk>, leader: &LeaderData) {
        let (now, world_now) = (self.leader_clock.now(), self.world.now());
        let settled = world_now.minus(SETTLED_WITHIN);
        let turns = now.minus(SETTLED_WITHIN).day_start() != now.plus(AHEAD_MAX).day_start();
        if turns || settled < self.leader_clock.set_at() || settled < self.leader_up_since {
            return;
        }
        let asking = nobody();
        let told = told(up, &asking);
        let most = sums(used_in(others(leader, &asking), now));
        let is_settled = |record: &&UsageRecord| leader.booked_at[&record.request_id] <= settled;
        let least = sums(used_in(others(leader, &asking).filter(is_settled), now));
        let reaches = |sums: &BTreeMap<String, Used>, least: &BTreeMap<String, Used>| {
            least
                .iter()
                .all(|(subject, least)| sums.get(subject).is_some_and(|sum| sum_is_at_least(sum, least)))
        };
        assert!(reaches(&told, &least), "nodes are told {told:?}, but for long it has been {least:?}");
        assert!(reaches(&most, &told), "nodes are told {told:?}, but it is {most:?}");
    }
}

impl Crew {
    /// What the leader has is what the nodes have made.
    pub(super) fn check_booked(&self, leader: &LeaderData) {
        let oracle = lock(&self.oracle);
        for record in leader.booked.values() {
            let made = oracle.made.get(&record.request_id);
            assert_eq!(made, Some(record), "the leader's account is the node's");
        }
    }

    /// A node that left with nothing owed, and came back without having been heard of, nobody can know of: only those that
    /// `is_awaited` are looked at.
    pub(super) fn check_complete(
        &self,
        leader: &LeaderData,
        through: Timestamp,
        is_awaited: impl Fn(&NodeId) -> bool,
    ) {
        let named = self.by_name();
        for (name, follower) in named.iter().filter(|(name, _)| is_awaited(name)) {
            let held = lock(follower);
            for owed in held.records.values().filter(|owed| owed.refused.is_none() && !owed.is_late) {
                if is_poison(&owed.record) {
                    // Offered anew to each ledger, and set aside by each.
                    continue;
                }
                let id = owed.record.request_id;
                assert!(
                    owed.record.created_at > through || leader.booked.contains_key(&id),
                    "totals are called complete through {through}, but {id} of {name} is missing"
                );
            }
        }
    }

    /// In the end the ledger has all that the nodes have, once, and they have its users.
    pub(super) fn check_books(&self, leader: &LeaderData) {
        assert_eq!(self.by_name().len(), self.followers.len(), "every node has a name of its own");
        let mut booked: BTreeSet<RequestId> = leader.booked.keys().copied().collect();
        for node in &self.followers {
            let data = lock(&node.machine.disk);
            let name = data.node_id.clone().expect("named");
            for owed in data.records.values() {
                let id = owed.record.request_id;
                assert!(owed.synced != owed.set_aside, "{id} of {name} is still owed");
                let is_booked = booked.remove(&id);
                let why = owed.refused.as_deref().filter(|_| owed.set_aside);
                if why.is_some_and(|why| why.contains("usage.retention")) {
                    // Counted or not: when it was pushed nobody could tell, and everybody can see it.
                    continue;
                }
                assert_eq!(owed.set_aside, is_poison(&owed.record), "{id} of {name} is set aside");
                assert_eq!(is_booked, owed.synced, "G1: {id} of {name} in the leader's ledger");
            }
            // What was made and removed between two looks nobody else has heard of.
            assert!(data.state.removed.is_subset(&leader.state.removed), "{name} knows what was removed");
            let known = State { removed: leader.state.removed.clone(), ..data.state.clone() };
            assert_eq!(known, leader.state, "{name} has the leader's users");
        }
        let oracle = lock(&self.oracle);
        for id in booked {
            let known = self.removed.contains(&id) || oracle.lost.contains(&id);
            assert!(known, "G1: {id} is in the leader's ledger and in no node's");
        }
        check_sums(leader);
    }

    /// In the end a leader knows who the nodes are, and what they have used.
    pub(super) fn check_leader(&self, up: &Leader<LeaderDisk>, leader: &LeaderData, now: Timestamp) {
        let peers = up.peers();
        assert!(peers.iter().all(|peer| peer.is_active && peer.unsynced == 0), "{peers:?}");
        let names: BTreeSet<_> = peers.into_iter().map(|peer| peer.id).collect();
        assert_eq!(names, self.by_name().into_keys().collect(), "the peers are the nodes, and nobody else");
        self.check_limits(up, leader, now);
    }

    /// What nodes are told that the others have used is what the books say.
    fn check_limits(&self, up: &Leader<LeaderDisk>, leader: &LeaderData, now: Timestamp) {
        for asking in self.by_name().keys().chain([&nobody()]) {
            let used = sums(used_in(others(leader, asking), now));
            assert_eq!(told(up, asking), used, "what {asking} is told of the others");
        }
    }
}

/// A node that has used nothing.
fn nobody() -> NodeId {
    "nobody".parse().expect("a node id")
}

fn others<'l>(leader: &'l LeaderData, asking: &NodeId) -> impl Iterator<Item = &'l UsageRecord> {
    leader.booked.values().filter(move |record| record.source_node != *asking)
}

/// What a node that asks for the first time is told of the others.
fn told(up: &Leader<LeaderDisk>, asking: &NodeId) -> BTreeMap<String, Used> {
    sums(up.remote_usage(0, asking, SUBJECTS).subjects)
}

fn sums(used: Vec<(SubjectId, Used)>) -> BTreeMap<String, Used> {
    let some = used.into_iter().filter(|(_, used)| *used != Used::default());
    some.map(|(subject, used)| (format!("{subject:?}"), used)).collect()
}

fn sum_is_at_least(sum: &Used, least: &Used) -> bool {
    sum.daily_tokens >= least.daily_tokens
        && sum.monthly_tokens >= least.monthly_tokens
        && sum.monthly_nanousd >= least.monthly_nanousd
}

fn check_sums(leader: &LeaderData) {
    let totals = leader.booked.values().map(|record| (record.tokens.total(), record.cost_nanousd));
    let sum = totals.fold((0, 0, 0), |sum, one| (sum.0 + 1, sum.1 + one.0, sum.2 + one.1));
    if let Some(real) = &leader.real {
        assert_eq!(real.totals(), sum, "G8: the totals are the sum of the rows");
    }
}
