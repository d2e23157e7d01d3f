//! What the requests of one connection share.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::activity::Activity;
use super::connection_limit::ConnectionLimit;

/// One connection.
pub(super) struct Connection {
    /// Who is at the other end.
    pub(super) caller: SocketAddr,
    /// What it is at.
    pub(super) activity: Arc<Activity>,
    /// Places for bodies that are read to be dropped; of all connections.
    pub(super) dropping: Arc<ConnectionLimit>,
    /// What the server waits for when it closes.
    pub(super) tasks: TaskTracker,
}
