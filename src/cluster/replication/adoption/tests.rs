//! Which states are taken, how, and what is then held.

use super::*;
use crate::cluster::replication::state::Ancestor;
use crate::domain::group::{Group, Limits};
use crate::domain::ids::{GroupId, Jti, KeyId, UserId};
use crate::domain::user::Role;

fn ancestors(lineage: &[(LedgerId, u64)]) -> Vec<Ancestor> {
    let ancestor =
        |(ledger, version): &(LedgerId, u64)| Ancestor { ledger: *ledger, version: Some(*version) };
    lineage.iter().map(ancestor).collect()
}

/// A leader that holds `version`, goes back to `lineage`, and took the last of that last.
fn standing(version: u64, pristine_version: u64, lineage: &[(LedgerId, u64)]) -> Provenance {
    let pristine = lineage.is_empty() && version == pristine_version;
    let origin = StateVersion { ledger: LedgerId::new(), version, lineage: ancestors(lineage), pristine };
    Provenance { origin, pristine_version, adopted: lineage.last().copied() }
}

fn offer(ledger: LedgerId, version: u64, lineage: &[(LedgerId, u64)]) -> StateVersion {
    StateVersion { ledger, version, lineage: ancestors(lineage), pristine: false }
}

/// An age at which a leader takes no stranger's state any more.
const OLD: Duration = YOUNG_FOR;

#[test]
fn only_a_leader_without_a_past_takes_what_a_stranger_offers() {
    let lost = offer(LedgerId::new(), 7, &[]);
    let fresh = standing(1, 1, &[]);
    let now = Duration::ZERO;
    assert_eq!(fresh.adopts(&lost, OLD), Some(Adoption::Replace));
    assert_eq!(
        fresh.adopts(&StateVersion { pristine: true, ..lost.clone() }, now),
        None,
        "the follower has nothing"
    );
    assert_eq!(fresh.adopts(&offer(fresh.origin.ledger, 7, &[]), now), None, "its own");
    let worked_on = standing(2, 1, &[]);
    assert_eq!(worked_on.adopts(&lost, now), Some(Adoption::Merge), "an admin was faster");
    assert_eq!(worked_on.adopts(&lost, OLD), None, "an established cluster takes no stranger's users");
}

/// Whose state of which version is offered and what that goes back to; how it is taken by a copy that nobody has worked on,
/// and by one that somebody has.
type Row<'r> = (LedgerId, u64, &'r [(LedgerId, u64)], Option<Adoption>, Option<Adoption>);

/// However old the leader is: a follower that is asked for nothing could take nothing over without losing something.
#[test]
fn what_went_into_a_leaders_own_is_not_taken_again_and_all_else_of_its_family_is() {
    use Adoption::{Complete, Replace};
    let [lost, before, child, foreign] = [(); 4].map(|()| LedgerId::new());
    let copy = standing(8, 8, &[(before, 3), (lost, 7)]);
    let worked_on = Provenance { origin: StateVersion { version: 9, ..copy.origin.clone() }, ..copy.clone() };
    let own = copy.origin.ledger;
    #[rustfmt::skip]
    let table: &[Row<'_>] = &[
        (lost,    7,  &[(before, 3)],  None,           None),           // what was taken
        (lost,    6,  &[(before, 3)],  None,           None),           // earlier
        (lost,    9,  &[(before, 3)],  Some(Replace),  Some(Complete)), // the end of it
        (before,  3,  &[],             None,           None),           // what had gone into that
        (before,  4,  &[],             Some(Complete), Some(Complete)), // and what had not
        (child,   12, &[(lost, 7)],    Some(Replace),  Some(Complete)), // a successor
        (child,   12, &[(lost, 6)],    Some(Complete), Some(Complete)), // one that began with less
        (child,   12, &[(own, 8)],     Some(Complete), Some(Complete)), // this one's own
        (child,   12, &[(before, 1)],  Some(Complete), Some(Complete)), // a cousin
        (foreign, 12, &[(child, 9)],   None,           None),           // a stranger
    ];
    for (ledger, version, lineage, by_copy, by_worked_on) in table {
        let offered = offer(*ledger, *version, lineage);
        assert_eq!(copy.adopts(&offered, OLD), *by_copy, "{offered:?}");
        assert_eq!(worked_on.adopts(&offered, OLD), *by_worked_on, "{offered:?}");
    }
}

