//! What each user and group has used on each node in the present UTC day and month, so that every node can be told
//! what the others used. Pure; on the leader only.
//!
//! The sums are those of what is committed. They start from the database's own sums, each batch that is committed is
//! added, and what cannot be known that way is read from the database again ([`PerNodeUsage::invalidated`]): after a commit whose
//! answer got lost, and when the clock was ahead and a window has begun that is still to come.

mod batches;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::usage::per_node::batches::Batches;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{GroupId, NodeId, UserId};
use crate::domain::quota::Used;
use crate::domain::usage::UsageRecord;
use crate::quota::SubjectId;

/// How far ahead a node's clock may be and still be believed that a day or a month has begun.
const CLOCK_SKEW_MAX: Duration = Duration::from_mins(1);

/// What a record adds to its user's and its group's windows.
#[derive(Clone, Debug)]
pub struct UsageIncrement {
    /// The node that served.
    pub node: NodeId,
    pub user: UserId,
    /// The user's group at the time.
    pub group: Option<GroupId>,
    /// Input and output tokens.
    pub tokens: u64,
    pub nanousd: i64,
    pub at: Timestamp,
}

impl UsageIncrement {
    #[must_use]
    pub fn of(record: &UsageRecord) -> Self {
        Self {
            node: record.source_node.clone(),
            user: record.user_id,
            group: record.group_id,
            tokens: record.tokens.total(),
            nanousd: record.cost_nanousd,
            at: record.created_at,
        }
    }
}

/// Sums per subject and node. Grows with the subjects that used anything this month, times the nodes they used it on.
#[derive(Debug)]
pub struct PerNodeUsage {
    day: Timestamp,
    month: Timestamp,
    subjects: HashMap<SubjectId, Entry, foldhash::fast::RandomState>,
    /// Subjects by the moment of their last change, so that asking for changes costs what changed.
    changes: BTreeMap<u64, SubjectId>,
    last_change: u64,
    /// Of each node that pushes.
    batches: BTreeMap<NodeId, Batches<Vec<UsageIncrement>>>,
    /// The windows began anew in the past: nobody is told anything before the sums are read.
    awaits_reload: bool,
    was_set_back: bool,
}

/// What a node has used in the windows of a moment, as the database has it.
#[derive(Clone, Debug, Default)]
pub struct NodeUse {
    /// What users and groups used there.
    pub subjects: Vec<(SubjectId, Used)>,
    /// How many of the node's batches are in that.
    pub batches: u64,
}

#[derive(Debug, Default)]
struct Entry {
    changed: u64,
    by_node: Vec<(NodeId, Used)>,
}

/// What a node is to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UsageDelta {
    /// Subjects and what they used on all other nodes.
    pub subjects: Vec<(SubjectId, Used)>,
    /// Ask again from here.
    pub through: u64,
}

