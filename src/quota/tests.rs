//! Limits as a caller meets them.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use super::*;
use crate::domain::group::Limits;
use crate::domain::ids::KeyId;
use crate::domain::principal::Credential;
use crate::domain::user::Role;

const REQUEST: QuotaRequest<'static> = QuotaRequest::unambiguous("claude-sonnet-4-5", Some(1_000));

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

/// Both clocks go on together.
fn moment(at: Timestamp) -> Moment {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Moment { at, steady: *START + at.since(self::at("2026-11-22")) }
}

fn allowance(limits: Limits) -> Arc<Allowance> {
    Arc::new(Allowance::new(limits).expect("globs"))
}

fn caller(user: Limits, group: Option<Limits>) -> Principal {
    Principal {
        user_id: UserId::new(),
        user: "alice".into(),
        group: group.as_ref().map(|_| (GroupId::new(), "research".into())),
        allowance: allowance(user),
        group_allowance: group.map(allowance),
        role: Role::User,
        manages: Arc::new([]),
        credential: Credential::ApiKey(KeyId::new()),
    }
}

fn group_of(principal: &Principal) -> GroupId {
    principal.group.as_ref().expect("a group").0
}

#[test]
fn a_call_is_admitted_while_what_is_used_is_below_the_limit_and_none_after() {
    let (quota, now) = (Quota::new(), at("2026-11-22T10:00:00Z"));
    let alice = caller(Limits { daily_tokens: Some(100), ..Limits::default() }, None);
    quota.record(alice.user_id, None, 99, 0, now);
    let in_flight = quota.admit(&alice, &REQUEST, moment(now)).expect("below the limit");
    quota.record(alice.user_id, None, 500, 0, now);
    drop(in_flight);
    let refusal = quota.admit(&alice, &REQUEST, moment(now)).expect_err("above");
    assert_eq!(refusal.limit, LimitKind::DailyTokens);
    assert!(refusal.message.contains("used 599 tokens of 100"), "{}", refusal.message);
    assert!(quota.admit(&alice, &REQUEST, moment(at("2026-11-23T00:00:00Z"))).is_ok(), "the day has turned");
}

#[test]
fn the_groups_limits_are_shared_by_its_members() {
    let (quota, now) = (Quota::new(), at("2026-11-22T10:00:00Z"));
    let limits = Limits { monthly_nanousd: Some(1_000), ..Limits::default() };
    let alice = caller(Limits::default(), Some(limits));
    let bob = Principal { user_id: UserId::new(), user: "bob".into(), ..alice.clone() };
    quota.record(alice.user_id, Some(group_of(&alice)), 1, 1_000, now);
    let refusal = quota.admit(&bob, &REQUEST, moment(now)).expect_err("the group has spent it");
    assert_eq!(refusal.subject, Subject::Group("research".to_owned()));
    assert!(refusal.is_final());
}

#[test]
fn a_refused_call_takes_nothing() {
    let (quota, now) = (Quota::new(), at("2026-11-22T10:00:00Z"));
    let user = Limits { rpm: Some(2), ..Limits::default() };
    let alice = caller(user, Some(Limits { concurrent: Some(1), ..Limits::default() }));
    let first = quota.admit(&alice, &REQUEST, moment(now)).expect("free");
    for _ in 0..10 {
        let refusal = quota.admit(&alice, &REQUEST, moment(now)).expect_err("one is in flight");
        assert_eq!(refusal.limit, LimitKind::Concurrent, "refusals must not use up the rate");
    }
    drop(first);
    drop(quota.admit(&alice, &REQUEST, moment(now)).expect("the second of two per minute"));
    let refusal = quota.admit(&alice, &REQUEST, moment(now)).expect_err("a third");
    assert_eq!(refusal.limit, LimitKind::Rpm);
    assert_eq!(refusal.retry_after, Duration::from_mins(1));
    assert_eq!(quota.inner.refused.0.get(LimitKind::Concurrent as usize), 10);
}

