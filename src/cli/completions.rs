//! `sproxy completions`: what a shell needs to complete commands.

use clap::{Args, Command};
use clap_complete::Shell;

use super::error::Error;
use super::output::print;

/// Completions for a shell, to be put where it looks for them
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Runs `sproxy completions` for `command`.
pub fn run(args: &CompletionsArgs, command: &mut Command) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "sproxy", &mut script);
    print(&String::from_utf8_lossy(&script))
}
