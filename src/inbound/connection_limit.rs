//! Places that callers share. Nobody can take them all, and nobody is refused while others leave them free: one address
//! gets another place as long as it holds less than a share of what is still free. Alone it comes to `share / (share +
//! 1)` of the places; whoever comes then finds the rest.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// A limited number of places, and how many each address holds.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    places: usize,
    share: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// A place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    room: Arc<ConnectionLimit>,
    source: IpAddr,
}

impl ConnectionLimit {
    /// `places` in all; one address may hold `share` times as many as are free.
    pub(super) fn new(places: usize, share: usize) -> Arc<Self> {
        Arc::new(Self { places, share, held: Mutex::default() })
    }

    /// A place for a caller from `address`, if there is one.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let source = source(address);
        let mut held = self.held.lock();
        let free = self.places.saturating_sub(held.all);
        let own = held.by_source.get(&source).copied().unwrap_or(0);
        if free == 0 || own >= free.saturating_mul(self.share) {
            return None;
        }
        held.all += 1;
        held.by_source.insert(source, own + 1);
        Some(ConnectionPermit { room: Arc::clone(self), source })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut held = self.room.held.lock();
        held.all -= 1;
        let own = held.by_source.get(&self.source).copied().unwrap_or(0);
        if own > 1 {
            held.by_source.insert(self.source, own - 1);
        } else {
            held.by_source.remove(&self.source);
        }
    }
}

/// Whoever has one IPv6 address has all of its /64; an IPv4 caller on a dual-stack socket is the same caller.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_leaves_places_to_others() {
        let room = ConnectionLimit::new(90, 8);
        let greedy: Vec<_> = std::iter::from_fn(|| room.enter(address("192.0.2.1"))).collect();
        assert_eq!(greedy.len(), 80);
        let others: Vec<_> = std::iter::from_fn(|| room.enter(address("192.0.2.2"))).collect();
        assert_eq!(others.len(), 9, "and of the rest they leave some as well");
        drop(greedy);
        assert!(room.enter(address("192.0.2.1")).is_some());
        drop(others);
        assert!(room.held.lock().by_source.is_empty(), "who has left is forgotten");
    }

    #[test]
    fn a_few_places_can_all_be_taken() {
        let room = ConnectionLimit::new(4, 8);
        let taken: Vec<_> = std::iter::from_fn(|| room.enter(address("192.0.2.1"))).collect();
        assert_eq!(taken.len(), 4);
        assert!(room.enter(address("192.0.2.2")).is_none());
    }

    #[test]
    fn many_addresses_of_one_caller_are_one() {
        assert_eq!(source(address("2001:db8:1:2::1")), source(address("2001:db8:1:2:ffff::9")));
        assert_ne!(source(address("2001:db8:1:2::1")), source(address("2001:db8:1:3::1")));
        assert_eq!(source(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }
}