#[test]
fn a_refusal_is_counted_for_its_limit() {
    assert!(LimitKind::ALL.into_iter().enumerate().all(|(index, limit)| limit as usize == index));
}

#[test]
fn no_sixty_seconds_see_more_requests_than_the_limit() {
    let quota = Quota::new();
    let alice = caller(Limits { rpm: Some(5), ..Limits::default() }, None);
    let start = at("2026-11-22T10:00:57Z");
    let mut admitted = Vec::new();
    for step in 0..2_400_u64 {
        let now = start.plus(Duration::from_millis(step * 100));
        if quota.admit(&alice, &REQUEST, moment(now)).is_ok() {
            admitted.push(now);
        }
    }
    for from in &admitted {
        let until = from.plus(Duration::from_mins(1));
        assert!(admitted.iter().filter(|t| (*from..until).contains(*t)).count() <= 5);
    }
    assert_eq!(admitted.len(), 20, "and all that the limit allows");
}

#[test]
fn zero_is_nothing_and_models_and_max_tokens_are_checked_without_counting() {
    let (quota, now) = (Quota::new(), at("2026-11-22T10:00:00Z"));
    let limit =
        |limits| quota.admit(&caller(limits, None), &REQUEST, moment(now)).expect_err("refused").limit;
    let none = Limits::default;
    assert_eq!(limit(Limits { daily_tokens: Some(0), ..none() }), LimitKind::DailyTokens);
    assert_eq!(limit(Limits { monthly_tokens: Some(0), ..none() }), LimitKind::MonthlyTokens);
    assert_eq!(limit(Limits { monthly_nanousd: Some(0), ..none() }), LimitKind::MonthlyUsd);
    assert_eq!(limit(Limits { rpm: Some(0), ..none() }), LimitKind::Rpm);
    assert_eq!(limit(Limits { concurrent: Some(0), ..none() }), LimitKind::Concurrent);
    assert_eq!(limit(Limits { max_tokens: Some(999), ..none() }), LimitKind::MaxTokens);
    assert_eq!(limit(Limits { models: Some(vec!["gpt-*".to_owned()]), ..none() }), LimitKind::Model);
    assert_eq!(limit(Limits { models: Some(vec![]), ..none() }), LimitKind::Model);
    let globs = Some(vec!["gpt-*".to_owned(), "claude-*".to_owned()]);
    assert!(quota.admit(&caller(Limits { models: globs, ..none() }, None), &REQUEST, moment(now)).is_ok());
}

#[test]
fn a_limit_that_cannot_be_checked_refuses_and_who_has_none_is_not_asked() {
    let (quota, now) = (Quota::new(), at("2026-11-22T10:00:00Z"));
    let unclear = QuotaRequest {
        model_is_ambiguous: true,
        max_tokens_is_ambiguous: true,
        is_open_ended: true,
        ..REQUEST
    };
    let none = Limits::default;
    assert!(quota.admit(&caller(none(), Some(none())), &unclear, moment(now)).is_ok());
    let all = Limits { models: Some(vec!["*".to_owned()]), ..none() };
    for (limits, kind) in [
        (all, LimitKind::Model),
        (Limits { max_tokens: Some(9_999), ..none() }, LimitKind::MaxTokens),
        (Limits { daily_tokens: Some(9_999), ..none() }, LimitKind::MaxTokens),
        (Limits { monthly_nanousd: Some(9_999), ..none() }, LimitKind::MaxTokens),
    ] {
        for caller in [caller(limits.clone(), None), caller(none(), Some(limits.clone()))] {
            assert_eq!(
                quota.admit(&caller, &unclear, moment(now)).expect_err("refused").limit,
                kind,
                "{limits:?}"
            );
            assert!(quota.admit(&caller, &REQUEST, moment(now)).is_ok(), "{limits:?}");
        }
    }
}

