//! What each user and group has used on each node in the present UTC day and month, so that every node can be told
//! what the others used. Pure; on the leader only.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::domain::clock::Timestamp;
use crate::domain::ids::{GroupId, NodeId, UserId};
use crate::domain::quota::Used;
use crate::quota::SubjectId;

/// How far ahead a node's clock may be and still be believed that a day or a month has begun.
const AHEAD_MAX: Duration = Duration::from_mins(1);

/// What a record adds to its user's and its group's windows.
#[derive(Clone, Debug)]
pub struct Spent {
    /// The node that served.
    pub node: NodeId,
    /// Who called.
    pub user: UserId,
    /// Their group at the time.
    pub group: Option<GroupId>,
    /// Input and output tokens.
    pub tokens: u64,
    /// Cost in nano-USD.
    pub nanousd: i64,
    /// When.
    pub at: Timestamp,
}

/// Sums per subject and node. Grows with the subjects that used anything this month, times the nodes they used it on.
#[derive(Debug)]
pub struct Tally {
    day: Timestamp,
    month: Timestamp,
    subjects: HashMap<SubjectId, Entry, foldhash::fast::RandomState>,
    /// Subjects by the moment of their last change, so that asking for changes costs what changed.
    changes: BTreeMap<u64, SubjectId>,
    last_change: u64,
}

#[derive(Debug, Default)]
struct Entry {
    changed: u64,
    by_node: Vec<(NodeId, Used)>,
}

/// What a node is to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Subjects and what they used on all other nodes.
    pub subjects: Vec<(SubjectId, Used)>,
    /// Ask again from here.
    pub through: u64,
}

