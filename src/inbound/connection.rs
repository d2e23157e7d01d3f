//! What the requests of one connection share.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::activity::Activity;
use super::connection_limit::{ConnectionLimit, ConnectionPermit};

pub(super) struct Connection {
    pub(super) caller: SocketAddr,
    pub(super) activity: Arc<Activity>,
    /// Limits how many bodies are drained at once, over all connections.
    pub(super) dropping: Arc<ConnectionLimit>,
    /// Tasks that the server waits for when it closes.
    pub(super) tasks: TaskTracker,
    /// Its place among all; kept by whatever goes on over it.
    pub(super) _permit: ConnectionPermit,
}