#[test]
fn usage_of_other_nodes_counts_and_repeating_it_changes_nothing() {
    let (quota, now) = (Quota::new(), at("2026-11-22T10:00:00Z"));
    let alice = caller(Limits { daily_tokens: Some(100), ..Limits::default() }, None);
    let id = SubjectId::User(alice.user_id);
    let elsewhere = Used { daily_tokens: 60, monthly_tokens: 60, monthly_nanousd: 0 };
    quota.restore(id, Used { daily_tokens: 39, monthly_tokens: 200, monthly_nanousd: 7 }, now);
    quota.set_remote(id, elsewhere, now);
    quota.set_remote(id, elsewhere, now);
    assert_eq!(quota.used(id, now), Used { daily_tokens: 99, monthly_tokens: 260, monthly_nanousd: 7 });
    assert!(quota.admit(&alice, &REQUEST, moment(now)).is_ok());
    quota.set_remote(id, Used { daily_tokens: 61, ..elsewhere }, now);
    assert!(quota.admit(&alice, &REQUEST, moment(now)).is_err());
    let tomorrow = at("2026-11-23T00:00:00Z");
    assert_eq!(quota.used(id, tomorrow).daily_tokens, 0);
    assert_eq!(quota.used(id, at("2026-12-01T00:00:00Z")), Used::default());
}

#[test]
fn a_late_record_counts_in_the_windows_it_belongs_to_only() {
    let quota = Quota::new();
    let id = UserId::new();
    let used = |now: &str| quota.used(SubjectId::User(id), at(now));
    quota.record(id, None, 5, 50, at("2026-12-02T00:00:01Z"));
    quota.record(id, None, 7, 70, at("2026-12-01T23:59:59Z"));
    let expected = Used { daily_tokens: 5, monthly_tokens: 12, monthly_nanousd: 120 };
    assert_eq!(used("2026-12-02T00:00:02Z"), expected);
    quota.record(id, None, 1, 10, at("2027-01-01T00:00:01Z"));
    quota.record(id, None, 11, 110, at("2026-12-31T23:59:59Z"));
    let expected = Used { daily_tokens: 1, monthly_tokens: 1, monthly_nanousd: 10 };
    assert_eq!(used("2027-01-01T00:00:02Z"), expected);
}

/// The clock was ahead for one call: a day, a day of another month, a month.
#[test]
fn a_clock_that_was_ahead_for_a_moment_gives_no_quota_back() {
    for (now, ahead) in [
        ("2026-11-22T12:00:00Z", "2026-11-24T12:00:00Z"),
        ("2026-11-29T12:00:00Z", "2026-12-01T12:00:00Z"),
        ("2026-11-22T12:00:00Z", "2027-01-01T12:00:00Z"),
        ("2026-12-31T23:30:00Z", "2027-01-01T00:30:00Z"),
    ] {
        let quota = Quota::new();
        let limits = Limits { daily_tokens: Some(100), ..Limits::default() };
        let alice = caller(limits, None);
        let id = SubjectId::User(alice.user_id);
        quota.restore(id, Used { daily_tokens: 0, monthly_tokens: 50, monthly_nanousd: 500 }, at(now));
        quota.set_remote(id, Used { daily_tokens: 7, monthly_tokens: 70, monthly_nanousd: 700 }, at(now));
        quota.record(alice.user_id, None, 100, 1_000, at(now));
        assert!(quota.admit(&alice, &REQUEST, moment(at(now))).is_err(), "spent");
        drop(quota.admit(&alice, &REQUEST, moment(at(ahead))).expect("another day"));
        quota.record(alice.user_id, None, 3, 30, at(ahead));
        assert!(quota.admit(&alice, &REQUEST, moment(at(now))).is_err(), "{ahead} is still to come");
        let used = Used { daily_tokens: 110, monthly_tokens: 223, monthly_nanousd: 2_230 };
        assert_eq!(quota.used(id, at(now)), used, "{ahead}");
        quota.record(alice.user_id, None, 5, 50, at(now));
        assert_eq!(quota.used(id, at(now)).daily_tokens, 115, "what is used after that counts");
    }
}