impl Tally {
    /// An empty tally of the day and month that `now` lies in.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            day: now.day_start(),
            month: now.month_start(),
            subjects: HashMap::default(),
            changes: BTreeMap::new(),
            last_change: 0,
        }
    }

    /// Adds what a record that is new to the ledger used. What lies before a window is not of it; what lies after it
    /// counts in it: a node whose clock is wrong ends nobody else's day.
    pub fn add(&mut self, spent: &Spent, now: Timestamp) {
        self.turn(now.max(spent.at.min(now.plus(AHEAD_MAX))));
        if spent.at < self.month {
            return;
        }
        let used = Used {
            daily_tokens: if spent.at < self.day { 0 } else { spent.tokens },
            monthly_tokens: spent.tokens,
            monthly_nanousd: spent.nanousd,
        };
        let add_used = |sum: &mut Used| add(sum, &used);
        self.change(SubjectId::User(spent.user), &spent.node, add_used);
        if let Some(group) = spent.group {
            self.change(SubjectId::Group(group), &spent.node, add_used);
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
    pub fn news(&mut self, since: u64, node: &NodeId, limit: usize, now: Timestamp) -> News {
        self.turn(now);
        let mut news = News { subjects: Vec::new(), through: since };
        for (change, subject) in self.changes.range(since + 1..).take(limit) {
            news.through = *change;
            let Some(entry) = self.subjects.get(subject) else { continue };
            let mut others = entry.by_node.iter().filter(|(name, _)| name != node).peekable();
            if others.peek().is_some() {
                let mut sum = Used::default();
                others.for_each(|(_, used)| add(&mut sum, used));
                news.subjects.push((*subject, sum));
            }
        }
        news
    }

    /// Starts windows anew that have ended. Nodes do the same for what they were told.
    fn turn(&mut self, now: Timestamp) {
        if now.month_start() > self.month {
            let last_change = self.last_change;
            *self = Self { last_change, ..Self::new(now) };
        } else if now.day_start() > self.day {
            self.day = now.day_start();
            let sums = self.subjects.values_mut().flat_map(|entry| &mut entry.by_node);
            sums.for_each(|(_, used)| used.daily_tokens = 0);
        }
    }
}

fn add(sum: &mut Used, used: &Used) {
    sum.daily_tokens = sum.daily_tokens.saturating_add(used.daily_tokens);
    sum.monthly_tokens = sum.monthly_tokens.saturating_add(used.monthly_tokens);
    sum.monthly_nanousd = sum.monthly_nanousd.saturating_add(used.monthly_nanousd);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn node(text: &str) -> NodeId {
        text.parse().expect("a node id")
    }

    fn spent(on: &str, user: UserId, tokens: u64, moment: &str) -> Spent {
        Spent { node: node(on), user, group: None, tokens, nanousd: 10, at: at(moment) }
    }

    #[test]
    fn a_node_hears_what_the_others_used_and_only_what_is_new() {
        let now = at("2026-11-22T12:00:00Z");
        let user = UserId::new();
        let mut tally = Tally::new(now);
        tally.add(&spent("sp-1", user, 1, "2026-11-22T11:00:00Z"), now);
        tally.add(&spent("sp-2", user, 2, "2026-11-22T11:00:00Z"), now);
        tally.add(&spent("sp-3", user, 4, "2026-11-21T11:00:00Z"), now);
        tally.add(&spent("sp-3", user, 8, "2026-10-31T23:00:00Z"), now);
        let news = tally.news(0, &node("sp-2"), 100, now);
        let elsewhere = Used { daily_tokens: 1, monthly_tokens: 5, monthly_nanousd: 20 };
        assert_eq!(news.subjects, vec![(SubjectId::User(user), elsewhere)]);
        assert!(tally.news(news.through, &node("sp-2"), 100, now).subjects.is_empty());
        assert_eq!(tally.news(0, &node("sp-9"), 100, now).subjects[0].1.monthly_tokens, 7);
    }

    #[test]
    fn windows_turn_at_midnight_and_on_the_first_and_a_watcher_keeps_its_place() {
        let user = UserId::new();
        let mut tally = Tally::new(at("2026-11-29T12:00:00Z"));
        tally.add(&spent("sp-1", user, 1, "2026-11-29T12:00:00Z"), at("2026-11-29T12:00:00Z"));
        let place = tally.news(0, &node("sp-2"), 9, at("2026-11-29T12:00:00Z")).through;
        let told = tally.news(0, &node("sp-2"), 9, at("2026-11-30T00:00:00Z")).subjects[0].1;
        assert_eq!((told.daily_tokens, told.monthly_tokens), (0, 1));
        assert!(tally.news(0, &node("sp-2"), 9, at("2026-12-01T00:00:00Z")).subjects.is_empty());
        tally.add(&spent("sp-1", user, 3, "2026-12-01T00:00:01Z"), at("2026-12-01T00:00:01Z"));
        let news = tally.news(place, &node("sp-2"), 9, at("2026-12-01T00:00:01Z"));
        assert_eq!(news.subjects[0].1.monthly_tokens, 3);
    }

    #[test]
    fn a_node_whose_clock_is_a_month_ahead_does_not_end_the_month_of_the_others() {
        let now = at("2026-11-22T12:00:00Z");
        let user = UserId::new();
        let mut tally = Tally::new(now);
        tally.add(&spent("sp-2", user, 1, "2026-11-22T11:00:00Z"), now);
        tally.add(&spent("sp-3", user, 2, "2026-12-22T12:00:00Z"), now);
        tally.add(&spent("sp-2", user, 4, "2026-11-22T12:00:00Z"), now);
        let told = tally.news(0, &node("sp-1"), 9, now).subjects[0].1;
        assert_eq!((told.daily_tokens, told.monthly_tokens), (7, 7));
        let almost = at("2026-11-30T23:59:59.9Z");
        tally.add(&spent("sp-3", user, 8, "2026-12-01T00:00:00Z"), almost);
        let told = tally.news(0, &node("sp-1"), 9, at("2026-12-01T00:00:01Z")).subjects[0].1;
        assert_eq!(told.monthly_tokens, 8, "a little ahead is the new month's");
    }

    #[test]
    fn news_come_in_pieces_and_none_is_left_out() {
        let now = at("2026-11-22T12:00:00Z");
        let mut tally = Tally::new(now);
        for _ in 0..10 {
            tally.add(&spent("sp-1", UserId::new(), 1, "2026-11-22T11:00:00Z"), now);
        }
        let (mut place, mut heard) = (0, 0);
        loop {
            let news = tally.news(place, &node("sp-2"), 3, now);
            if news.subjects.is_empty() {
                break;
            }
            heard += news.subjects.len();
            place = news.through;
        }
        assert_eq!(heard, 10);
    }
}
