//! A node from its first to its last moment: bind → build → run → leave.

mod alerts;
pub mod allocator;
mod background;
mod backups;
mod body_memory;
mod build;
mod data_dir_lock;
mod database;
mod emergency;
mod error;
mod fd_limit;
mod first_start;
mod identity;
mod leaders;
mod limits;
mod local_address;
mod metrics;
pub mod migration;
mod promotion;
mod reload;
pub mod restore;
mod role;
mod set_aside;
mod shared_parts;
mod signals;
mod supervisor;
mod telemetry;
mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use data_dir_lock::is_taken;
pub use error::Error;
pub use local_address::LocalAddress;
pub use supervisor::EndedEarly;

use tokio::time::sleep;

use crate::config::{self, Config, Sources};
use crate::telemetry::log::Filter;
use build::{Bound, Node};
use signals::Signals;
use supervisor::Leave;

/// A node whose database went away while it started begins again after so long.
const START_AGAIN: Duration = Duration::from_millis(500);
/// So often in a row; each time it waits for its database first, and finds it.
const STARTS_AGAIN_MAX: u32 = 20;
/// What has to let go of the database before a node begins anew in its other role may take so long.
const RELEASE_MAX: Duration = Duration::from_secs(10);

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
    let mut starts_again = 0;
    let ended = loop {
        let bound = Bound::default();
        let building =
            Node::build(config.clone(), sources.clone(), filter.clone(), signals.reloads(), &bound);
        let built = tokio::select! {
            built = building => built,
            () = signals.asked(1) => return Ok(()),
        };
        let node = match built {
            Ok(node) => node,
            // It was there when the node began.
            Err(error) if error.is_away() && is_on_server(&config) && starts_again < STARTS_AGAIN_MAX => {
                starts_again += 1;
                tracing::warn!(%error, "the database went away while the node started: it starts again");
                bound.keep(&mut config);
                tokio::select! {
                    () = sleep(START_AGAIN) => continue,
                    () = signals.asked(1) => return Ok(()),
                }
            }
            Err(error) => return Err(error),
        };
        starts_again = 0;
        tracing::info!(
            node = %node.id,
            http = %node.http,
            grpc = node.grpc.map(|address: SocketAddr| address.to_string()),
            version = env!("CARGO_PKG_VERSION"),
            "ready"
        );
        let (http, grpc) = (node.http, node.grpc);
        let role_change = node.role_change.clone();
        let asked = async {
            tokio::select! {
                () = signals.asked(1) => {}
                () = role_change.cancelled() => {}
            }
        };
        let ended = node.supervisor.run(asked, signals.asked(2), leave).await;
        let changes_role = ended.is_ok() && role_change.is_cancelled() && !signals.was_asked();
        let lock = Arc::downgrade(&node.lock);
        drop((node.lock, node.data_dir));
        if !changes_role {
            break ended;
        }
        // What was given up may hold on to the database for a moment.
        let begun = Instant::now();
        while lock.strong_count() > 0 {
            if begun.elapsed() > RELEASE_MAX {
                return Err(Error::Unusable(
                    "the node has to be started again to begin its other role".to_owned(),
                ));
            }
            sleep(Duration::from_millis(10)).await;
        }
        tracing::info!("begins anew, in its other role");
        match config::load(&sources) {
            Ok(read) => config = read,
            Err(error) => {
                tracing::error!(%error, "the configuration cannot be read again; the node goes by what it was");
            }
        }
        // It comes back where it was.
        config.http.listen = http;
        config.cluster.listen = grpc.unwrap_or(config.cluster.listen);
        config.http.max_connections = fd_limit::fit(config.http.max_connections);
    };
    watching.abort();
    ended.map_err(Error::EndedEarly)
}

fn is_on_server(config: &Config) -> bool {
    matches!(config.store.database, config::Database::Postgres(_))
}