/// The node was started while the clock was ahead, so nothing here knows what was used before.
#[test]
fn what_is_not_known_any_more_comes_from_the_ledger_and_what_it_does_not_know_yet_stays() {
    let (quota, now, ahead) = (Quota::new(), at("2026-11-22T12:00:00Z"), at("2026-11-24T12:00:00Z"));
    let user = UserId::new();
    let id = SubjectId::User(user);
    quota.record(user, None, 3, 30, ahead);
    assert_eq!(quota.used(id, now).daily_tokens, 3, "used in a day to come: it counts today");
    quota.restore(id, Used { daily_tokens: 103, monthly_tokens: 203, monthly_nanousd: 2_030 }, now);
    quota.record(user, None, 4, 40, now);
    quota.restore(id, Used { daily_tokens: 103, monthly_tokens: 203, monthly_nanousd: 2_030 }, now);
    assert_eq!(quota.used(id, now), Used { daily_tokens: 107, monthly_tokens: 207, monthly_nanousd: 2_070 });
}

#[test]
fn a_rate_goes_by_the_steady_clock() {
    let quota = Quota::new();
    let alice = caller(Limits { rpm: Some(2), ..Limits::default() }, None);
    let (steady, now) = (Instant::now(), at("2026-11-22T12:00:00Z"));
    let hour = Duration::from_hours(1);
    let admit = |at, later: u64| {
        quota.admit(&alice, &REQUEST, Moment { at, steady: steady + Duration::from_secs(later) }).map(drop)
    };
    assert!(admit(now.plus(hour), 0).is_ok() && admit(now.plus(hour), 1).is_ok());
    for at in [now, now.plus(hour), now.plus(hour * 3)] {
        let refusal = admit(at, 2).expect_err("two in the last minute");
        assert_eq!(
            (refusal.retry_after.as_secs(), refusal.resets_at),
            (58, Some(at.plus(refusal.retry_after)))
        );
    }
    assert!(admit(now, 60).is_ok(), "an hour earlier on the calendar, a minute later");
    assert!(admit(now, 60).is_err());
}

#[test]
fn who_is_removed_is_forgotten_and_nobody_else() {
    let (quota, now) = (Quota::new(), at("2026-11-22T10:00:00Z"));
    let (kept, gone, group) = (UserId::new(), UserId::new(), GroupId::new());
    quota.record(kept, None, 1, 1, now);
    quota.record(gone, Some(group), 1, 1, now);
    assert_eq!(quota.subjects(), 3);
    quota.retain(|subject| subject == SubjectId::User(kept));
    assert_eq!((quota.subjects(), quota.used(SubjectId::User(kept), now).daily_tokens), (1, 1));
}

#[test]
fn a_nodes_share_of_a_rate_is_never_less_than_one_request() {
    let (quota, now) = (Quota::new(), at("2026-11-22T10:00:00Z"));
    quota.set_node_share(50, 150);
    let admitted = |rpm| {
        let alice = caller(Limits { rpm: Some(rpm), ..Limits::default() }, None);
        (0..100).filter(|_| quota.admit(&alice, &REQUEST, moment(now)).is_ok()).count()
    };
    assert_eq!((admitted(0), admitted(1), admitted(30)), (0, 1, 10));
}

#[test]
fn many_threads_never_pass_a_limit_together() {
    let (quota, now) = (Quota::new(), at("2026-11-22T10:00:00Z"));
    let alice = caller(Limits { concurrent: Some(7), ..Limits::default() }, Some(Limits::default()));
    let held: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..50)
                        .filter_map(|_| quota.admit(&alice, &REQUEST, moment(now)).ok())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let held: Vec<_> = workers.into_iter().map(|w| w.join().expect("no panic")).collect();
        held.iter().map(Vec::len).sum()
    });
    assert_eq!(held, 7);
    assert_eq!(quota.status(SubjectId::User(alice.user_id), &alice.allowance, moment(now)).in_flight, 0);
}
