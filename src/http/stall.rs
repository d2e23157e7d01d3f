//! Callers that take nothing of their answer. Each holds a place in the ledger, a connection to a provider and its part
//! of the memory; after `http.stall_timeout` they are cut.
//!
//! Over HTTP/1.1 such a caller's connection takes no more bytes, and the system closes it (`inbound`). Over HTTP/2 the
//! connection takes them, but the caller gives its stream no window: hyper does not ask the answer's body for more, and
//! so does not wake it either. Such bodies are checked from outside ([`StallDetector`]), and what they hold is dropped.

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

/// Finds answers on HTTP/2 streams that wait for their caller for too long, and cuts them.
pub struct StallDetector<B> {
    limit: Duration,
    epoch: Instant,
    next: AtomicU64,
    bodies: Mutex<HashMap<u64, Arc<TrackedBody<B>>, foldhash::fast::RandomState>>,
}

struct TrackedBody<B> {
    /// `None` once it was cut.
    body: Mutex<Option<B>>,
    /// When the caller last took something, milliseconds; [`NOT_WAITING_FOR_CALLER`] while the body waits for more itself.
    last_progress_ms: AtomicU64,
}

const NOT_WAITING_FOR_CALLER: u64 = u64::MAX;

/// The caller read nothing for so long.
#[derive(Debug, thiserror::Error)]
#[error("the caller has taken nothing of its answer for {0:?}")]
pub struct Stalled(Duration);

/// A body whose progress is tracked.
pub struct Tracked<B> {
    entry: Arc<TrackedBody<B>>,
    number: u64,
    stall_detector: Arc<StallDetector<B>>,
}

impl<B> StallDetector<B> {
    /// Watches nothing yet.
    #[must_use]
    pub fn new(limit: Duration) -> Arc<Self> {
        Arc::new(Self { limit, epoch: Instant::now(), next: AtomicU64::new(0), bodies: Mutex::default() })
    }

    /// Wraps a body, which is tracked until it is dropped.
    pub fn track(self: &Arc<Self>, body: B) -> Tracked<B> {
        let tracked = Arc::new(TrackedBody {
            body: Mutex::new(Some(body)),
            last_progress_ms: AtomicU64::new(self.now()),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.bodies.lock().insert(number, Arc::clone(&tracked));
        Tracked { entry: tracked, number, stall_detector: Arc::clone(self) }
    }

    /// Checks the tracked bodies periodically, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = interval((self.limit / 4).clamp(Duration::from_millis(10), Duration::from_secs(5)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.cut_stalled(),
                () = stop.cancelled() => return,
            }
        }
    }

    fn cut_stalled(&self) {
        let limit = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        let Some(before) = self.now().checked_sub(limit) else { return };
        let is_stalled = |tracked: &TrackedBody<B>| tracked.last_progress_ms.load(Ordering::Acquire) < before;
        let open = self.bodies.lock();
        let stalled: Vec<_> = open.values().filter(|tracked| is_stalled(tracked)).cloned().collect();
        drop(open);
        for tracked in stalled {
            // Who has just been asked for more is not stalled any more.
            let Some(mut body) = tracked.body.try_lock() else { continue };
            if is_stalled(&tracked) {
                tracing::debug!(limit = ?self.limit, "a caller takes nothing of its answer and is cut");
                let taken = body.take();
                tracked.last_progress_ms.store(NOT_WAITING_FOR_CALLER, Ordering::Release);
                drop(body);
                drop(taken);
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

impl<B> Drop for Tracked<B> {
    fn drop(&mut self) {
        self.stall_detector.bodies.lock().remove(&self.number);
    }
}

impl<B> HttpBody for Tracked<B>
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
        let mut body = self.entry.body.lock();
        let Some(inner) = body.as_mut() else {
            return Poll::Ready(Some(Err(Stalled(self.stall_detector.limit).into())));
        };
        let polled = Pin::new(inner).poll_frame(cx);
        let last_progress_ms =
            if polled.is_ready() { self.stall_detector.now() } else { NOT_WAITING_FOR_CALLER };
        self.entry.last_progress_ms.store(last_progress_ms, Ordering::Release);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.entry.body.lock().as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.entry.body.lock().as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