/// Whatever a leader takes or not: a follower that takes its state over has lost nothing, or does not take it over.
#[test]
fn a_follower_becomes_what_its_state_went_into_and_nothing_else() {
    let [lost, other] = [(); 2].map(|()| LedgerId::new());
    let leader = standing(8, 0, &[(lost, 7)]);
    for held in [offer(lost, 7, &[]), offer(lost, 9, &[]), offer(other, 3, &[(lost, 7)])] {
        let taken = leader.adopts(&held, OLD);
        assert_eq!(held.may_become(&leader.origin), taken.is_none() && held.ledger == lost, "{held:?}");
        let after =
            StateVersion { version: 20, lineage: leader.origin.lineage_with(&held), ..leader.origin.clone() };
        assert!(held.may_become(&after), "{held:?}");
    }
}

/// As noted by a version of sproxy that did not know how far a state went back.
#[test]
fn an_ancestor_without_a_version_stands_for_any() {
    let lost = LedgerId::new();
    let mut leader = standing(8, 0, &[(lost, 7)]);
    leader.origin.lineage[0].version = None;
    assert_eq!(leader.adopts(&offer(lost, 9, &[]), OLD), None);
    assert!(offer(lost, 9, &[]).may_become(&leader.origin));
}

#[test]
fn a_clock_that_is_set_makes_a_ledger_neither_old_nor_young() {
    let ledger = LedgerId::new();
    let start = created_at(ledger);
    let look = Duration::from_secs(15);
    let mut age = Age::of(ledger, start.plus(look));
    let ahead = start.plus(Duration::from_hours(48));
    assert_eq!(age.update(ahead, look), 2 * look, "it went no further than it can have");
    assert_eq!(age.update(start, look), 2 * look, "nor back");
    assert_eq!(age.update(start.plus(Duration::from_secs(5)), look), 2 * look + Duration::from_secs(5));
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn group(name: &str) -> Group {
    let (name, limits) = (name.to_owned(), Limits::default());
    Group { id: GroupId::new(), name, limits, created_at: at(1), updated_at: at(1) }
}

fn user(name: &str, group: &Group) -> User {
    User {
        id: UserId::new(),
        name: name.to_owned(),
        group_id: Some(group.id),
        role: Role::User,
        manages: BTreeSet::new(),
        active: true,
        password_hash: None,
        limits: Limits::default(),
        tokens_valid_from: at(1),
        created_at: at(1),
        updated_at: at(1),
        last_login_at: None,
        identity: None,
        external_id: None,
    }
}

fn key(user: &User) -> ApiKey {
    let id = KeyId::new();
    ApiKey {
        id,
        user_id: user.id,
        name: id.to_string(),
        prefix: String::new(),
        digest: [0; 32],
        created_at: at(1),
        last_used_at: None,
        expires_at: None,
    }
}

fn state(groups: &[&Group], users: &[&User], keys: &[&ApiKey]) -> State {
    State {
        groups: groups.iter().map(|group| (group.id, (*group).clone())).collect(),
        users: users.iter().map(|user| (user.id, (*user).clone())).collect(),
        keys: keys.iter().map(|key| (key.id, (*key).clone())).collect(),
        ..State::default()
    }
}

#[test]
fn a_state_in_place_of_ones_own_is_all_there_is() {
    let (theirs, ours) = (group("research"), group("new"));
    let offered = State { token_keys: [[1; 32]].into(), ..state(&[&theirs], &[], &[]) };
    let own = State { token_keys: [[2; 32]].into(), ..state(&[&ours], &[], &[]) };
    let held = adopted(&own, offered.clone(), Adoption::Replace);
    assert_eq!(held, State { token_keys: [[1; 32], [2; 32]].into(), ..offered });
}

#[test]
fn beside_ones_own_what_either_alone_has_stays_and_two_of_one_name_are_one() {
    let (their_group, our_group, only_ours) = (group("research"), group("research"), group("new"));
    let (their_alice, our_alice) = (user("alice", &their_group), user("alice", &our_group));
    let bob = user("bob", &our_group);
    let (their_key, our_key, key_of_bob) = (key(&their_alice), key(&our_alice), key(&bob));
    let offered = state(&[&their_group], &[&their_alice], &[&their_key]);
    let own = state(&[&our_group, &only_ours], &[&our_alice, &bob], &[&our_key, &key_of_bob]);

    let bob_of = |group: &Group| User { group_id: Some(group.id), ..bob.clone() };
    let of = |key: &ApiKey, user: &User| ApiKey { user_id: user.id, ..key.clone() };
    let theirs_stay = state(
        &[&their_group, &only_ours],
        &[&their_alice, &bob_of(&their_group)],
        &[&their_key, &of(&our_key, &their_alice), &key_of_bob],
    );
    let merged = adopted(&own, offered.clone(), Adoption::Merge);
    let removed = [our_group.id.0, our_alice.id.0].into();
    assert_eq!(merged, State { removed, ..theirs_stay });

    let ours_stay = state(
        &[&our_group, &only_ours],
        &[&our_alice, &bob],
        &[&of(&their_key, &our_alice), &our_key, &key_of_bob],
    );
    let completed = adopted(&own, offered, Adoption::Complete);
    let removed = [their_group.id.0, their_alice.id.0].into();
    assert_eq!(completed, State { removed, ..ours_stay });
}

#[test]
fn what_was_removed_on_either_side_does_not_come_back() {
    let research = group("research");
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| user(name, &research));
    let [key_of_alice, key_of_bob, revoked] = [key(&alice), key(&bob), key(&carol)];
    let own = State {
        removed: [bob.id.0, key_of_bob.id.0, revoked.id.0].into(),
        ..state(&[&research], &[&alice, &carol], &[&key_of_alice])
    };
    let offered = State {
        removed: [alice.id.0, key_of_alice.id.0].into(),
        ..state(&[&research], &[&bob, &carol], &[&key_of_bob, &revoked])
    };
    for how in [Adoption::Complete, Adoption::Merge] {
        let held = adopted(&own, offered.clone(), how);
        let removed = [alice.id.0, bob.id.0, key_of_alice.id.0, key_of_bob.id.0, revoked.id.0].into();
        assert_eq!(held, State { removed, ..state(&[&research], &[&carol], &[]) }, "{how:?}");
    }
}

