//! What the rules say of addresses, one after the other.

use uuid::Uuid;

use super::*;

const NOW: Duration = Duration::from_hours(1);

fn url(name: &str) -> LeaderUrl {
    let text = if name.contains("://") { name.to_owned() } else { format!("http://{name}:9001") };
    text.parse().expect("a URL")
}

fn urls(names: &[&str]) -> Vec<LeaderUrl> {
    names.iter().map(|name| url(name)).collect()
}

fn node(name: &str) -> NodeId {
    name.parse().expect("a name")
}

fn ledger(number: u128) -> LedgerId {
    LedgerId(Uuid::from_u128(number))
}

fn unreachable() -> LeaderError {
    LeaderError::Unreachable("gone".to_owned())
}

fn silent() -> LeaderError {
    LeaderError::Silent("no answer".to_owned())
}

fn unavailable() -> LeaderError {
    LeaderError::Unavailable("not now".to_owned())
}

/// With the first of the configured ones followed for a minute.
fn following(configured: &[&str]) -> Addresses {
    let mut addresses = Addresses::new(urls(configured));
    let first = url(configured[0]);
    let before = NOW.checked_sub(Duration::from_mins(1)).expect("later");
    addresses.check(&first, (node("sp-1"), ledger(1)), None, before).expect("nothing was pushed yet");
    addresses.follow(&first, before);
    addresses
}

#[test]
fn they_are_asked_in_order_from_the_one_that_was_followed() {
    let mut addresses = Addresses::new(urls(&["a", "b", "c"]));
    assert_eq!(addresses.in_turn(NOW), urls(&["a", "b", "c"]));
    addresses.follow(&url("b"), NOW);
    assert_eq!(addresses.in_turn(NOW), urls(&["b", "c", "a"]));
}

#[test]
fn a_leader_alone_is_never_given_up() {
    let mut alone = following(&["a"]);
    for error in [unreachable(), silent(), unavailable()] {
        assert!(!alone.note_failure(&url("a"), Call::Push, &error, NOW), "{error}");
        assert!(!alone.note_failure(&url("a"), Call::Push, &error, NOW + Duration::from_hours(1)), "{error}");
    }
    assert_eq!(alone.in_turn(NOW), urls(&["a"]));
}

#[test]
fn a_connection_that_broke_is_opened_again_unless_it_breaks_at_once() {
    let mut addresses = following(&["a", "b"]);
    assert!(addresses.note_failure(&url("a"), Call::Watch, &unreachable(), NOW));
    assert_eq!(addresses.in_turn(NOW), urls(&["a", "b"]));
    addresses.follow(&url("a"), NOW);
    assert!(addresses.note_failure(&url("a"), Call::Push, &unreachable(), NOW + Duration::from_secs(1)));
    assert_eq!(addresses.in_turn(NOW), urls(&["b", "a"]));
}

#[test]
fn a_silent_leader_is_left_wherever_it_is_reached_and_each_time_is_waited_for_longer() {
    let mut addresses = following(&["a", "b"]);
    addresses.learn([(node("sp-1"), url("a-by-another-name")), (node("sp-3"), url("c"))]);
    addresses.check(&url("b"), (node("sp-1"), ledger(1)), None, NOW).expect("the same ledger");
    assert_eq!(addresses.patience(NOW), PATIENCE);
    assert!(addresses.note_failure(&url("a"), Call::Watch, &silent(), NOW));
    assert_eq!(addresses.in_turn(NOW), urls(&["c", "b", "a-by-another-name", "a"]));
    assert_eq!(addresses.patience(NOW), 2 * PATIENCE);
    for _ in 0..100 {
        addresses.note_silence(NOW);
    }
    assert_eq!(addresses.patience(NOW), PATIENCE_MAX);
    assert_eq!(addresses.patience(NOW + SILENCES_COUNT_FOR), PATIENCE);
    addresses.follow(&url("c"), NOW);
    assert_eq!(addresses.in_turn(NOW), urls(&["c", "a", "b", "a-by-another-name"]), "it may be back by then");
}

