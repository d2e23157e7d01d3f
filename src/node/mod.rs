//! A node from its first to its last moment: bind → build → run → leave.

pub mod allocator;
mod body_memory;
mod build;
mod data_dir_lock;
mod database;
mod emergency;
mod error;
mod fd_limit;
mod identity;
mod leaders;
mod limits;
mod local_address;
mod metrics;
mod reload;
mod role;
mod signals;
mod supervisor;
mod waiting;

use std::net::SocketAddr;

pub use data_dir_lock::is_taken;
pub use error::Error;
pub use local_address::LocalAddress;
pub use supervisor::EndedEarly;

use crate::config::{Config, Sources};
use crate::telemetry::log::Filter;
use build::Node;
use signals::Signals;
use supervisor::Leave;

/// Runs a node until it is asked to leave. `sources` are what its configuration was read from, and is read from again;
/// `filter` is what the process logs by.
///
/// # Errors
/// Whatever keeps it from starting, or a task of it that ended early.
pub async fn run(mut config: Config, sources: Sources, filter: Filter) -> Result<(), Error> {
    let leave = Leave { delay: config.http.shutdown_delay, at_most: config.http.shutdown_timeout };
    config.http.max_connections = fd_limit::fit(config.http.max_connections);
    let (signals, watching) = Signals::listen().map_err(Error::Signals)?;
    #[allow(clippy::disallowed_methods, reason = "ended below, when the node has left")]
    let watching = tokio::spawn(watching);
    let node = tokio::select! {
        built = Node::build(config, sources, filter, signals.reloads()) => built?,
        () = signals.asked(1) => return Ok(()),
    };
    tracing::info!(
        node = %node.id,
        http = %node.http,
        grpc = node.grpc.map(|address: SocketAddr| address.to_string()),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    let ended = node.supervisor.run(signals.asked(1), signals.asked(2), leave).await;
    drop((node.lock, node.data_dir));
    watching.abort();
    ended.map_err(Error::EndedEarly)
}
