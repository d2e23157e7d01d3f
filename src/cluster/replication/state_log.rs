//! The leader's side of the replicated state: the present version and the recent changes that led there, so that a node
//! which knows a recent version is sent the changes and any other node a snapshot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::cluster::replication::state::{Change, State, StateVersion};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{Jti, LedgerId};

/// How many steps are kept that change users, groups or keys. A node that is further behind gets a snapshot.
const STEPS_MAX: usize = 256;

/// How many steps are kept in all: many users sign out, and no node is to get everybody for that.
const ALL_STEPS_MAX: usize = 10_000;

/// When so many ended sessions are held, it is looked for the first time which have expired.
const ENDED_MIN: usize = 1_024;

/// A step that touches more than this is not kept: a snapshot in pieces serves better.
const STEP_SIZE_MAX: usize = 5_000;

/// One version to the next.
#[derive(Clone, Debug)]
pub struct Delta {
    /// The version it starts from.
    pub base: u64,
    /// The version it leads to.
    pub version: u64,
    pub change: Arc<Change>,
}

/// What a node has to be told to be up to date.
#[derive(Clone, Debug)]
pub enum Update {
    None,
    /// These steps, in this order.
    Steps(Vec<Delta>),
    Snapshot(Arc<State>),
}

/// The present state and its recent past.
#[derive(Debug)]
pub struct StateLog {
    origin: StateVersion,
    state: Arc<State>,
    steps: VecDeque<Delta>,
    /// How many of them change users, groups or keys.
    big_steps: usize,
    /// As soon as more ended sessions are held, those that have expired are dropped.
    ended_max: usize,
}

impl StateLog {
    /// Starts with what the database holds.
    #[must_use]
    pub fn new(origin: StateVersion, state: State) -> Self {
        Self { origin, state: Arc::new(state), steps: VecDeque::new(), big_steps: 0, ended_max: ENDED_MIN }
    }

    #[must_use]
    pub fn origin(&self) -> StateVersion {
        self.origin.clone()
    }

    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    /// Publishes a later version. Costs one comparison of everything with everything; versions that are not later
    /// are ignored, so that two who noticed the same change may both come.
    pub fn publish(&mut self, origin: StateVersion, state: State) {
        if origin.version <= self.origin.version && origin.ledger == self.origin.ledger {
            return;
        }
        let change = self.state.change_to(&state);
        if origin.lineage != self.origin.lineage
            || origin.pristine != self.origin.pristine
            || origin.ledger != self.origin.ledger
            || change.size() > STEP_SIZE_MAX
        {
            self.steps.clear();
            self.big_steps = 0;
        } else {
            self.push(origin.version, change);
        }
        self.origin = origin;
        self.state = Arc::new(state);
    }

    /// Publishes a later version in which users, groups and keys are as they were. Costs what changes. Sessions whose
    /// access tokens had expired at `expired` are dropped now and then.
    pub fn publish_sign_in(
        &mut self,
        version: u64,
        token_keys: BTreeSet<[u8; 32]>,
        ended_sessions: BTreeMap<Jti, Timestamp>,
        expired: Timestamp,
    ) {
        if version <= self.origin.version {
            return;
        }
        let change = Change { token_keys, ended_sessions, ..Change::default() };
        // In place, unless a snapshot of it is being sent.
        let state = Arc::make_mut(&mut self.state);
        state.apply(change.clone());
        if state.ended_sessions.len() > self.ended_max {
            state.ended_sessions.retain(|_, until| expired < *until);
            self.ended_max = ENDED_MIN.max(2 * state.ended_sessions.len());
        }
        self.push(version, change);
        self.origin.version = version;
    }

    fn push(&mut self, version: u64, change: Change) {
        self.big_steps += usize::from(!change.is_about_sign_in());
        self.steps.push_back(Delta { base: self.origin.version, version, change: Arc::new(change) });
        while self.big_steps > STEPS_MAX || self.steps.len() > ALL_STEPS_MAX {
            let forgotten = self.steps.pop_front();
            let was_big = forgotten.is_some_and(|step| !step.change.is_about_sign_in());
            self.big_steps -= usize::from(was_big);
        }
    }

    /// What a node that holds `known` has to be told.
    #[must_use]
    pub fn update_for(&self, known: Option<(LedgerId, u64)>) -> Update {
        let Some((_, version)) = known.filter(|(ledger, _)| *ledger == self.origin.ledger) else {
            return Update::Snapshot(self.state());
        };
        if version >= self.origin.version {
            return Update::None;
        }
        match self.steps.iter().position(|step| step.base == version) {
            Some(at) => Update::Steps(together(self.steps.range(at..))),
            None => Update::Snapshot(self.state()),
        }
    }
}