#[test]
fn what_both_have_is_as_it_was_changed_last_and_sessions_that_ended_stay_ended() {
    let (before, research) = (group("research"), group("other"));
    let after = Group { name: "science".to_owned(), updated_at: at(2), ..before.clone() };
    let alice = user("alice", &research);
    let disabled = User { active: false, updated_at: at(3), ..alice.clone() };
    let revoked = User { tokens_valid_from: at(2), updated_at: at(2), ..alice };
    let both_ended = User { tokens_valid_from: at(2), ..disabled.clone() };
    let [left, right] = [Jti::new(), Jti::new()];
    let one =
        State { ended_sessions: [(left, at(4))].into(), ..state(&[&before, &research], &[&disabled], &[]) };
    let other =
        State { ended_sessions: [(right, at(5))].into(), ..state(&[&after, &research], &[&revoked], &[]) };
    assert_eq!(adopted(&one, other.clone(), Adoption::Replace).ended_sessions.len(), 2);
    for how in [Adoption::Complete, Adoption::Merge] {
        let ended_sessions = [(left, at(4)), (right, at(5))].into();
        let expected = State { ended_sessions, ..state(&[&after, &research], &[&both_ended], &[]) };
        assert_eq!(adopted(&one, other.clone(), how), expected, "{how:?}");
        assert_eq!(adopted(&other, one.clone(), how), expected, "{how:?}");
    }
}
