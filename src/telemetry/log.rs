//! The log: to standard error, as lines for people or JSON for programs.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::UtcTime;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// One object a line, for programs.
    Json,
}

/// Sets the log up for the whole process. `level` is a level (`info`), or a filter per module
/// (`info,sproxy::cluster=debug`).
///
/// # Errors
/// When it has been set up before, or the filter cannot be read.
pub fn set_up(level: &str, format: Format) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|e| format!("log.level `{level}`: {e}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_timer(UtcTime::rfc_3339());
    let set = match format {
        Format::Json => log.json().try_init(),
        Format::Text => log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
    };
    set.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_by_name() {
        let refused = set_up("info,sproxy=loud", Format::Json).expect_err("no level");
        assert!(refused.starts_with("log.level `info,sproxy=loud`: "), "{refused}");
    }
}
