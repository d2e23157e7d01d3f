//! The HTTP/2 connections to one endpoint. A call takes a stream of one that has room; where none has, another
//! connection is opened, up to a bound, and beyond that calls wait for a stream, for a bounded time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::connection::{NOT_TOLD, STREAMS_MAX, open};
use crate::transport::connect::{Connected, MaybeTlsStream};
use crate::transport::error::Error;

/// Connections on which nothing was answered for longer are closed.
const IDLE_MAX: Duration = Duration::from_secs(55);

/// The connections to one endpoint.
pub(in crate::transport) struct Http2Pool {
    state: Mutex<State>,
    /// A stream has been given back, a limit was raised, a connection was opened or could not be.
    changed: Notify,
    connections_max: usize,
    wait_max: Duration,
    /// The last connection turned out to speak HTTP/1.1.
    is_http1: AtomicBool,
}

struct State {
    open: Vec<Arc<PooledConnection>>,
    dialing: usize,
    /// Calls that wait for a stream.
    waiting: usize,
    /// Streams per connection to this endpoint, as the last SETTINGS said.
    streams_per_connection: usize,
    serial: u64,
    /// How often no connection could be opened, and why not the last time.
    failures: u64,
    last_failure: String,
}

/// One connection. It lives on for its streams when it is no longer in the pool.
struct PooledConnection {
    /// Higher for later connections.
    serial: u64,
    sender: SendRequest<Bytes>,
    /// Streams given out.
    in_use: AtomicUsize,
    /// Streams that the other side allows; one until its SETTINGS have come.
    limit: AtomicUsize,
    is_limit_known: AtomicBool,
    written: Arc<AtomicU64>,
    idle_since: Mutex<Instant>,
}

/// The result of acquiring a stream.
pub(in crate::transport) enum Acquired {
    Stream(StreamPermit),
    /// A fresh connection on which, as has turned out, HTTP/1.1 is spoken.
    Http1(MaybeTlsStream),
}

/// What a waiting call has to do next.
enum AcquireStep {
    Stream(Arc<PooledConnection>),
    Failed(String),
    Dial,
    Wait,
}

/// A permit for one stream; dropping it gives it back.
pub(in crate::transport) struct StreamPermit {
    pool: Arc<Http2Pool>,
    connection: Arc<PooledConnection>,
}

impl StreamPermit {
    /// Which connection it is on; later ones have higher numbers.
    pub(in crate::transport) fn serial(&self) -> u64 {
        self.connection.serial
    }

    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.connection.sender.clone()
    }

    /// Counts the bytes written on the connection.
    pub(super) fn written(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.connection.written)
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.pool.give_back(&self.connection);
    }
}

impl PooledConnection {
    fn is_open(&self) -> bool {
        // Without a request of its own waiting, a handle is ready unless the connection has ended or is going to.
        let ready = self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        matches!(ready, Poll::Ready(Ok(())))
    }

    fn has_room(&self) -> bool {
        self.in_use.load(Ordering::Relaxed) < self.limit.load(Ordering::Relaxed)
    }
}

impl State {
    /// A stream of a connection that has room, of one opened after `after`.
    fn take(&mut self, after: Option<u64>) -> Option<Arc<PooledConnection>> {
        loop {
            let at = self
                .open
                .iter()
                .position(|open| after.is_none_or(|after| open.serial > after) && open.has_room())?;
            if self.open[at].is_open() {
                let open = Arc::clone(&self.open[at]);
                open.in_use.fetch_add(1, Ordering::Relaxed);
                return Some(open);
            }
            self.open.remove(at);
        }
    }

    /// Whether those who wait need more connections than are being opened.
    fn needs_another(&self, connections_max: usize) -> bool {
        let wanted = self.waiting.div_ceil(self.streams_per_connection.max(1));
        let fresh = self.open.iter().filter(|open| !open.is_limit_known.load(Ordering::Relaxed)).count();
        self.dialing + fresh < wanted && self.open.len() + self.dialing < connections_max
    }
}

