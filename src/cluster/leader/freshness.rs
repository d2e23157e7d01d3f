//! How long ago the database that leaders share was last heard of: what this node knows of users and limits is as old.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// `cluster.max_staleness`, and what it is compared with.
#[derive(Debug)]
pub struct Freshness {
    /// None: it may be as old as it is.
    max_staleness: Option<Duration>,
    /// Whether calls are refused then.
    refuses: bool,
    heard: Mutex<Instant>,
}

impl Freshness {
    #[must_use]
    pub fn new(max_staleness: Option<Duration>, refuse_when_stale: bool) -> Self {
        Self { max_staleness, refuses: refuse_when_stale, heard: Mutex::new(Instant::now()) }
    }

    pub(super) fn heard(&self) {
        *self.heard.lock() = Instant::now();
    }

    /// Why this node should get no traffic; none: it may.
    pub(super) fn not_ready(&self) -> Option<String> {
        let silent = self.silent();
        let is_stale = self.max_staleness.is_some_and(|most| silent > most);
        is_stale.then(|| format!("stale: the database has been silent for {} s", silent.as_secs()))
    }

    /// Whether calls are to be refused.
    pub(super) fn refuses(&self) -> bool {
        self.refuses && self.max_staleness.is_some_and(|most| self.silent() > most)
    }

    fn silent(&self) -> Duration {
        self.heard.lock().elapsed()
    }
}
