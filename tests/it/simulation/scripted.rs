//! Histories that are told step by step. A seed that failed once plays another history as soon as anything is added to what
//! can happen; what it had found is told here, and played with many dice.

use std::time::Duration;

use super::plan::{Event, Plan};
use super::play;
use super::scheduler::Happened;

/// With how many dice each is played.
const DICE: u64 = 60;
/// Where what is meant needs a call that comes late, in a registration that lasts.
const MANY_DICE: u64 = 300;

/// Seconds that pass after an event. What was meant has to happen with some of the dice at least.
fn tell(followers: usize, steps: &[(u64, Event)], meant: &[&str]) {
    tell_with(DICE, followers, steps, meant);
}

fn tell_with(dice: u64, followers: usize, steps: &[(u64, Event)], meant: &[&str]) {
    let steps = steps.iter().map(|(pause, event)| (Duration::from_secs(*pause), *event)).collect();
    let plan = Plan { followers, steps };
    let mut happened = Happened::new();
    for seed in 0..dice {
        println!("with the dice of seed {seed}");
        for (kind, count) in play(seed, &plan, false).happened {
            *happened.entry(kind).or_default() += count;
        }
    }
    let missing: Vec<_> = meant.iter().filter(|kind| !happened.contains_key(*kind)).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

/// Nothing but the time.
const WAIT: Event = Event::MendAll;

#[test]
fn a_leader_that_ran_empty_and_has_its_backup_back_knows_what_it_had_removed() {
    let steps = [
        (70, WAIT),
        (1, Event::LeaderRetention),
        (5, Event::Backup),
        (15, Event::LoseLeadersDisk),
        (15, Event::Restore),
    ];
    let meant = [
        "the leader's retention removed logs",
        "pushed below the floor",
        "known to be counted below the floor",
    ];
    tell(3, &steps, &meant);
}

/// What is old when it is pushed goes with the next sweep, and a copy of the push may be on its way still.
#[test]
fn a_late_copy_of_a_push_finds_that_its_rows_have_gone() {
    let mut steps = vec![(60, WAIT), (2, Event::LoseLeadersDisk)];
    steps.extend([(3, Event::LeaderRetention); 10]);
    tell_with(MANY_DICE, 3, &steps, &["a call late", "pushed below the floor"]);
}

/// Its disk has lost what the leader acknowledged, and the leader has believed its word that nothing is owed.
#[test]
fn a_follower_loses_power_after_the_heartbeat_that_let_its_rows_go() {
    let mut steps = vec![(10, WAIT), (60, Event::Cut(0)), (6, Event::Mend(0))];
    for _ in 0..3 {
        steps.extend([
            (0, Event::LeaderRetention),
            (1, Event::FollowerLosesPower(0, 5)),
            (6, Event::StartFollower(0)),
        ]);
    }
    tell(1, &steps, &["a follower lost power", "pushed below the floor", "a record set aside"]);
}

/// Its records are of a time of which it has said that it owes nothing, and of which the rows have gone.
#[test]
fn a_followers_clock_is_set_back_behind_what_retention_has_removed() {
    let steps = [
        (70, WAIT),
        (1, Event::LeaderRetention),
        (20, Event::SetClock(Some(0), -3_600)),
        (20, Event::KillLeader),
    ];
    tell(
        2,
        &steps,
        &["a record after the clock was set back", "pushed below the floor", "a record set aside"],
    );
}

/// The leader has its backup back, which knows of nothing that was removed: it can tell now, and takes what it had refused.
#[test]
fn what_was_set_aside_is_offered_to_a_leader_that_has_forgotten_what_it_removed() {
    let steps = [
        (70, WAIT),
        (1, Event::Backup),
        (1, Event::LeaderRetention),
        (20, Event::SetClock(Some(0), -3_600)),
        (20, Event::Restore),
    ];
    let meant = ["a backup restored", "pushed below the floor", "a record taken that had been set aside"];
    tell(2, &steps, &meant);
}

/// A peer that is forgotten holds no row back, whatever it still owes.
#[test]
fn a_peer_comes_back_after_it_was_forgotten_and_its_rows_have_gone() {
    let steps = [
        (60, WAIT),
        (20, Event::KillFollower(0)),
        (1, Event::Forget(0)),
        (1, Event::LeaderRetention),
        (20, Event::StartFollower(0)),
    ];
    tell(2, &steps, &["a peer forgotten", "the leader's retention removed logs"]);
}

/// It has lost its disk, an admin was faster than its followers, and then its clock jumps.
#[test]
fn a_clock_that_jumps_costs_no_users_while_an_empty_leader_waits() {
    let steps = [
        (10, WAIT),
        (1, Event::CutAll),
        (1, Event::LoseLeadersDisk),
        (1, Event::Administer),
        (10, Event::SetClock(None, 2 * 86_400)),
        (20, Event::MendAll),
    ];
    tell(2, &steps, &["the leader's clock set ahead", "users changed", "a state adopted"]);
}

/// Seeds 3768 and 4739. A leader that has lost its disk waits for its followers, and one of them hears of it before another
/// gives it the users. It loses its disk as well, and its successor begins with what the first of the two had heard.
#[test]
fn a_leader_that_began_with_less_is_given_what_another_follower_knows() {
    let steps = [
        (10, Event::KillFollower(1)),
        (1, Event::KillFollower(0)),
        (1, Event::LoseLeadersDisk),
        (1, Event::Administer),
        (10, Event::StartFollower(1)),
        (1, Event::KillFollower(1)),
        (12, Event::StartFollower(0)),
        (1, Event::KillFollower(0)),
        (1, Event::LoseLeadersDisk),
        (1, Event::Administer),
        (10, Event::StartFollower(1)),
        (5, Event::Administer),
        (20, Event::StartFollower(0)),
    ];
    tell(2, &steps, &["users changed", "a state adopted", "a state completed"]);
}

/// What an admin did on a leader that ran empty for a while is known to its followers, and to no backup.
#[test]
fn a_leader_that_has_its_backup_back_is_given_what_was_changed_without_it() {
    let steps = [
        (10, WAIT),
        (1, Event::Administer),
        (5, Event::Administer),
        (1, Event::Backup),
        (15, Event::LoseLeadersDisk),
        (3, Event::Administer),
        (3, Event::Administer),
        (10, Event::Administer),
        (5, Event::Restore),
        (15, Event::Administer),
    ];
    tell(2, &steps, &["a backup of a lost disk restored", "a state completed"]);
}

/// Seeds 219, 386, 725, 756, 765, 2728 and 2784, as they were when they failed: a nameless registration that arrives after
/// the node has its name, and runs anew, made a second peer that nobody is.
#[test]
fn a_late_registration_without_a_name_makes_no_peer() {
    let steps = [
        (1, WAIT),
        (1, Event::KillFollower(0)),
        (1, Event::StartFollower(0)),
        (3, Event::KillFollower(0)),
        (10, Event::StartFollower(0)),
        (40, Event::KillFollower(1)),
    ];
    tell(3, &steps, &["a nameless registration", "a call late", "a follower killed"]);
}

/// Seeds 56 and 273. What is acknowledged to a peer that has come back is not in the copy, nor that it has come back.
#[test]
fn a_leader_with_a_backup_does_not_trust_the_farewells_in_it() {
    let steps = [
        (15, WAIT),
        (8, Event::StopFollower(0)),
        (1, Event::Backup),
        (12, Event::StartFollower(0)),
        (1, Event::Cut(0)),
        (8, Event::Restore),
        (1, Event::KillLeader),
        (10, Event::StartLeader),
    ];
    tell(2, &steps, &["a follower left", "a backup restored"]);
}

#[test]
fn a_leader_does_not_forget_with_its_power_that_a_peer_has_come_back() {
    let mut steps = vec![(15, WAIT)];
    for _ in 0..10 {
        steps.extend([
            (6, Event::StopFollower(0)),
            (3, Event::StartFollower(0)),
            (0, Event::LeaderLosesPower(4)),
            (5, WAIT),
        ]);
    }
    tell(1, &steps, &["a follower left", "the leader lost power"]);
}