impl PerNodeUsage {
    /// Empty sums of the day and month that `now` lies in.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            day: now.day_start(),
            month: now.month_start(),
            subjects: HashMap::default(),
            changes: BTreeMap::new(),
            last_change: 0,
            batches: BTreeMap::new(),
            awaits_reload: false,
            was_set_back: false,
        }
    }

    /// Adds what the new records of a node's batch used; `number` is the batch's, as the database counts them.
    pub fn add_batch(&mut self, node: &NodeId, number: u64, added: Vec<UsageIncrement>, now: Timestamp) {
        let in_order = self.batches.entry(node.clone()).or_default().committed(number, Arc::new(added));
        self.add_all(&in_order, now);
    }

    /// Up to which of a node's batches its sums go.
    #[must_use]
    pub fn batches_known(&self, node: &NodeId) -> u64 {
        self.batches.get(node).map_or(0, Batches::through)
    }

    /// Notes that records of a node may be committed without having been reported here.
    pub fn invalidate(&mut self, node: &NodeId) {
        self.batches.entry(node.clone()).or_default().invalidate();
    }

    /// The nodes whose sums have to be read from the database, and the moment whose windows are meant.
    pub fn invalidated(&mut self, now: Timestamp) -> (Vec<NodeId>, Timestamp) {
        self.roll_windows(now);
        let invalidated = self.batches.iter().filter(|(_, batches)| batches.are_invalid());
        let nodes: Vec<NodeId> = invalidated.map(|(node, _)| node.clone()).collect();
        self.awaits_reload &= !nodes.is_empty();
        (nodes, self.day)
    }

    /// The sums of a node are about to be read.
    pub fn begin_reload(&mut self, node: &NodeId) {
        self.batches.entry(node.clone()).or_default().begin_reload();
    }

    /// Replaces a node's sums by those that were read for the windows of `as_of`, and adds the batches that were committed
    /// meanwhile. Sums of other windows than the present ones are ignored; they have to be read again.
    pub fn set_node(&mut self, node: &NodeId, read: NodeUse, as_of: Timestamp, now: Timestamp) {
        if as_of != self.day {
            return;
        }
        let held =
            self.subjects.iter().filter(|(_, entry)| entry.by_node.iter().any(|(name, _)| name == node));
        let gone: Vec<SubjectId> = held.map(|(subject, _)| *subject).collect();
        for subject in gone {
            self.set_used(subject, node, Used::default());
        }
        for (subject, used) in read.subjects {
            self.set_used(subject, node, used);
        }
        let in_order = self.batches.entry(node.clone()).or_default().reloaded(read.batches);
        self.add_all(&in_order, now);
    }

    fn add_all(&mut self, batches: &[Arc<Vec<UsageIncrement>>], now: Timestamp) {
        for increment in batches.iter().flat_map(|batch| batch.iter()) {
            self.add(increment, now);
        }
    }

    /// Adds what a record that is new to the ledger used. What lies before a window is not of it; what lies after it
    /// counts in it: a node whose clock is wrong ends nobody else's day.
    fn add(&mut self, increment: &UsageIncrement, now: Timestamp) {
        self.roll_windows(now.max(increment.at.min(now.plus(CLOCK_SKEW_MAX))));
        if increment.at < self.month {
            return;
        }
        let used = Used {
            daily_tokens: if increment.at < self.day { 0 } else { increment.tokens },
            monthly_tokens: increment.tokens,
            monthly_nanousd: increment.nanousd,
        };
        let add_used = |sum: &mut Used| add(sum, &used);
        self.change(SubjectId::User(increment.user), &increment.node, add_used);
        if let Some(group) = increment.group {
            self.change(SubjectId::Group(group), &increment.node, add_used);
        }
    }

    /// Sets what a subject used on a node in the present windows.
    pub fn set_used(&mut self, subject: SubjectId, node: &NodeId, used: Used) {
        self.change(subject, node, |sum| *sum = used);
    }

    fn change(&mut self, subject: SubjectId, node: &NodeId, change: impl FnOnce(&mut Used)) {
        let entry = self.subjects.entry(subject).or_default();
        if let Some((_, sum)) = entry.by_node.iter_mut().find(|(name, _)| name == node) {
            change(sum);
        } else {
            let mut sum = Used::default();
            change(&mut sum);
            entry.by_node.push((node.clone(), sum));
        }
        self.changes.remove(&entry.changed);
        self.last_change += 1;
        entry.changed = self.last_change;
        self.changes.insert(self.last_change, subject);
    }

    /// What changed after `since` (0: ever) from the point of view of `node`, at most `limit` subjects.
    #[must_use]
    pub fn changes_since(&mut self, since: u64, node: &NodeId, limit: usize, now: Timestamp) -> UsageDelta {
        self.roll_windows(now);
        let mut delta = UsageDelta { subjects: Vec::new(), through: since };
        if self.awaits_reload {
            return delta;
        }
        for (change, subject) in self.changes.range(since + 1..).take(limit) {
            delta.through = *change;
            let Some(entry) = self.subjects.get(subject) else { continue };
            let mut others = entry.by_node.iter().filter(|(name, _)| name != node).peekable();
            if others.peek().is_some() {
                let mut sum = Used::default();
                others.for_each(|(_, used)| add(&mut sum, used));
                delta.subjects.push((*subject, sum));
            }
        }
        delta
    }

    /// Whether the windows began anew in the past since this was last asked: then what the leader itself has used has to
    /// be set again.
    pub fn take_clock_setback(&mut self) -> bool {
        std::mem::take(&mut self.was_set_back)
    }

    /// Starts windows anew that have ended, and those that have not begun yet: the clock was ahead. Nodes do the same for
    /// what they were told.
    fn roll_windows(&mut self, now: Timestamp) {
        if now.plus(CLOCK_SKEW_MAX) < self.day {
            self.begin(now);
            self.batches.values_mut().for_each(Batches::invalidate);
            (self.awaits_reload, self.was_set_back) = (true, true);
        } else if now.month_start() > self.month {
            self.begin(now);
            self.batches.values_mut().for_each(Batches::invalidate);
        } else if now.day_start() > self.day {
            self.day = now.day_start();
            // What was used under a clock that is ahead is of this day already.
            self.batches.values_mut().for_each(Batches::invalidate);
            let sums = self.subjects.values_mut().flat_map(|entry| &mut entry.by_node);
            sums.for_each(|(_, used)| used.daily_tokens = 0);
        }
    }

    /// The windows of `now`, with nothing in them. Watchers keep their places.
    fn begin(&mut self, now: Timestamp) {
        (self.day, self.month) = (now.day_start(), now.month_start());
        self.subjects.clear();
        self.changes.clear();
    }
}

fn add(sum: &mut Used, used: &Used) {
    sum.daily_tokens = sum.daily_tokens.saturating_add(used.daily_tokens);
    sum.monthly_tokens = sum.monthly_tokens.saturating_add(used.monthly_tokens);
    sum.monthly_nanousd = sum.monthly_nanousd.saturating_add(used.monthly_nanousd);
}

#[cfg(test)]
mod tests;