#[test]
fn a_leader_that_cannot_for_a_moment_is_kept_to_and_for_long_is_not() {
    let mut addresses = following(&["a", "b"]);
    let fails =
        |addresses: &mut Addresses, call, at| addresses.note_failure(&url("a"), call, &unavailable(), at);
    let later = |part: u32| NOW + UNAVAILABLE_MAX / 4 * part;
    assert!(!fails(&mut addresses, Call::Push, later(0)));
    assert!(!fails(&mut addresses, Call::Push, later(3)));
    // Its database takes nothing, and is read all the same.
    addresses.note_answer(&url("a"), Call::Heartbeat, later(3));
    addresses.note_answer(&url("a"), Call::Watch, later(3));
    assert!(fails(&mut addresses.clone(), Call::Push, later(4)));
    addresses.note_answer(&url("a"), Call::Push, later(4));
    assert!(!fails(&mut addresses, Call::Push, later(5)));
    assert!(fails(&mut addresses, Call::Push, later(9)));
    assert_eq!(addresses.in_turn(NOW), urls(&["b", "a"]));
    for error in
        [LeaderError::Unknown(String::new()), LeaderError::Behind(1), LeaderError::Refused(String::new())]
    {
        let mut addresses = following(&["a", "b"]);
        assert!(
            !addresses.note_failure(&url("a"), Call::Push, &error, NOW),
            "no reason to leave it: {error}"
        );
    }
}

#[test]
fn what_is_learned_comes_behind_what_is_configured_and_goes_with_the_next_list() {
    let mut addresses = following(&["a", "b"]);
    let lead = |names: &[&str]| names.iter().map(|name| (node("sp-9"), url(name))).collect::<Vec<_>>();
    assert!(addresses.learn(lead(&["c", "b", "d", "c"])));
    assert_eq!(addresses.all(), urls(&["a", "b", "c", "d"]));
    assert!(!addresses.learn(lead(&["a", "c", "d"])), "no news");
    addresses.follow(&url("c"), NOW);
    assert!(addresses.learn(lead(&["d"])));
    assert_eq!(addresses.all(), urls(&["a", "b", "d", "c"]), "the one that is followed stays so long");
    addresses.follow(&url("a"), NOW);
    assert_eq!(addresses.all(), urls(&["a", "b", "d"]));
    assert!(addresses.learn(lead(&[])));
    assert_eq!(addresses.all(), urls(&["a", "b"]));
    let many: Vec<_> = (0..40).map(|number| (node("sp-9"), url(&format!("n-{number}")))).collect();
    addresses.learn(many);
    assert_eq!(addresses.all().len(), 2 + LEARNED_MAX);
}

#[test]
fn a_secret_that_travels_under_tls_never_travels_without() {
    let mut addresses = Addresses::new(urls(&["https://a"]));
    addresses.learn([(node("sp-2"), url("http://b")), (node("sp-3"), url("https://c"))]);
    assert_eq!(addresses.all(), urls(&["https://a", "https://c"]));
    let learned = urls(&["http://b", "https://d"]);
    addresses.restore(Before { configured: urls(&["https://a"]), learned, followed: None }, NOW);
    assert_eq!(addresses.all(), urls(&["https://a", "https://d"]));
    let mut plain = Addresses::new(urls(&["a"]));
    plain.learn([(node("sp-3"), url("https://c"))]);
    assert_eq!(plain.all(), urls(&["a", "https://c"]), "more is no harm");
}

#[test]
fn what_means_this_very_machine_is_not_learned_from_another() {
    let told = |configured: &str| {
        let mut addresses = Addresses::new(urls(&[configured]));
        let names = ["http://127.0.0.1:9001", "http://[::1]:9001", "http://0.0.0.0:9001", "b"];
        addresses.learn(names.map(|name| (node("sp-2"), url(name))));
        addresses.learned().to_vec()
    };
    assert_eq!(told("a"), urls(&["b"]));
    let near = ["http://127.0.0.1:9001", "http://[::1]:9001", "b"];
    assert_eq!(told("http://localhost:9001"), urls(&near));
}

