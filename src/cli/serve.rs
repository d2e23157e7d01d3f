//! `sproxy serve`: a node.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::error::Error;
use crate::config::{self, LogFormat, Sources};
use crate::node;
use crate::telemetry::log::{self, Format};

/// Run a node
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The configuration file [default: ./sproxy.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// `http.listen`: where to serve; port 0 takes a free one and logs it
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// `node.data_dir`: where the database and the local admin token are kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Serves until it is asked to stop.
///
/// # Errors
/// Everything that is wrong with the configuration, or why the node could not start or go on.
pub async fn run(args: ServeArgs) -> Result<(), Error> {
    let flags = [
        ("http.listen", args.listen.map(|address| address.to_string())),
        ("node.data_dir", args.data_dir.map(|directory| directory.display().to_string())),
    ];
    let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let sources = Sources { file: args.config, flags };
    let config = config::load(&sources)?;
    let format = match config.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let log = log::set_up(&config.log.level, config.log.requests, format).map_err(Error::Usage)?;
    for warning in config::near_misses(&sources) {
        tracing::warn!("{warning}");
    }
    Ok(Box::pin(node::run(config, sources, log.filter())).await?)
}
