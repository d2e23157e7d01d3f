//! Callers that take nothing of their answer. Each holds a place in the ledger, a connection to a provider and its part
//! of the memory; after `http.stall_timeout` they are cut.
//!
//! Over HTTP/1.1 such a caller's connection takes no more bytes, and the system closes it (`inbound`). Over HTTP/2 the
//! connection takes them, but the caller gives its stream no window: hyper does not ask the answer's body for more, and
//! so does not wake it either. Such bodies are looked at from outside ([`Stalls`]), and what they hold is taken from
//! them.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// The answers on HTTP/2 streams, and which of them wait for their caller.
pub struct Stalls<B> {
    limit: Duration,
    since: Instant,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Watched<B>>, foldhash::fast::RandomState>>,
}

struct Watched<B> {
    /// `None` once it was taken away.
    body: Mutex<Option<B>>,
    /// When the caller last took something, milliseconds; [`NOT_THE_CALLER`] while the body waits for more itself.
    given_at: AtomicU64,
}

const NOT_THE_CALLER: u64 = u64::MAX;

/// The caller read nothing for so long.
#[derive(Debug, thiserror::Error)]
#[error("the caller has taken nothing of its answer for {0:?}")]
pub struct Stalled(Duration);

/// A body whose progress is watched.
pub struct Observed<B> {
    watched: Arc<Watched<B>>,
    number: u64,
    stalls: Arc<Stalls<B>>,
}

impl<B> Stalls<B> {
    /// Watches nothing yet.
    #[must_use]
    pub fn new(limit: Duration) -> Arc<Self> {
        Arc::new(Self { limit, since: Instant::now(), next: AtomicU64::new(0), open: Mutex::default() })
    }

    /// Wraps a body, which is watched until it is dropped.
    pub fn observe(self: &Arc<Self>, body: B) -> Observed<B> {
        let watched =
            Arc::new(Watched { body: Mutex::new(Some(body)), given_at: AtomicU64::new(self.now()) });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(number, Arc::clone(&watched));
        Observed { watched, number, stalls: Arc::clone(self) }
    }

    /// Checks the watched bodies periodically, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = interval((self.limit / 4).clamp(Duration::from_millis(10), Duration::from_secs(5)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.take_away(),
                () = stop.cancelled() => return,
            }
        }
    }

    fn take_away(&self) {
        let limit = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        let Some(before) = self.now().checked_sub(limit) else { return };
        let is_stalled = |watched: &Watched<B>| watched.given_at.load(Ordering::Acquire) < before;
        let open = self.open.lock();
        let stalled: Vec<_> = open.values().filter(|watched| is_stalled(watched)).cloned().collect();
        drop(open);
        for watched in stalled {
            // Who has just been asked for more is not stalled any more.
            let Some(mut body) = watched.body.try_lock() else { continue };
            if is_stalled(&watched) {
                tracing::debug!(limit = ?self.limit, "a caller takes nothing of its answer and is cut");
                let taken = body.take();
                watched.given_at.store(NOT_THE_CALLER, Ordering::Release);
                drop(body);
                drop(taken);
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

impl<B> Drop for Observed<B> {
    fn drop(&mut self) {
        self.stalls.open.lock().remove(&self.number);
    }
}

impl<B> HttpBody for Observed<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: From<Stalled>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut body = self.watched.body.lock();
        let Some(inner) = body.as_mut() else {
            return Poll::Ready(Some(Err(Stalled(self.stalls.limit).into())));
        };
        let polled = Pin::new(inner).poll_frame(cx);
        let given_at = if polled.is_ready() { self.stalls.now() } else { NOT_THE_CALLER };
        self.watched.given_at.store(given_at, Ordering::Release);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.watched.body.lock().as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.watched.body.lock().as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
