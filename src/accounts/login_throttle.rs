//! Failed logins, and whether another attempt is looked at. Pure: the caller brings the time.
//!
//! - A name that fails from an address has [`Rules::free`] attempts there; then every further failure doubles the wait.
//! - A name that fails from everywhere more than [`Rules::per_user`] times within the window gets no second attempts
//!   any more from addresses where it has failed, except where it has logged in before. Strangers cannot shut a user
//!   out: from an address that is not theirs the first attempt is always allowed.
//! - An address that fails more than [`Rules::per_address`] times within the window gets no second attempts any more:
//!   a name that has failed there waits for the window's end, and every other failure is answered as "too many". The
//!   first attempt of a name is always looked at, so somebody else behind the same NAT who has the right password
//!   gets in.
//!
//! Only failures count; a success forgets those of its name. Unknown names count like known ones. All tables are
//! bounded.
//!
//! Each leader counts for itself. Of N leaders on one database, somebody who reaches them all has N times the attempts: per
//! name and address [`Rules::free`] × N and then N per wait, per name [`Rules::per_user`] × N in a window, and so on. To
//! count in the database would bound it for the cluster, and let whoever has no password at all write there as often as it
//! likes, in rows that all leaders contend for, and slow down the logins of others; with a handful of leaders a factor of a
//! handful does not decide whether a password can be guessed.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use crate::domain::clock::Timestamp;

/// Entries per table; the oldest are evicted.
const ENTRIES_MAX: usize = 20_000;

/// Limits of failed logins.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Attempts of a name from one address before waiting begins.
    pub free: u32,
    /// The longest wait of a name.
    pub wait_max: Duration,
    /// Failures of one name from everywhere within the window.
    pub per_user: u32,
    /// Failures of one address with any names within the window.
    pub per_address: u32,
    pub window: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            free: 5,
            wait_max: Duration::from_mins(5),
            per_user: 50,
            per_address: 100,
            window: Duration::from_mins(10),
        }
    }
}

/// Failed logins of the recent past.
#[derive(Debug, Default)]
pub struct LoginThrottle {
    rules: Rules,
    pairs: HashMap<(String, IpAddr), Failures>,
    users: HashMap<String, Failures>,
    addresses: HashMap<IpAddr, Failures>,
    /// Addresses at which a name has logged in, and when last.
    known_addresses: HashMap<(String, IpAddr), Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    first: Timestamp,
    last: Timestamp,
}

impl LoginThrottle {
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Checks whether an attempt is allowed now.
    ///
    /// # Errors
    /// How long to wait.
    pub fn check(&self, name: &str, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        let pair = self.recent(self.pairs.get(&(name.to_owned(), address)), now);
        let user = self.recent(self.users.get(name), now);
        let at_home = self.known_addresses.contains_key(&(name.to_owned(), address));
        let mut until = pair.map_or(now, |failures| self.waits_until(failures, self.rules.free));
        let user = user.filter(|failures| failures.count > self.rules.per_user && pair.is_some() && !at_home);
        if let Some(failures) = user {
            until = until.max(self.waits_until(failures, self.rules.per_user));
        }
        if pair.is_some() && self.is_spent(address, now) {
            until = until.max(self.window_end(address));
        }
        if until <= now { Ok(()) } else { Err(until.since(now)) }
    }

    /// Notes a failure. `Err` with a wait when the address has had too many, whatever the names.
    ///
    /// # Errors
    /// How long until attempts from the address are allowed again.
    pub fn failed(&mut self, name: &str, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        let window = self.rules.window;
        note(&mut self.pairs, (name.to_owned(), address), window, now);
        note(&mut self.users, name.to_owned(), window, now);
        note(&mut self.addresses, address, window, now);
        if self.is_spent(address, now) { Err(self.window_end(address).since(now)) } else { Ok(()) }
    }

    pub fn succeeded(&mut self, name: &str, address: IpAddr, now: Timestamp) {
        self.pairs.remove(&(name.to_owned(), address));
        self.users.remove(name);
        make_room(&mut self.known_addresses, |at| *at);
        self.known_addresses.insert((name.to_owned(), address), now);
    }

    fn recent<'a>(&self, failures: Option<&'a Failures>, now: Timestamp) -> Option<&'a Failures> {
        failures.filter(|failures| now < failures.last.plus(self.rules.window))
    }

    /// The first wait is a second, each further failure doubles it.
    fn waits_until(&self, failures: &Failures, free: u32) -> Timestamp {
        let Some(beyond) = failures.count.checked_sub(free) else { return failures.last };
        let seconds = 1_u64.checked_shl(beyond).unwrap_or(u64::MAX);
        failures.last.plus(Duration::from_secs(seconds).min(self.rules.wait_max))
    }

    fn is_spent(&self, address: IpAddr, now: Timestamp) -> bool {
        self.addresses.get(&address).is_some_and(|failures| {
            failures.count > self.rules.per_address && now < failures.first.plus(self.rules.window)
        })
    }

    fn window_end(&self, address: IpAddr) -> Timestamp {
        self.addresses.get(&address).map_or(Timestamp::MIN, |failures| failures.first.plus(self.rules.window))
    }
}

