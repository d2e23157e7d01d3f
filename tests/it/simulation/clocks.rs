//! A node's own clock: off by something, and set now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sproxy::domain::clock::{Clock, JITTER, Timestamp};

use super::scheduler::World;

/// What a machine believes the time to be. Outlives the processes on it.
#[derive(Clone)]
pub struct NodeClock {
    world: World,
    off_micros: Arc<AtomicI64>,
    /// When it was set last, by the world's clock.
    set_at_micros: Arc<AtomicI64>,
}

impl NodeClock {
    /// Off by at most half a second either way: a machine that asks for the time now and then.
    pub fn new(world: &World) -> Self {
        let off = i64::try_from(world.between(0, 1_000_000)).expect("small") - 500_000;
        let set_at_micros = Arc::new(AtomicI64::new(world.now().as_micros()));
        Self { world: world.clone(), off_micros: Arc::new(AtomicI64::new(off)), set_at_micros }
    }

    /// Sets the clock wrong, by so many seconds, or right with 0.
    pub fn set_off(&self, seconds: i64) {
        self.off_micros.store(seconds * 1_000_000, Ordering::SeqCst);
        self.set_at_micros.store(self.world.now().as_micros(), Ordering::SeqCst);
    }

    /// When it was set last.
    pub fn set_at(&self) -> Timestamp {
        Timestamp::from_micros(self.set_at_micros.load(Ordering::SeqCst))
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.world.now().as_micros() + self.off_micros.load(Ordering::SeqCst))
    }
}

/// The times that a node gives its records, by the ledger's rule: in order, unless the clock was set back.
pub struct Stamps {
    clock: NodeClock,
    last: Timestamp,
    /// Of all processes on the machine.
    highest: Timestamp,
}

impl Stamps {
    pub fn new(clock: NodeClock) -> Self {
        Self { clock, last: Timestamp::default(), highest: Timestamp::default() }
    }

    /// The next process does not know what the one before gave.
    pub fn restart(&mut self) {
        self.last = Timestamp::default();
    }

    /// The time of a record that is made now, and whether it lies before one that was given: the clock was set back, and
    /// the node may have said already that it owes nothing of that time.
    pub fn next(&mut self) -> (Timestamp, bool) {
        let now = self.clock.now();
        if now > self.last || self.last.since(now) > JITTER {
            self.last = now;
        }
        self.highest = self.highest.max(self.last);
        (self.last, self.last < self.highest)
    }

    /// Nothing will be made at or before this time.
    pub fn nothing_comes_through(&mut self) -> Timestamp {
        self.next().0.minus(Duration::from_micros(1))
    }
}
