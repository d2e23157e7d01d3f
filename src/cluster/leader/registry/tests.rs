//! What the registry promises, as sentences.

use super::*;

const HEARTBEAT: Duration = Duration::from_secs(5);

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
}

fn id(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

fn registry() -> Registry {
    Registry::new(id("sp-1"), HEARTBEAT, Vec::new(), at(0))
}

/// A sweep that nothing comes in between: what it found, as it is kept then.
fn sweep(registry: &mut Registry, now: Timestamp) -> Vec<Peer> {
    let (written, silent) = (registry.statuses(), registry.silent(now));
    let is_silent = |row: &Peer| silent.iter().any(|peer| peer.id == row.id);
    let mut rows = registry.kept();
    rows.iter_mut().filter(|row| is_silent(row)).for_each(|row| row.is_active = false);
    registry.refresh_all(rows.clone(), &written, now);
    rows.into_iter().filter(is_silent).collect()
}

fn node(id: &str, instance: InstanceId) -> Registration {
    Registration {
        node_id: id.parse().expect("a node id"),
        instance,
        former: Vec::new(),
        former_names: Vec::new(),
        led_ledger: None,
        addr: format!("http://{id}:9000"),
        weight: 50,
        version: "1.0.0".to_owned(),
        leads_at: None,
    }
}

#[test]
fn a_name_that_is_given_is_above_all_that_are_known() {
    let mut registry = registry();
    assert_eq!(registry.highest_number(), 1, "the leader's own");
    for name in ["sp-3", "sp-", "sp-x", "berlin", "sp-99999999999999", "sp-99999999999999999999999"] {
        registry.register(node(name, InstanceId::new()), at(0)).expect("free");
    }
    assert_eq!(registry.highest_number(), 3);
    assert!(registry.knows(&id("sp-1")) && registry.knows(&id("sp-3")) && !registry.knows(&id("sp-2")));
    let leader = Registry::new(id("sp-8"), HEARTBEAT, registry.kept(), at(0));
    assert_eq!(leader.highest_number(), 8);
    let unlike = Registry::new(id("berlin"), HEARTBEAT, Vec::new(), at(0));
    assert_eq!(unlike.highest_number(), 1);
}

#[test]
fn a_clock_that_was_ahead_keeps_no_dead_peer_alive() {
    let day = 86_400;
    let mut registry = Registry::new(id("sp-1"), HEARTBEAT, Vec::new(), at(day));
    let instance = InstanceId::new();
    registry.register(node("sp-2", instance), at(day)).expect("it has its id");
    registry.register(node("sp-3", InstanceId::new()), at(0)).expect("it has its id");
    assert!(sweep(&mut registry, at(1)).is_empty(), "heard of a moment ago");
    let silent: Vec<NodeId> = sweep(&mut registry, at(20)).into_iter().map(|peer| peer.id).collect();
    assert_eq!(silent, [id("sp-2"), id("sp-3")]);
}

#[test]
fn a_second_living_process_under_one_id_is_refused_with_the_address_of_the_other() {
    let mut registry = registry();
    let first = InstanceId::new();
    registry.register(node("sp-2", first), at(0)).expect("free");
    let second = node("sp-2", InstanceId::new());
    let refused = registry.register(second.clone(), at(14)).expect_err("taken");
    assert_eq!(refused, Error::Taken { id: id("sp-2"), addr: "http://sp-2:9000".to_owned() });
    registry.heartbeat(&id("sp-2"), first, HeartbeatReport::default(), at(14)).expect("alive");
    assert!(sweep(&mut registry, at(29)).is_empty());
    assert!(registry.register(second.clone(), at(29)).is_err(), "the first was heard of 15 seconds ago");
    assert_eq!(sweep(&mut registry, at(30)).len(), 1);
    registry.register(second, at(30)).expect("free again");
    let lost =
        registry.heartbeat(&id("sp-2"), first, HeartbeatReport::default(), at(31)).expect_err("superseded");
    assert_eq!(lost, Error::Unknown(id("sp-2")));
}

#[test]
fn a_node_that_was_killed_takes_its_own_place_over_as_soon_as_its_line_has_broken() {
    let mut registry = registry();
    let first = InstanceId::new();
    registry.register(node("sp-2", first), at(0)).expect("free");
    registry.watch_opened(&id("sp-2"), first, at(0)).expect("known");
    registry.drain(&id("sp-2"), true).expect("known");
    let restarted = after(&[first]);
    assert_eq!(registry.register(restarted.clone(), at(1)), Err(lives()), "nobody has noticed");
    registry.watch_closed(&id("sp-2"), first);
    let peer = registry.register(restarted, at(1)).expect("its own place");
    assert!(peer.is_active && peer.draining, "what an admin said outlives a restart");
    assert_eq!(peer.registered_at, at(0));
}

fn after(former: &[InstanceId]) -> Registration {
    Registration { former: former.to_vec(), ..node("sp-2", InstanceId::new()) }
}

fn lives() -> Error {
    Error::Lives { id: id("sp-2"), addr: "http://sp-2:9000".to_owned() }
}

#[test]
fn a_successor_waits_until_the_run_before_it_is_not_heard_of_any_more() {
    /// What happens to the run that has the place.
    enum Event {
        Beats(i64),
        Opens(i64),
        Closes,
        LeaderRestarts(i64),
    }
    use Event::{Beats, Closes, LeaderRestarts, Opens};
    let cases: [(&str, &[Event], i64, bool); 11] = [
        ("registered a moment ago", &[], 5, false),
        ("registered, and never watched", &[], 6, true),
        ("it beats", &[Opens(1), Beats(5), Beats(10)], 20, false),
        ("it has stopped beating", &[Opens(1), Beats(5), Beats(10)], 21, true),
        ("its watch is open, but it is silent", &[Opens(1)], 12, true),
        ("it beats, and has not watched yet", &[Beats(10)], 15, false),
        ("its watch broke", &[Opens(1), Closes], 2, true),
        ("one of two watches broke", &[Opens(1), Opens(1), Closes], 2, false),
        ("it watches again", &[Opens(1), Closes, Opens(2)], 3, false),
        ("nobody was heard of by a leader that has just started", &[LeaderRestarts(100)], 105, false),
        ("nor a while later", &[LeaderRestarts(100)], 106, true),
    ];
    for (case, events, asks_at, may) in cases {
        let (mut registry, first) = (registry(), InstanceId::new());
        registry.register(node("sp-2", first), at(0)).expect("free");
        for event in events {
            match event {
                Beats(second) => {
                    registry
                        .heartbeat(&id("sp-2"), first, HeartbeatReport::default(), at(*second))
                        .expect("known");
                }
                Opens(second) => registry.watch_opened(&id("sp-2"), first, at(*second)).expect("known"),
                Closes => registry.watch_closed(&id("sp-2"), first),
                LeaderRestarts(second) => {
                    registry = Registry::new(id("sp-1"), HEARTBEAT, registry.kept(), at(*second));
                }
            }
        }
        let answer = registry.register(after(&[first]), at(asks_at));
        assert_eq!(answer.is_ok(), may, "{case}: {answer:?}");
    }
}

#[test]
fn a_copy_that_was_seen_beside_the_living_one_does_not_slip_in_when_a_line_breaks() {
    let (mut registry, first) = (registry(), InstanceId::new());
    registry.register(node("sp-2", first), at(0)).expect("free");
    registry.watch_opened(&id("sp-2"), first, at(0)).expect("known");
    let copy = after(&[first]);
    assert_eq!(registry.register(copy.clone(), at(1)), Err(lives()));
    registry.heartbeat(&id("sp-2"), first, HeartbeatReport::default(), at(5)).expect("known");
    registry.heartbeat(&id("sp-2"), first, HeartbeatReport::default(), at(10)).expect("known");
    registry.watch_closed(&id("sp-2"), first);
    assert_eq!(registry.register(copy.clone(), at(11)), Err(lives()), "they were both alive");
    registry.register(node("sp-2", first), at(12)).expect("it registers again");
    registry.watch_closed(&id("sp-2"), first);
    assert_eq!(registry.register(copy.clone(), at(13)), Err(lives()));
    assert_eq!(sweep(&mut registry, at(60)).len(), 1);
    registry.register(copy, at(60)).expect("the other one is gone for good");
    let displaced = registry.register(node("sp-2", first), at(61)).expect_err("its place is taken");
    assert!(matches!(displaced, Error::Taken { .. }), "{displaced}");
}

#[test]
fn a_node_speaks_for_the_names_it_had_and_for_no_other_node_that_lives() {
    let (mut registry, old) = (registry(), InstanceId::new());
    registry.register(node("sp-2", old), at(0)).expect("free");
    registry.register(node("sp-3", InstanceId::new()), at(0)).expect("free");
    let names = ["sp-1", "sp-2", "sp-3", "sp-8"];
    let renamed = Registration {
        former: vec![old],
        former_names: names.map(id).to_vec(),
        ..node("sp-4", InstanceId::new())
    };
    registry.register(renamed, at(1)).expect("free");
    let owns = |registry: &Registry| -> Vec<&str> {
        let all = ["sp-1", "sp-2", "sp-3", "sp-4", "sp-8", "sp-9"];
        all.into_iter().filter(|name| registry.owns_name(&id("sp-4"), &id(name))).collect()
    };
    assert_eq!(
        owns(&registry),
        ["sp-2", "sp-4", "sp-8"],
        "not the leader, not one that lives, none that it did not have"
    );
    sweep(&mut registry, at(60));
    assert_eq!(owns(&registry), ["sp-2", "sp-3", "sp-4", "sp-8"]);
    assert!(!registry.owns_name(&id("sp-9"), &id("sp-2")), "nobody knows it");
}

#[test]
fn leaving_is_at_once_and_a_late_heartbeat_does_not_undo_it() {
    let mut registry = registry();
    let run = InstanceId::new();
    registry.register(node("sp-2", run), at(0)).expect("free");
    assert!(!registry.leave(&id("sp-2"), run, Some(0), at(1)).expect("known").is_active);
    assert!(registry.heartbeat(&id("sp-2"), run, HeartbeatReport::default(), at(1)).is_err());
    assert!(registry.register(node("sp-2", InstanceId::new()), at(2)).is_ok());
    assert!(
        registry.leave(&id("sp-2"), run, Some(0), at(3)).is_err(),
        "a Leave of an earlier run takes nobody down"
    );
}

#[test]
fn three_missed_heartbeats_make_a_peer_inactive_and_the_next_one_brings_it_back() {
    let mut registry = registry();
    let run = InstanceId::new();
    registry.register(node("sp-2", run), at(0)).expect("free");
    assert!(sweep(&mut registry, at(15)).is_empty());
    assert!(!sweep(&mut registry, at(16))[0].is_active);
    assert!(sweep(&mut registry, at(17)).is_empty(), "told once");
    assert!(
        registry.heartbeat(&id("sp-2"), run, HeartbeatReport::default(), at(18)).expect("known").is_active
    );
}

#[test]
fn a_restarted_leader_gives_peers_time_to_be_heard_of() {
    let mut before = registry();
    let run = InstanceId::new();
    before.register(node("sp-2", run), at(0)).expect("free");
    let mut after = Registry::new(id("sp-1"), HEARTBEAT, before.kept(), at(1_000));
    assert!(sweep(&mut after, at(1_015)).is_empty());
    assert!(
        after.heartbeat(&id("sp-2"), run, HeartbeatReport::default(), at(1_015)).is_ok(),
        "no need to register again"
    );
    assert_eq!(sweep(&mut after, at(1_031)).len(), 1);
}

#[test]
fn heartbeats_do_not_undo_a_drain_and_a_node_may_drain_itself() {
    let mut registry = registry();
    let run = InstanceId::new();
    registry.register(node("sp-2", run), at(0)).expect("free");
    registry.drain(&id("sp-2"), true).expect("known");
    let report = HeartbeatReport::default();
    assert!(registry.heartbeat(&id("sp-2"), run, report, at(1)).expect("known").draining);
    registry.drain(&id("sp-2"), false).expect("known");
    let going = registry
        .heartbeat(&id("sp-2"), run, HeartbeatReport { draining: true, ..report }, at(2))
        .expect("known");
    assert!(!going.draining, "the admin did not say so");
    assert!(registry.peers()[0].draining, "but people see that it drains");
}

#[test]
fn totals_are_complete_as_far_as_the_peer_that_is_furthest_behind() {
    let mut registry = registry();
    assert_eq!(registry.complete_through(Some(at(9))), Some(at(9)));
    assert_eq!(registry.complete_through(None), None);
    let (second, third) = (InstanceId::new(), InstanceId::new());
    registry.register(node("sp-2", second), at(0)).expect("free");
    assert_eq!(registry.complete_through(Some(at(9))), None, "sp-2 has said nothing yet");
    registry.register(node("sp-3", third), at(0)).expect("free");
    for (name, run, through) in [("sp-2", second, 5), ("sp-3", third, 7)] {
        let report = HeartbeatReport { synced_through: Some(at(through)), ..HeartbeatReport::default() };
        registry.heartbeat(&id(name), run, report, at(8)).expect("known");
    }
    assert_eq!(registry.complete_through(Some(at(9))), Some(at(5)));
    registry.leave(&id("sp-2"), second, Some(0), at(8)).expect("known");
    assert_eq!(registry.complete_through(Some(at(9))), Some(at(7)), "it has left with nothing owed");
    assert!(registry.incomplete(at(9)).is_empty());
}

#[test]
fn a_farewell_that_is_doubted_holds_totals_back_until_the_peer_is_heard_of() {
    let mut before = registry();
    let run = InstanceId::new();
    before.register(node("sp-2", run), at(0)).expect("free");
    before
        .heartbeat(
            &id("sp-2"),
            run,
            HeartbeatReport { synced_through: Some(at(5)), ..HeartbeatReport::default() },
            at(6),
        )
        .expect("known");
    before.leave(&id("sp-2"), run, Some(0), at(7)).expect("known");
    let mut kept = before.kept();
    kept.iter_mut().for_each(Peer::distrust_departure);
    let mut registry = Registry::new(id("sp-1"), HEARTBEAT, kept, at(60));
    assert_eq!(registry.complete_through(Some(at(60))), Some(at(5)));
    assert_eq!(registry.incomplete(at(60)), [Incomplete { node: id("sp-2"), since: at(5), unsynced: 0 }]);
    let next = InstanceId::new();
    registry.register(node("sp-2", next), at(61)).expect("nobody has its place");
    registry
        .heartbeat(
            &id("sp-2"),
            next,
            HeartbeatReport { synced_through: Some(at(61)), ..HeartbeatReport::default() },
            at(62),
        )
        .expect("known");
    assert_eq!(registry.complete_through(Some(at(62))), Some(at(61)));
}

#[test]
fn a_peer_that_is_gone_with_debts_holds_totals_back_until_it_is_forgotten() {
    let mut registry = registry();
    let (second, third) = (InstanceId::new(), InstanceId::new());
    for (name, run, unsynced) in [("sp-2", second, 12), ("sp-3", third, 0)] {
        registry.register(node(name, run), at(0)).expect("free");
        let report = HeartbeatReport { synced_through: Some(at(5)), unsynced, ..HeartbeatReport::default() };
        registry.heartbeat(&id(name), run, report, at(6)).expect("known");
    }
    assert_eq!(sweep(&mut registry, at(60)).len(), 2, "both are silent");
    assert_eq!(registry.complete_through(Some(at(60))), Some(at(5)));
    let held_by = |name: &str, unsynced| Incomplete { node: id(name), since: at(5), unsynced };
    assert_eq!(
        registry.incomplete(at(60)),
        [held_by("sp-2", 12), held_by("sp-3", 0)],
        "who knows what it served"
    );
    registry.leave(&id("sp-3"), third, Some(0), at(61)).expect("known");
    assert_eq!(registry.incomplete(at(61)), [held_by("sp-2", 12)]);
    registry
        .heartbeat(
            &id("sp-2"),
            second,
            HeartbeatReport { synced_through: Some(at(61)), ..HeartbeatReport::default() },
            at(62),
        )
        .expect("back");
    assert_eq!(registry.complete_through(Some(at(62))), Some(at(61)), "it has caught up");
    registry.leave(&id("sp-2"), second, Some(3), at(63)).expect("known");
    assert_eq!(registry.complete_through(Some(at(99))), Some(at(61)), "it has left owing something");
    registry.forget(&id("sp-2"));
    assert_eq!(registry.complete_through(Some(at(99))), Some(at(99)));
    registry.register(node("sp-4", third), at(99)).expect("free");
    registry
        .heartbeat(
            &id("sp-4"),
            third,
            HeartbeatReport { synced_through: Some(at(99)), ..HeartbeatReport::default() },
            at(99),
        )
        .expect("known");
    registry.leave(&id("sp-4"), third, None, at(100)).expect("known");
    assert_eq!(
        registry.complete_through(Some(at(200))),
        Some(at(99)),
        "it has left without a word that counts"
    );
    assert_eq!(sweep(&mut registry, at(200)), [], "and is not there");
}

#[test]
fn a_peer_whose_clock_is_ahead_does_not_make_totals_look_complete_that_are_not() {
    let mut registry = registry();
    let instance = InstanceId::new();
    registry.register(node("sp-2", instance), at(0)).unwrap();
    let mut owes_nothing = |through, now| {
        let report = HeartbeatReport { synced_through: Some(at(through)), ..HeartbeatReport::default() };
        registry.heartbeat(&id("sp-2"), instance, report, at(now)).unwrap();
        registry.complete_through(Some(at(now)))
    };
    assert_eq!(owes_nothing(3_600, 10), Some(at(10)));
    assert_eq!(owes_nothing(15, 20), Some(at(15)), "its clock was set right");
}

#[test]
fn only_what_does_not_live_can_be_forgotten_and_nobody_can_be_the_leader() {
    let mut registry = registry();
    let run = InstanceId::new();
    registry.register(node("sp-2", run), at(0)).expect("free");
    assert_eq!(registry.may_forget(&id("sp-2")), Err(Error::Active(id("sp-2"))));
    registry.leave(&id("sp-2"), run, Some(0), at(1)).expect("known");
    registry.may_forget(&id("sp-2")).expect("gone");
    registry.forget(&id("sp-2"));
    assert_eq!(registry.may_forget(&id("sp-2")), Err(Error::NoSuchPeer(id("sp-2"))));
    assert_eq!(
        registry.register(node("sp-1", InstanceId::new()), at(2)).expect_err("leader"),
        Error::Leader(id("sp-1"))
    );
}
