//! What a target has of its own while the node runs, whatever its settings become: connections, health, and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use super::health::Health;
use crate::domain::clock::{Clock, Timestamp};
use crate::transport::{Client, Endpoint};

pub(super) struct TargetState {
    /// The address of its connections.
    pub(super) endpoint: Endpoint,
    pub(super) client: Client,
    pub(super) health: Health,
    draining: AtomicBool,
    pub(super) attempts: Counter,
    pub(super) failures: Counter,
    last_failure: Mutex<Option<(Timestamp, String)>>,
    clock: Arc<dyn Clock>,
}

impl TargetState {
    /// # Errors
    /// A URL or a CA file that cannot be used, in words.
    pub(super) fn new(endpoint: Endpoint, clock: Arc<dyn Clock>) -> Result<Self, String> {
        Ok(Self {
            client: Client::new(&endpoint)?,
            endpoint,
            health: Health::new(Instant::now()),
            draining: AtomicBool::new(false),
            attempts: Counter::default(),
            failures: Counter::default(),
            last_failure: Mutex::default(),
            clock,
        })
    }

    /// Records the result of a call or a check; `counts_for_health` says whether it counts for the choice of targets.
    pub(super) fn note(&self, counts_for_health: bool, failure: Option<String>) {
        match failure {
            None if counts_for_health => self.health.answered(),
            None => {}
            Some(reason) => {
                if counts_for_health {
                    self.health.failed(Instant::now());
                }
                self.failures.inc();
                *self.last_failure.lock() = Some((self.clock.now(), reason));
            }
        }
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
