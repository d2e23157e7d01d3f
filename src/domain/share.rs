//! Shares in what all callers use together: places in the ledger, memory for bodies, connections, turns at a thread.
//!
//! The rule: whoever takes something may afterwards hold at most so many times what then stays free
//! ([`Rule::times_free`]), and in any case [`Rule::least`]. So somebody alone can have most of it, more callers divide
//! it among themselves without being counted, and something is always left for who comes next and holds nothing. The
//! rule needs no list of those who might come.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// Number of locks that callers are spread over.
const LOCKS: usize = 16;

/// How much one caller may hold.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The multiple of what stays free that one caller may hold: 3 allows a single caller three quarters, 1 one half.
    pub times_free: usize,
    /// What one caller may hold in any case, if it is free.
    pub least: usize,
}

/// For things that are taken one by one: a single caller can have three quarters of them, and the last one is kept for
/// a caller who has none.
pub const COUNTED: Rule = Rule { times_free: 3, least: 1 };

/// A pool that callers share, and how much of it each holds.
#[derive(Debug)]
pub struct Shares<K> {
    total: usize,
    rule: Rule,
    free: AtomicUsize,
    hasher: RandomState,
    /// Only those who hold something, so at most as many as the pool is large.
    held: [Mutex<HashMap<K, usize, RandomState>>; LOCKS],
}

/// Why a caller gets nothing of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    Exhausted,
    /// The rest is for others: the caller holds this much already.
    Share(usize),
}

impl<K: Copy + Eq + Hash> Shares<K> {
    /// A pool with all of `total` free.
    #[must_use]
    pub fn new(total: usize, rule: Rule) -> Self {
        let held = std::array::from_fn(|_| Mutex::default());
        Self { total, rule, free: AtomicUsize::new(total), hasher: RandomState::default(), held }
    }

    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    #[must_use]
    pub fn taken(&self) -> usize {
        self.total.saturating_sub(self.free.load(Ordering::Acquire))
    }

    #[must_use]
    pub fn held_by(&self, who: &K) -> usize {
        self.lock_of(who).lock().get(who).copied().unwrap_or(0)
    }

    /// Takes `amount` for `who`. Never waits for room; costs a short lock.
    ///
    /// # Errors
    /// [`NoRoom`]; then nothing was taken.
    pub fn take(&self, who: K, amount: usize) -> Result<(), NoRoom> {
        let mut held = self.lock_of(&who).lock();
        let has = held.get(&who).copied().unwrap_or(0);
        let fits = |free: usize| {
            let left = free.checked_sub(amount)?;
            let most = left.saturating_mul(self.rule.times_free).max(self.rule.least);
            (has.saturating_add(amount) <= most).then_some(left)
        };
        match self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => {
                *held.entry(who).or_default() += amount;
                Ok(())
            }
            Err(free) if free < amount => Err(NoRoom::Exhausted),
            Err(_) => Err(NoRoom::Share(has)),
        }
    }

    /// The same, whatever `who` holds already.
    ///
    /// # Errors
    /// [`NoRoom::Exhausted`]; then nothing was taken.
    pub fn take_beyond(&self, who: K, amount: usize) -> Result<(), NoRoom> {
        let mut held = self.lock_of(&who).lock();
        let taken =
            self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(amount));
        taken.map_err(|_| NoRoom::Exhausted)?;
        *held.entry(who).or_default() += amount;
        Ok(())
    }

    /// Gives back `amount` that `who` has taken; true if nothing at all is taken any more.
    pub fn give_back(&self, who: K, amount: usize) -> bool {
        let mut held = self.lock_of(&who).lock();
        if let Some(has) = held.get_mut(&who) {
            *has = has.saturating_sub(amount);
            if *has == 0 {
                held.remove(&who);
            }
        }
        self.free.fetch_add(amount, Ordering::AcqRel) + amount >= self.total
    }

    #[allow(clippy::cast_possible_truncation, reason = "any part of a hash is as good as another")]
    fn lock_of(&self, who: &K) -> &Mutex<HashMap<K, usize, RandomState>> {
        &self.held[self.hasher.hash_one(who) as usize % LOCKS]
    }
}

/// The unit that an address counts for in shares: of IPv6 a whole network of 64 bits, since a single machine has
/// as many addresses there as it likes. An IPv4 caller on a dual-stack socket is the same caller.
#[must_use]
pub fn client_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one by one as long as there is something for `who`.
    fn grab(pool: &Shares<u8>, who: u8) -> usize {
        (0..pool.total()).take_while(|_| pool.take(who, 1).is_ok()).count()
    }

    #[test]
    fn somebody_alone_has_most_of_it_and_who_comes_next_always_finds_something() {
        for (total, alone, second, third) in [
            (1, 1, 0, 0),
            (2, 1, 1, 0),
            (4, 3, 1, 0),
            (30, 22, 6, 1),
            (1000, 750, 187, 47),
            (10_000, 7_500, 1_875, 468),
        ] {
            let pool = Shares::new(total, COUNTED);
            assert_eq!(
                [grab(&pool, 1), grab(&pool, 2), grab(&pool, 3)],
                [alone, second, third],
                "of {total}"
            );
        }
    }

    #[test]
    fn many_who_take_in_turns_end_with_equal_shares() {
        let pool = Shares::new(1_000, COUNTED);
        let mut progress = true;
        while progress {
            progress = (0..5_u8).filter(|who| pool.take(*who, 1).is_ok()).count() > 0;
        }
        let shares: Vec<_> = (0..5).map(|who| pool.held_by(&who)).collect();
        assert!(shares.iter().all(|share| (186..=188).contains(share)), "{shares:?}");
        assert_eq!(pool.take(9, 1), Ok(()), "a sixth finds room");
    }

    #[test]
    fn a_share_has_a_least_and_what_is_given_back_is_free_again() {
        let pool = Shares::new(64, Rule { times_free: 1, least: 32 });
        assert_eq!(pool.take(1, 22), Ok(()));
        assert_eq!(pool.take(1, 22), Err(NoRoom::Share(22)), "32 at most");
        assert_eq!(pool.take(2, 22), Ok(()), "within the least");
        assert_eq!(pool.take(3, 22), Err(NoRoom::Exhausted));
        assert!(!pool.give_back(1, 22));
        assert_eq!(pool.take(3, 22), Ok(()));
        assert!(!pool.give_back(3, 22));
        assert!(pool.give_back(2, 22), "all of it is free");
        assert_eq!((pool.taken(), pool.held_by(&2)), (0, 0));
    }

    #[test]
    fn one_machine_is_one_neighbour_whatever_its_address_says() {
        let of = |text: &str| client_prefix(text.parse().expect("an address")).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
