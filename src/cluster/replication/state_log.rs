//! The leader's side of the replicated state: the present version and the recent changes that led there, so that a node
//! which knows a recent version is sent the changes and any other node a snapshot.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::cluster::replication::state::{Change, State, StateVersion};
use crate::domain::ids::LedgerId;

/// How many steps are kept. A node that is further behind gets a snapshot.
const STEPS_MAX: usize = 256;

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
}

impl StateLog {
    /// Starts with what the database holds.
    #[must_use]
    pub fn new(origin: StateVersion, state: State) -> Self {
        Self { origin, state: Arc::new(state), steps: VecDeque::new() }
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
        } else {
            if self.steps.len() == STEPS_MAX {
                self.steps.pop_front();
            }
            let (base, version) = (self.origin.version, origin.version);
            self.steps.push_back(Delta { base, version, change: Arc::new(change) });
        }
        self.origin = origin;
        self.state = Arc::new(state);
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
            Some(at) => Update::Steps(self.steps.range(at..).cloned().collect()),
            None => Update::Snapshot(self.state()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Timestamp;
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
