//! What a connection is at, and since when: the one place that its deadlines are read from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Tracks the requests and idle times of one connection. Updated by whoever reads bytes and serves requests, on any
/// thread; one timer checks it periodically, so that a request costs a reading of the clock and no timer of its own.
#[derive(Debug)]
pub(super) struct Activity {
    begun: Instant,
    /// Requests whose answer has not ended, and refused bodies that are still coming.
    requests: AtomicU32,
    /// When it last became without a request, or the first byte of the next request's head came; milliseconds.
    since: AtomicU64,
    /// Part of a head has been received.
    in_head: AtomicBool,
    /// The body of the last request was received in full.
    body_ended: AtomicBool,
    /// The answer to it has begun.
    is_answering: AtomicBool,
    /// The caller supports interim answers (RFC 9110, 15.2): it speaks HTTP/1.1.
    knows_interim: AtomicBool,
}

/// How long a connection may be without a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From the first byte of a head to its end.
    pub(super) head: Duration,
    /// Time without a byte.
    pub(super) idle: Duration,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// A request's head was not completed in time.
    Head,
    Idle,
}

/// A request that is being answered; dropping it marks its end.
#[derive(Debug)]
pub(super) struct Request(Arc<Activity>);

impl Request {
    /// Begins a request on a connection.
    pub(super) fn begin(on: &Arc<Activity>) -> Self {
        on.requests.fetch_add(1, Ordering::Relaxed);
        on.in_head.store(false, Ordering::Relaxed);
        Self(Arc::clone(on))
    }

    /// Its answer begins.
    pub(super) fn answering(&self) {
        self.0.is_answering.store(true, Ordering::Relaxed);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.since.store(self.0.now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Release);
    }
}

impl Activity {
    /// A connection that has just been accepted: the head of its first request is due.
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            requests: AtomicU32::new(0),
            since: AtomicU64::new(0),
            in_head: AtomicBool::new(true),
            body_ended: AtomicBool::new(false),
            is_answering: AtomicBool::new(false),
            knows_interim: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The connection is open, and may now be idle.
    pub(super) fn opened(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
        self.in_head.store(false, Ordering::Relaxed);
    }

    pub(super) fn received(&self) {
        if !self.has_request() && !self.in_head.load(Ordering::Relaxed) {
            self.since.store(self.now(), Ordering::Relaxed);
            self.in_head.store(true, Ordering::Relaxed);
        }
    }

    /// Sets whether the body of the current request was received in full.
    pub(super) fn set_body_ended(&self, ended: bool) {
        self.body_ended.store(ended, Ordering::Relaxed);
    }

    /// A request was received, and its answer has not begun.
    pub(super) fn asked(&self, knows_interim: bool) {
        self.knows_interim.store(knows_interim, Ordering::Relaxed);
        self.is_answering.store(false, Ordering::Relaxed);
    }

    /// Nothing of the answer has been sent, and the caller takes interim ones.
    pub(super) fn takes_interim(&self) -> bool {
        self.knows_interim.load(Ordering::Relaxed) && !self.is_answering()
    }

    /// The answer to the last request has begun.
    pub(super) fn is_answering(&self) -> bool {
        self.is_answering.load(Ordering::Relaxed)
    }

    /// There is a request whose answer has not ended.
    pub(super) fn has_request(&self) -> bool {
        self.requests.load(Ordering::Acquire) > 0
    }

    /// The caller has sent its whole request, and waits.
    pub(super) fn awaits_an_answer(&self) -> bool {
        self.has_request() && self.body_ended.load(Ordering::Relaxed)
    }

    /// Resolves when the connection has to be closed.
    pub(super) async fn expired(&self, timeouts: Timeouts) -> Expired {
        loop {
            match self.due(timeouts, self.now()) {
                Ok(expired) => return expired,
                // Looked at again before anything that begins meanwhile could be due.
                Err(left) => sleep(left.min(timeouts.head)).await,
            }
        }
    }

    /// Why the connection has to be closed now, or how long it still has.
    fn due(&self, timeouts: Timeouts, now: u64) -> Result<Expired, Duration> {
        if self.has_request() {
            return Err(timeouts.idle);
        }
        let (expired, most) = if self.in_head.load(Ordering::Relaxed) {
            (Expired::Head, timeouts.head)
        } else {
            (Expired::Idle, timeouts.idle)
        };
        let passed = Duration::from_millis(now.saturating_sub(self.since.load(Ordering::Relaxed)));
        match most.checked_sub(passed).filter(|left| !left.is_zero()) {
            Some(left) => Err(left),
            None => Ok(expired),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Timeouts = Timeouts { head: Duration::from_secs(30), idle: Duration::from_mins(2) };

    #[test]
    fn a_head_has_less_time_than_a_connection_between_two_requests() {
        let activity = Arc::new(Activity::new());
        assert_eq!(activity.due(PATIENCE, 29_000), Err(Duration::from_secs(1)), "it owes its first head");
        assert_eq!(activity.due(PATIENCE, 30_000), Ok(Expired::Head));
        let request = Request::begin(&activity);
        assert!(activity.due(PATIENCE, 900_000).is_err(), "a request takes as long as it takes");
        activity.received();
        drop(request);
        assert_eq!(activity.due(PATIENCE, 119_000), Err(Duration::from_secs(1)));
        assert_eq!(activity.due(PATIENCE, 121_000), Ok(Expired::Idle));
        activity.received();
        assert_eq!(activity.due(PATIENCE, 31_000), Ok(Expired::Head), "the next head has begun");
        activity.opened();
        assert!(activity.due(PATIENCE, 31_000).is_err(), "it owes nothing");
    }

    #[test]
    fn a_caller_waits_when_all_of_its_request_has_come() {
        let activity = Arc::new(Activity::new());
        activity.set_body_ended(true);
        assert!(!activity.awaits_an_answer(), "there is no request");
        let request = Request::begin(&activity);
        assert!(activity.awaits_an_answer());
        activity.set_body_ended(false);
        assert!(!activity.awaits_an_answer(), "its body is still coming");
        drop(request);
    }
}
