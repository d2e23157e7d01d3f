//! What a target has of its own while the node runs, whatever its settings become: connections, health, what cools down,
//! and counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use super::cooldown::Cooldowns;
use super::failure::FailureReason;
use super::health::Health;
use super::key::KeyState;
use super::unknown::UnknownFields;
use crate::domain::clock::{Clock, Timestamp};
use crate::transport::{Client, Endpoint};

pub(super) struct TargetState {
    /// The address of its connections.
    pub(super) endpoint: Endpoint,
    pub(super) client: Client,
    pub(super) health: Health,
    pub(super) cooldowns: Cooldowns,
    pub(super) unknown: UnknownFields,
    draining: AtomicBool,
    pub(super) attempts: Counter,
    pub(super) failures: Counter,
    /// Failed attempts of calls.
    by_reason: Mutex<BTreeMap<FailureReason, u64>>,
    keys: Mutex<HashMap<u64, Arc<KeyState>>>,
    /// Keys that calls were refused for.
    suspects: Mutex<Vec<u64>>,
    last_failure: Mutex<Option<(Timestamp, String)>>,
    pub(super) clock: Arc<dyn Clock>,
}

impl TargetState {
    /// # Errors
    /// A URL or a CA file that cannot be used, in words.
    pub(super) fn new(endpoint: Endpoint, clock: Arc<dyn Clock>) -> Result<Self, String> {
        Ok(Self {
            client: Client::new(&endpoint)?,
            endpoint,
            health: Health::new(Instant::now()),
            cooldowns: Cooldowns::default(),
            unknown: UnknownFields::default(),
            draining: AtomicBool::new(false),
            attempts: Counter::default(),
            failures: Counter::default(),
            by_reason: Mutex::default(),
            keys: Mutex::default(),
            suspects: Mutex::default(),
            last_failure: Mutex::default(),
            clock,
        })
    }

    /// A call with this key was refused for its key, as the provider says; [`Self::suspects`] are checked.
    pub(super) fn suspect_key(&self, id: u64) {
        let mut suspects = self.suspects.lock();
        if !suspects.contains(&id) {
            suspects.push(id);
        }
    }

    /// Keys to check.
    pub(super) fn suspects(&self) -> Vec<u64> {
        std::mem::take(&mut *self.suspects.lock())
    }

    /// What a key has had until now; of keys that are new, nothing.
    pub(super) fn key(&self, id: u64) -> Arc<KeyState> {
        Arc::clone(self.keys.lock().entry(id).or_default())
    }

    /// Forgets keys that are not among `ids` any more.
    pub(super) fn retain_keys(&self, ids: &[u64]) {
        self.keys.lock().retain(|id, _| ids.contains(id));
    }

    /// A call or a check failed for a reason that is the target's.
    pub(super) fn note_failure(&self, reason: String) {
        self.failures.inc();
        *self.last_failure.lock() = Some((self.clock.now(), reason));
    }

    /// An attempt of a call failed.
    pub(super) fn count_failure(&self, reason: FailureReason) {
        *self.by_reason.lock().entry(reason).or_default() += 1;
    }

    /// Failed attempts of calls, by reason.
    pub(super) fn failures_by_reason(&self) -> BTreeMap<FailureReason, u64> {
        self.by_reason.lock().clone()
    }

    pub(super) fn last_failure(&self) -> Option<(Timestamp, String)> {
        self.last_failure.lock().clone()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// True if that is a change.
    pub(super) fn set_draining(&self, draining: bool) -> bool {
        self.draining.swap(draining, Ordering::Relaxed) != draining
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
