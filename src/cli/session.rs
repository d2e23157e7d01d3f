//! What every admin command takes: which node to talk to, what to prove oneself with, how to print.

use std::path::{Path, PathBuf};

use clap::Args;

use super::client::{Client, is_local};
use super::error::Error;
use super::output::Output;
use crate::config::{self, Secret};

/// The file in a leader's data directory that holds its local admin token.
const TOKEN_FILE: &str = "admin.token";

/// Flags of every admin command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Node")]
pub struct Session {
    /// The node to talk to
    #[arg(
        long,
        global = true,
        env = "SPROXY_SERVER",
        default_value = "http://127.0.0.1:9000",
        value_name = "URL"
    )]
    server: String,
    /// An admin's API key or access token; without it, the local admin token in the data directory is used
    #[arg(long, global = true, env = "SPROXY_TOKEN", hide_env_values = true, value_parser = secret, value_name = "TOKEN")]
    token: Option<Secret>,
    /// The leader's data directory on this machine; its default is `node.data_dir` of the configuration here
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
}

#[allow(clippy::unnecessary_wraps, reason = "what clap calls has to be able to fail")]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

impl Session {
    /// A client that talks to the node.
    ///
    /// # Errors
    /// [`Error::Usage`] for a server that is no URL, or when there is nothing to prove oneself with.
    pub fn client(&self) -> Result<Client, Error> {
        Client::new(&self.server, self.credential()?)
    }

    /// Where results go.
    #[must_use]
    pub fn output(&self) -> Output {
        Output::new(self.json)
    }

    fn credential(&self) -> Result<Secret, Error> {
        if let Some(token) = self.token.as_ref().filter(|token| !token.expose().is_empty()) {
            return Ok(token.clone());
        }
        match &self.data_dir {
            Some(directory) => local_token(directory),
            // Found without being asked for, the token of this machine's node goes nowhere else.
            None if !is_local(&self.server) => Err(Error::Usage(format!(
                "nothing to prove yourself to {} with: give an admin's API key or access token with --token or SPROXY_TOKEN",
                self.server
            ))),
            None => local_token(&config::data_dir()),
        }
    }
}

fn local_token(directory: &Path) -> Result<Secret, Error> {
    let path = directory.join(TOKEN_FILE);
    let text = std::fs::read_to_string(&path).map_err(|reason| {
        Error::Usage(format!(
            "no local admin token ({}: {reason}): give the leader's data directory with --data-dir, or an admin's API key or access token with --token or SPROXY_TOKEN",
            path.display()
        ))
    })?;
    Ok(Secret::new(text.trim()))
}