fn note<K: Eq + Hash + Clone>(table: &mut HashMap<K, Failures>, key: K, window: Duration, now: Timestamp) {
    if !table.contains_key(&key) {
        make_room(table, |failures| failures.last);
    }
    let failures = table.entry(key).or_insert(Failures { count: 0, first: now, last: now });
    if failures.first.plus(window) <= now {
        *failures = Failures { count: 0, first: now, last: now };
    }
    failures.count = failures.count.saturating_add(1);
    failures.last = now;
}

/// Drops the older half of a full table: rarely, so the cost per note stays constant.
fn make_room<K: Eq + Hash + Clone, V>(table: &mut HashMap<K, V>, last: impl Fn(&V) -> Timestamp) {
    if table.len() < ENTRIES_MAX {
        return;
    }
    let mut times: Vec<_> = table.values().map(&last).collect();
    let (_, median, _) = times.select_nth_unstable(ENTRIES_MAX / 2);
    let median = *median;
    let mut left = table.len() - ENTRIES_MAX / 2;
    table.retain(|_, value| {
        let drop = left > 0 && last(value) <= median;
        left -= usize::from(drop);
        !drop
    });
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const OFFICE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn stranger(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0xC633_6400 + number))
    }

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().expect("a time")
    }

    fn after(seconds: u64) -> Timestamp {
        now().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn waits_double_after_the_free_attempts_and_a_success_forgets_them() {
        let mut throttle = LoginThrottle::default();
        for _ in 0..4 {
            assert!(throttle.check("alice", OFFICE, now()).is_ok());
            throttle.failed("alice", OFFICE, now()).expect("the address has room");
        }
        assert!(throttle.check("alice", OFFICE, now()).is_ok(), "the fifth attempt is free");
        throttle.failed("alice", OFFICE, now()).expect("room");
        assert_eq!(throttle.check("alice", OFFICE, now()), Err(Duration::from_secs(1)));
        throttle.failed("alice", OFFICE, after(1)).expect("room");
        assert_eq!(throttle.check("alice", OFFICE, after(1)), Err(Duration::from_secs(2)));
        assert!(throttle.check("bob", OFFICE, after(1)).is_ok(), "others behind the address are not held up");
        assert!(throttle.check("alice", stranger(1), after(1)).is_ok());
        throttle.succeeded("alice", OFFICE, after(3));
        throttle.failed("alice", OFFICE, after(4)).expect("room");
        assert!(throttle.check("alice", OFFICE, after(4)).is_ok());
    }

    #[test]
    fn the_wait_has_a_longest_and_ends_with_the_window() {
        let mut throttle = LoginThrottle::default();
        for _ in 0..70 {
            let _ = throttle.failed("alice", OFFICE, now());
        }
        assert_eq!(throttle.check("alice", OFFICE, now()), Err(Duration::from_mins(5)));
        assert!(throttle.check("alice", OFFICE, after(600)).is_ok());
    }

    #[test]
    fn a_spent_address_still_lets_in_whoever_has_the_right_password_at_once() {
        let mut throttle = LoginThrottle::default();
        for number in 0..100 {
            assert!(throttle.failed(&format!("user-{number}"), OFFICE, now()).is_ok());
        }
        assert_eq!(throttle.failed("user-100", OFFICE, now()), Err(Duration::from_mins(10)));
        assert!(throttle.check("bob", OFFICE, now()).is_ok(), "bob has not failed here");
        assert!(throttle.check("user-7", OFFICE, now()).is_err(), "no second attempts");
        assert!(throttle.check("user-7", OFFICE, after(600)).is_ok());
    }

    #[test]
    fn a_name_attacked_from_everywhere_can_still_log_in_where_nobody_attacks_it() {
        let mut throttle = LoginThrottle::default();
        throttle.succeeded("alice", OFFICE, now());
        for number in 0..60 {
            let _ = throttle.failed("alice", stranger(number), now());
        }
        assert!(throttle.check("alice", stranger(7), now()).is_err(), "no second attempts");
        assert!(
            throttle.check("alice", stranger(99), now()).is_ok(),
            "an address of her own, or one more guess"
        );
        let _ = throttle.failed("alice", OFFICE, now());
        assert!(throttle.check("alice", OFFICE, now()).is_ok(), "where she was before, she may mistype");
    }

    #[test]
    fn the_tables_are_bounded() {
        let mut throttle = LoginThrottle::default();
        for number in 0..100_000 {
            let _ =
                throttle.failed(&format!("user-{number}"), stranger(number), after(u64::from(number) / 100));
        }
        for size in [throttle.pairs.len(), throttle.users.len(), throttle.addresses.len()] {
            assert!(size <= ENTRIES_MAX, "{size} entries");
        }
    }
}