impl Http2Pool {
    /// A pool of at most `connections_max`, in which a call waits at most `wait_max` for a stream.
    pub(in crate::transport) fn new(connections_max: usize, wait_max: Duration) -> Arc<Self> {
        let state = State {
            open: Vec::new(),
            dialing: 0,
            waiting: 0,
            streams_per_connection: STREAMS_MAX as usize,
            serial: 0,
            failures: 0,
            last_failure: String::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            connections_max,
            wait_max,
            is_http1: AtomicBool::new(false),
        })
    }

    /// Whether HTTP/1.1 is what the other side chose the last time.
    pub(in crate::transport) fn is_http1(&self) -> bool {
        self.is_http1.load(Ordering::Relaxed)
    }

    /// Open connections, and calls that wait for a stream.
    pub(in crate::transport) fn gauges(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.open.len(), state.waiting)
    }

    /// A stream; of a connection opened after the one with the serial `after`, where a call has met that one's end.
    /// `dial` makes a fresh connection.
    ///
    /// # Errors
    /// [`Error::Connect`] when no connection can be had, [`Error::NoStream`] when none had room in time.
    pub(in crate::transport) async fn acquire<D>(
        self: &Arc<Self>,
        after: Option<u64>,
        dial: impl Fn() -> D,
    ) -> Result<Acquired, Error>
    where
        D: Future<Output = Result<Connected, String>>,
    {
        let taken = self.state.lock().take(after);
        if let Some(connection) = taken {
            return Ok(Acquired::Stream(self.permit(connection)));
        }
        let deadline = Instant::now() + self.wait_max;
        let waiting = Waiting::begin(self);
        let failures = self.state.lock().failures;
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.look(after, failures) {
                AcquireStep::Stream(connection) => return Ok(Acquired::Stream(self.permit(connection))),
                AcquireStep::Failed(reason) => return Err(Error::Connect(reason)),
                AcquireStep::Dial => {
                    drop(waiting);
                    return self.open_another(dial()).await;
                }
                AcquireStep::Wait => {}
            }
            let in_time = timeout_at(deadline, changed).await;
            in_time.map_err(|_| Error::NoStream(self.wait_max))?;
        }
    }

    /// What a waiting call should do, for which `failures` were known when it began to wait.
    fn look(&self, after: Option<u64>, failures: u64) -> AcquireStep {
        let mut state = self.state.lock();
        if let Some(connection) = state.take(after) {
            return AcquireStep::Stream(connection);
        }
        if state.failures != failures && state.open.is_empty() {
            return AcquireStep::Failed(state.last_failure.clone());
        }
        if self.is_http1() || state.needs_another(self.connections_max) {
            state.dialing += 1;
            return AcquireStep::Dial;
        }
        AcquireStep::Wait
    }

    async fn open_another(
        self: &Arc<Self>,
        dialled: impl Future<Output = Result<Connected, String>>,
    ) -> Result<Acquired, Error> {
        let dialing = Dialing(self);
        match dialled.await {
            Ok(Connected::Http2(stream)) => {
                let added = self.add(stream).await;
                drop(dialing);
                added.map(Acquired::Stream)
            }
            Ok(Connected::Http1(stream)) => {
                self.is_http1.store(true, Ordering::Relaxed);
                Ok(Acquired::Http1(stream))
            }
            Err(reason) => Err(self.failed(reason)),
        }
    }

    /// Takes a fresh connection in, and its first stream for the caller.
    ///
    /// # Errors
    /// [`Error::Connect`] when the other side does not speak HTTP/2 after all.
    pub(in crate::transport) async fn add(
        self: &Arc<Self>,
        stream: MaybeTlsStream,
    ) -> Result<StreamPermit, Error> {
        let (sender, driver, written) = open(stream).await.map_err(|error| self.failed(error.to_string()))?;
        self.is_http1.store(false, Ordering::Relaxed);
        let connection = {
            let mut state = self.state.lock();
            state.serial += 1;
            let connection = Arc::new(PooledConnection {
                serial: state.serial,
                sender,
                in_use: AtomicUsize::new(1),
                limit: AtomicUsize::new(1),
                is_limit_known: AtomicBool::new(false),
                written,
                idle_since: Mutex::new(Instant::now()),
            });
            state.open.push(Arc::clone(&connection));
            connection
        };
        // The task ends with the connection: at the latest when neither this pool nor a stream holds on to it.
        let (pool, carrier) = (Arc::downgrade(self), Arc::downgrade(&connection));
        let busy = carrier.clone();
        let (owner, serial) = (Arc::downgrade(self), connection.serial);
        let running = driver.run(
            move |limit| {
                if let (Some(pool), Some(connection)) = (pool.upgrade(), carrier.upgrade()) {
                    pool.set_limit(&connection, limit);
                }
            },
            move || busy.upgrade().is_some_and(|connection| connection.in_use.load(Ordering::Relaxed) > 0),
        );
        #[allow(
            clippy::disallowed_methods,
            reason = "it ends with its connection, which the pool and its streams own"
        )]
        tokio::spawn(async move {
            running.await;
            if let Some(pool) = owner.upgrade() {
                pool.state.lock().open.retain(|open| open.serial != serial);
                pool.changed.notify_waiters();
            }
        });
        Ok(self.permit(connection))
    }

    /// Closes connections on which nothing happens. Idempotent; the caller ticks it.
    pub(in crate::transport) fn close_idle(&self) {
        let mut state = self.state.lock();
        state.open.retain(|open| {
            let is_idle =
                open.in_use.load(Ordering::Relaxed) == 0 && open.idle_since.lock().elapsed() > IDLE_MAX;
            !is_idle && open.is_open()
        });
    }

    fn permit(self: &Arc<Self>, connection: Arc<PooledConnection>) -> StreamPermit {
        StreamPermit { pool: Arc::clone(self), connection }
    }

    fn give_back(&self, connection: &PooledConnection) {
        *connection.idle_since.lock() = Instant::now();
        connection.in_use.fetch_sub(1, Ordering::Relaxed);
        if self.state.lock().waiting > 0 {
            self.changed.notify_one();
        }
    }

    fn set_limit(&self, connection: &PooledConnection, limit: usize) {
        if limit == NOT_TOLD {
            return;
        }
        let limit = limit.min(STREAMS_MAX as usize);
        let is_news = !connection.is_limit_known.swap(true, Ordering::Relaxed);
        if connection.limit.swap(limit, Ordering::Relaxed) != limit || is_news {
            self.state.lock().streams_per_connection = limit;
            self.changed.notify_waiters();
        }
    }

    fn failed(&self, reason: String) -> Error {
        let mut state = self.state.lock();
        state.failures += 1;
        state.last_failure.clone_from(&reason);
        Error::Connect(reason)
    }
}

/// A call that waits for a stream.
struct Waiting<'p>(&'p Http2Pool);

impl<'p> Waiting<'p> {
    fn begin(pool: &'p Http2Pool) -> Self {
        pool.state.lock().waiting += 1;
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.waiting -= 1;
        // What this call was told of, another may be waiting for.
        if state.waiting > 0 {
            self.0.changed.notify_one();
        }
    }
}

/// A connection that is being opened. However that ends, waiting calls are woken.
struct Dialing<'p>(&'p Http2Pool);

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        self.0.state.lock().dialing -= 1;
        self.0.changed.notify_waiters();
    }
}