#[test]
fn another_ledger_is_followed_only_when_the_one_before_answers_nowhere_else() {
    let mut addresses = following(&["a", "b"]);
    let pushed_to = Some(ledger(1));
    let heard_at = NOW;
    addresses.note_answer(&url("a"), Call::Watch, heard_at);
    let other =
        |addresses: &mut Addresses, at| addresses.check(&url("b"), (node("sp-1"), ledger(2)), pushed_to, at);
    let soon = heard_at + Duration::from_secs(7);
    let refused = other(&mut addresses, soon).expect_err("it is of another cluster");
    assert_eq!(refused, OtherLedger { at: url("a"), silent_for: Duration::from_secs(7) });
    assert_eq!(addresses.in_turn(soon), urls(&["a"]), "it is let be for a while");
    assert_eq!(addresses.in_turn(soon + REST), urls(&["a", "b"]));
    other(&mut addresses.clone(), heard_at + LEDGER_HOLDS_FOR).expect("the first is gone for good");
    let mut at_first = addresses.clone();
    at_first.check(&url("a"), (node("sp-1"), ledger(3)), pushed_to, soon).expect("it has lost its disk");
    other(&mut at_first, soon).expect("nobody has that ledger any more");
    addresses.check(&url("b"), (node("sp-9"), ledger(1)), pushed_to, soon).expect("the same ledger");
    addresses.check(&url("b"), (node("sp-9"), ledger(2)), None, soon).expect("nothing was pushed yet");
}

#[test]
fn an_earlier_process_is_believed_if_it_followed_some_of_the_same() {
    let before = |configured: &[&str], silent_for| Before {
        configured: urls(configured),
        learned: urls(&["c", "a"]),
        followed: Some((url("c"), ledger(1), silent_for)),
    };
    let minute = Duration::from_mins(1);
    let mut same = Addresses::new(urls(&["a", "b"]));
    same.restore(before(&["a", "b"], minute), NOW);
    assert_eq!(same.in_turn(NOW), urls(&["c", "a", "b"]));
    same.check(&url("a"), (node("sp-1"), ledger(2)), Some(ledger(1)), NOW)
        .expect_err("it was there a minute ago");
    let mut later = Addresses::new(urls(&["a", "b"]));
    later.restore(before(&["a", "b"], LEDGER_HOLDS_FOR), NOW);
    later.check(&url("a"), (node("sp-1"), ledger(2)), Some(ledger(1)), NOW).expect("long ago");
    let mut in_another_order = Addresses::new(urls(&["b", "a"]));
    in_another_order.restore(before(&["a", "b"], minute), NOW);
    assert_eq!(in_another_order.in_turn(NOW), urls(&["b", "a", "c"]));
    let mut elsewhere = Addresses::new(urls(&["d"]));
    elsewhere.restore(before(&["a", "b"], minute), NOW);
    assert_eq!(elsewhere.all(), urls(&["d"]), "moved to another cluster");
}

#[test]
fn of_promoted_leaders_the_one_of_the_highest_term_is_followed() {
    let promoted = |name: &str, term: u64, held: u128, at: &str| Leadership {
        term,
        ledger: ledger(held),
        node: node(name),
        leads_at: url(at),
    };
    let mut addresses = Addresses::new(vec![url("a")]);
    assert_eq!(addresses.check_term(&url("a"), 0, ledger(1), NOW), Term::Unknown, "nobody was promoted");
    assert_eq!(addresses.check_term(&url("b"), 1, ledger(2), NOW), Term::Promoted);
    let by = promoted("sp-2", 3, 5, "b");
    addresses.prefer(by.clone());
    assert_eq!(addresses.in_turn(NOW), [url("b"), url("a")], "first, though nobody has configured it");
    addresses.check(&url("a"), (node("sp-1"), ledger(1)), None, NOW).expect("nothing was pushed yet");
    let (known, soon) = (Some(ledger(1)), NOW + REST / 2);
    addresses.check(&url("b"), (node("sp-2"), ledger(5)), known, soon).expect("it was promoted");
    for (at, term, held, expected) in [
        ("a", 0, 1, Term::Superseded(by.clone())),
        ("a", 2, 9, Term::Superseded(by.clone())),
        ("a", 3, 4, Term::Superseded(by.clone())),
        ("a", 3, 5, Term::Promoted),
        ("a", 3, 6, Term::Promoted),
        ("a", 4, 1, Term::Promoted),
        // It has lost its disk.
        ("b", 0, 7, Term::Unknown),
    ] {
        assert_eq!(addresses.check_term(&url(at), term, ledger(held), NOW), expected, "{at} {term} {held}");
    }
    assert_eq!(addresses.in_turn(soon), [url("b")], "one that was superseded rests");
}
