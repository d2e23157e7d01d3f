//! The threads that serve connections: one per core, each with a runtime of its own. A request goes its whole way on
//! one of them, so that no other thread has to be woken for it; what a shared pool of threads spends on handing tasks
//! around is a good part of what a small request costs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The lanes; they end with this value, and what they still serve ends with them.
pub struct Lanes(Vec<Lane>);

struct Lane {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// The lane's thread runs until this is dropped.
    _open: oneshot::Sender<()>,
}

/// A connection's place on a lane.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lanes {
    /// A lane for each core that this process may use.
    ///
    /// # Errors
    /// When the system gives no more threads or descriptors.
    pub fn start() -> io::Result<Self> {
        let cores = thread::available_parallelism()?.get();
        (0..cores).map(Lane::start).collect::<Result<_, _>>().map(Self)
    }

    /// Serves a connection on the lane that has the fewest. They stay where they are: with long streams and kept
    /// connections their number is what is known of the load they will be.
    pub fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(lane) = self.0.iter().min_by_key(|lane| lane.connections.load(Ordering::Relaxed)) else {
            return;
        };
        lane.connections.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&lane.connections));
        lane.runtime.spawn(async move {
            connection.await;
            drop(place);
        });
    }
}

impl Lane {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (open, closed) = oneshot::channel();
        let run = move || {
            let _all_gone = runtime.block_on(closed);
        };
        thread::Builder::new().name(format!("lane-{number}")).spawn(run)?;
        Ok(Self { runtime: handle, connections: Arc::default(), _open: open })
    }
}