/// Steps with those as one that follow each other and are about sign-in alone.
fn together<'s>(steps: impl Iterator<Item = &'s Delta>) -> Vec<Delta> {
    let mut all: Vec<Delta> = Vec::new();
    for step in steps {
        match all.last_mut() {
            Some(last) if last.change.is_about_sign_in() && step.change.is_about_sign_in() => {
                let change = Arc::make_mut(&mut last.change);
                change.ended_sessions.extend(&step.change.ended_sessions);
                change.token_keys.clone_from(&step.change.token_keys);
                last.version = step.version;
            }
            _ => all.push(step.clone()),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::group::{Group, Limits};
    use crate::domain::ids::GroupId;

    fn with_group(state: &State) -> State {
        let (id, at) = (GroupId::new(), Timestamp::from_micros(1));
        let group =
            Group { id, name: id.to_string(), limits: Limits::default(), created_at: at, updated_at: at };
        let mut state = state.clone();
        state.groups.insert(id, group);
        state
    }

    fn steps(publisher: &StateLog, known: (LedgerId, u64)) -> Vec<Delta> {
        match publisher.update_for(Some(known)) {
            Update::Steps(steps) => steps,
            Update::None | Update::Snapshot(_) => Vec::new(),
        }
    }

    #[test]
    fn a_node_that_knows_a_recent_version_gets_the_steps_and_any_other_the_whole() {
        let ledger = LedgerId::new();
        let at = |version| StateVersion { ledger, version, lineage: Vec::new(), pristine: false };
        let mut publisher = StateLog::new(at(1), State::default());
        let mut replica = State::default();
        for version in [2, 5, 6] {
            publisher.publish(at(version), with_group(&publisher.state()));
        }
        let steps = steps(&publisher, (ledger, 2));
        assert_eq!(steps.iter().map(|step| (step.base, step.version)).collect::<Vec<_>>(), [(2, 5), (5, 6)]);
        for step in self::steps(&publisher, (ledger, 1)) {
            replica.apply((*step.change).clone());
        }
        assert_eq!(replica, *publisher.state());
        assert!(matches!(publisher.update_for(Some((ledger, 6))), Update::None));
        assert!(matches!(publisher.update_for(Some((ledger, 3))), Update::Snapshot(_)), "no such version");
        assert!(matches!(publisher.update_for(Some((LedgerId::new(), 6))), Update::Snapshot(_)));
        assert!(matches!(publisher.update_for(None), Update::Snapshot(_)));
    }

    fn ended(publisher: &mut StateLog, version: u64, until: i64) -> Jti {
        let (session, until) = (Jti::new(), Timestamp::from_micros(until));
        let keys = publisher.state().token_keys.clone();
        publisher.publish_sign_in(version, keys, [(session, until)].into(), Timestamp::from_micros(10));
        session
    }

    #[test]
    fn sessions_that_end_cost_a_node_what_is_new_to_it_and_nobody_a_snapshot() {
        let ledger = LedgerId::new();
        let at = |version| StateVersion { ledger, version, lineage: Vec::new(), pristine: false };
        let mut publisher =
            StateLog::new(at(1), with_group(&State { token_keys: [[7; 32]].into(), ..State::default() }));
        let mut replica = State::clone(&publisher.state());
        for version in 2..=3_000 {
            ended(&mut publisher, version, 20);
        }
        publisher.publish(at(3_001), with_group(&publisher.state()));
        let last = ended(&mut publisher, 3_002, 20);
        ended(&mut publisher, 3_001, 20);
        let all = steps(&publisher, (ledger, 1));
        let lengths: Vec<_> = all.iter().map(|step| (step.base, step.version)).collect();
        assert_eq!(
            lengths,
            [(1, 3_000), (3_000, 3_001), (3_001, 3_002)],
            "those that follow each other are one"
        );
        assert_eq!(all[2].change.ended_sessions.keys().collect::<Vec<_>>(), [&last]);
        for step in all {
            replica.apply((*step.change).clone());
        }
        assert_eq!(replica, *publisher.state());
        assert_eq!(replica.ended_sessions.len(), 3_000);
        assert_eq!(replica.token_keys.len(), 1);
        assert_eq!(steps(&publisher, (ledger, 2_999)).len(), 3, "a later beginning is one, too");
    }

    #[test]
    fn what_has_ended_is_held_until_its_tokens_expire_and_its_steps_are_bounded() {
        let ledger = LedgerId::new();
        let at = |version| StateVersion { ledger, version, lineage: Vec::new(), pristine: false };
        let mut publisher = StateLog::new(at(0), State::default());
        for version in 1..=ALL_STEPS_MAX as u64 + 10 {
            ended(&mut publisher, version, if version % 2 == 0 { 20 } else { 10 });
        }
        let held = publisher.state().ended_sessions.len();
        assert!((ALL_STEPS_MAX / 2..ALL_STEPS_MAX).contains(&held), "{held}");
        assert!(matches!(publisher.update_for(Some((ledger, 9))), Update::Snapshot(_)));
        assert!(matches!(publisher.update_for(Some((ledger, 10))), Update::Steps(_)));
    }

    #[test]
    fn the_past_is_bounded_and_late_news_change_nothing() {
        let ledger = LedgerId::new();
        let at = |version| StateVersion { ledger, version, lineage: Vec::new(), pristine: false };
        let mut publisher = StateLog::new(at(0), State::default());
        for version in 1..=STEPS_MAX as u64 + 10 {
            publisher.publish(at(version), with_group(&publisher.state()));
        }
        assert!(matches!(publisher.update_for(Some((ledger, 5))), Update::Snapshot(_)));
        assert!(matches!(publisher.update_for(Some((ledger, 10))), Update::Steps(_)));
        let before = publisher.state();
        publisher.publish(at(3), State::default());
        assert_eq!(publisher.state(), before);
    }
}
