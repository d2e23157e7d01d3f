//! What nodes are told of each other.

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn node(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

fn increment(on: &str, user: UserId, tokens: u64, moment: &str) -> UsageIncrement {
    UsageIncrement { node: node(on), user, group: None, tokens, nanousd: 10, at: at(moment) }
}

#[test]
fn a_node_hears_what_the_others_used_and_only_what_is_new() {
    let now = at("2026-11-22T12:00:00Z");
    let user = UserId::new();
    let mut tally = PerNodeUsage::new(now);
    tally.add(&increment("sp-1", user, 1, "2026-11-22T11:00:00Z"), now);
    tally.add(&increment("sp-2", user, 2, "2026-11-22T11:00:00Z"), now);
    tally.add(&increment("sp-3", user, 4, "2026-11-21T11:00:00Z"), now);
    tally.add(&increment("sp-3", user, 8, "2026-10-31T23:00:00Z"), now);
    let news = tally.changes_since(0, &node("sp-2"), 100, now);
    let elsewhere = Used { daily_tokens: 1, monthly_tokens: 5, monthly_nanousd: 20 };
    assert_eq!(news.subjects, vec![(SubjectId::User(user), elsewhere)]);
    assert!(tally.changes_since(news.through, &node("sp-2"), 100, now).subjects.is_empty());
    assert_eq!(tally.changes_since(0, &node("sp-9"), 100, now).subjects[0].1.monthly_tokens, 7);
}

#[test]
fn windows_turn_at_midnight_and_on_the_first_and_a_watcher_keeps_its_place() {
    let user = UserId::new();
    let mut tally = PerNodeUsage::new(at("2026-11-29T12:00:00Z"));
    tally.add(&increment("sp-1", user, 1, "2026-11-29T12:00:00Z"), at("2026-11-29T12:00:00Z"));
    let place = tally.changes_since(0, &node("sp-2"), 9, at("2026-11-29T12:00:00Z")).through;
    let told = tally.changes_since(0, &node("sp-2"), 9, at("2026-11-30T00:00:00Z")).subjects[0].1;
    assert_eq!((told.daily_tokens, told.monthly_tokens), (0, 1));
    assert!(tally.changes_since(0, &node("sp-2"), 9, at("2026-12-01T00:00:00Z")).subjects.is_empty());
    tally.add(&increment("sp-1", user, 3, "2026-12-01T00:00:01Z"), at("2026-12-01T00:00:01Z"));
    let news = tally.changes_since(place, &node("sp-2"), 9, at("2026-12-01T00:00:01Z"));
    assert_eq!(news.subjects[0].1.monthly_tokens, 3);
}

#[test]
fn a_node_whose_clock_is_a_month_ahead_does_not_end_the_month_of_the_others() {
    let now = at("2026-11-22T12:00:00Z");
    let user = UserId::new();
    let mut tally = PerNodeUsage::new(now);
    tally.add(&increment("sp-2", user, 1, "2026-11-22T11:00:00Z"), now);
    tally.add(&increment("sp-3", user, 2, "2026-12-22T12:00:00Z"), now);
    tally.add(&increment("sp-2", user, 4, "2026-11-22T12:00:00Z"), now);
    let told = tally.changes_since(0, &node("sp-1"), 9, now).subjects[0].1;
    assert_eq!((told.daily_tokens, told.monthly_tokens), (7, 7));
    let almost = at("2026-11-30T23:59:59.9Z");
    tally.add(&increment("sp-3", user, 8, "2026-12-01T00:00:00Z"), almost);
    let told = tally.changes_since(0, &node("sp-1"), 9, at("2026-12-01T00:00:01Z")).subjects[0].1;
    assert_eq!(told.monthly_tokens, 8, "a little ahead is the new month's");
}

#[test]
fn news_come_in_pieces_and_none_is_left_out() {
    let now = at("2026-11-22T12:00:00Z");
    let mut tally = PerNodeUsage::new(now);
    for _ in 0..10 {
        tally.add(&increment("sp-1", UserId::new(), 1, "2026-11-22T11:00:00Z"), now);
    }
    let (mut place, mut heard) = (0, 0);
    loop {
        let news = tally.changes_since(place, &node("sp-2"), 3, now);
        if news.subjects.is_empty() {
            break;
        }
        heard += news.subjects.len();
        place = news.through;
    }
    assert_eq!(heard, 10);
}
