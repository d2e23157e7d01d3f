//! Asking on a terminal before something that cannot be undone.

use std::io::{self, BufRead, IsTerminal};

use super::error::Error;
use super::output::note;

/// Longest answer, bytes.
const LINE_MAX: u64 = 1_000;

/// Asks whether to go on; anything but yes is no. Where nobody can be asked, `instead` says which flags decide.
///
/// # Errors
/// There is no terminal, or it cannot be read.
pub(super) fn confirm(question: &str, instead: &str) -> Result<bool, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::Usage(format!("{question} Nobody can be asked here: {instead}")));
    }
    note(&format!("{question} [y/N]"));
    let mut line = String::new();
    let mut input = io::Read::take(io::stdin().lock(), LINE_MAX);
    input.read_line(&mut line).map_err(Error::io("standard input"))?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}
