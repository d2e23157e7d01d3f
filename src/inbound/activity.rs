//! What a connection is at, and since when: the one place that its deadlines are read from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// One connection's requests and silences. Written by whoever reads bytes and serves requests, on any thread; a timer
/// looks now and then, so that a request costs a look at the clock and no timer of its own.
#[derive(Debug)]
pub(super) struct Activity {
    begun: Instant,
    /// Requests whose answer has not ended, and refused bodies that are still coming.
    requests: AtomicU32,
    /// When it last became without a request, or the first byte of the next request's head came; milliseconds.
    since: AtomicU64,
    /// Bytes of a head have come that is not complete.
    in_head: AtomicBool,
    /// The body of the last request has come to its end.
    body_ended: AtomicBool,
    /// The answer to it has begun.
    is_answering: AtomicBool,
    /// Its caller knows interim answers (RFC 9110, 15.2): it speaks HTTP/1.1.
    knows_interim: AtomicBool,
}

/// How long a connection may be without a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From the first byte of a head to its end.
    pub(super) head: Duration,
    /// Without a byte.
    pub(super) idle: Duration,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// A request's head did not come to its end.
    Head,
    /// There was no request.
    Idle,
}

/// A request that is being answered; its drop says that it has been.
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
    /// A connection that has just been accepted, and owes the head of its first request.
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

    /// It has opened as it should, and may now be without a request.
    pub(super) fn opened(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
        self.in_head.store(false, Ordering::Relaxed);
    }

    /// Bytes came.
    pub(super) fn received(&self) {
        if !self.has_request() && !self.in_head.load(Ordering::Relaxed) {
            self.since.store(self.now(), Ordering::Relaxed);
            self.in_head.store(true, Ordering::Relaxed);
        }
    }

    /// The body of the request that is being answered has come to its end, or has not yet.
    pub(super) fn set_body_ended(&self, ended: bool) {
        self.body_ended.store(ended, Ordering::Relaxed);
    }

    /// A request has come, and its answer is yet to begin.
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

    /// A caller has sent all that it will, and waits.
    pub(super) fn awaits_an_answer(&self) -> bool {
        self.has_request() && self.body_ended.load(Ordering::Relaxed)
    }

    /// Done when it has been without a request for too long.
    pub(super) async fn expired(&self, timeouts: Timeouts) -> Expired {
        loop {
            match self.due(timeouts, self.now()) {
                Ok(expired) => return expired,
                // Looked at again before anything that begins meanwhile could be due.
                Err(left) => sleep(left.min(timeouts.head)).await,
            }
        }
    }

    /// Why it is to end now, or how long it still has.
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
