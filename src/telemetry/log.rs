//! The log: to standard error, as lines for people or JSON for programs.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::UtcTime;

use crate::config::{LogConfig, LogFormat};

/// Sets the log up for the whole process.
///
/// # Errors
/// When it has been set up before, or the filter cannot be read.
pub fn set_up(config: &LogConfig) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(&config.level).map_err(|e| format!("log.level `{}`: {e}", config.level))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_timer(UtcTime::rfc_3339());
    let set = match config.format {
        LogFormat::Json => log.json().try_init(),
        LogFormat::Text => log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
    };
    set.map_err(|e| e.to_string())
}
