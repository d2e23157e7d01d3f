//! What every admin command takes: which node to talk to, what to prove oneself with, how to print.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::client::Client;
use super::error::Error;
use super::http_client::is_local;
use super::logins::Login;
use super::output::Output;
use crate::config::{self, Secret};
use crate::node::{self, LocalAddress};

/// The file in a leader's data directory that holds its local admin token.
const TOKEN_FILE: &str = "admin.token";

/// Flags of every admin command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Node")]
pub struct Session {
    /// The node to talk to [default: this machine's]
    #[arg(long, global = true, env = "SPROXY_SERVER", value_name = "URL")]
    server: Option<String>,
    /// An admin's API key or access token [default: the local admin token]
    #[arg(long, global = true, env = "SPROXY_TOKEN", hide_env_values = true, value_parser = secret, value_name = "TOKEN")]
    token: Option<Secret>,
    /// This machine's node, by its data directory [default: of the configuration here]
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
    /// A client that talks to the node. What is given goes first, then the local admin token of this machine's node, then
    /// the login of whoever has signed in.
    ///
    /// # Errors
    /// [`Error::Usage`] for a server that is no URL, when there is nothing to prove oneself with, or when a local admin
    /// token would go to another node than its own.
    pub fn client(&self) -> Result<Client, Error> {
        let directory = self.data_dir.clone().unwrap_or_else(config::data_dir);
        let server = self.server.as_deref().filter(|server| !server.is_empty());
        let token = self.token.clone().filter(|token| !token.expose().is_empty());
        match (token, server) {
            (Some(token), Some(server)) => Client::new(server, token),
            (Some(token), None) => Client::of_local(&expected_at(&directory), token),
            (None, Some(server)) if self.data_dir.is_none() && !is_local(server) => {
                Client::new(server, Secret::new(""))?;
                match Login::find(Some(server))? {
                    Some(login) => Client::of_login(login),
                    None => Err(Error::Usage(format!(
                        "nothing to prove yourself to {server} with: sign in with `sproxy login --server {server}`, or {GIVE}"
                    ))),
                }
            }
            (None, server) => match of_directory(&directory, server) {
                Err(reason) if self.data_dir.is_none() => {
                    // Where there is no place for logins there is none.
                    Login::find(server).ok().flatten().map_or(Err(reason), Client::of_login)
                }
                found => found,
            },
        }
    }

    /// Where results go.
    #[must_use]
    pub fn output(&self) -> Output {
        Output::new(self.json)
    }
}

const GIVE: &str = "give an admin's API key or access token with --token or SPROXY_TOKEN";

/// A client with the local admin token of a data directory, which is for that directory's node alone.
fn of_directory(directory: &Path, server: Option<&str>) -> Result<Client, Error> {
    let token = local_token(directory)?;
    let node = LocalAddress::read(directory).filter(|_| node::is_taken(directory)).ok_or_else(|| {
        Error::Refused(format!(
            "no node runs on {}, and the admin token there is for its node alone: start it with `sproxy serve`, name \
             another directory with --data-dir, or {GIVE}",
            directory.display()
        ))
    })?;
    match server {
        Some(server) if !node.is(server) => {
            Client::new(server, Secret::new(""))?;
            Err(Error::Usage(format!(
                "the admin token in {} is for the node at {} and goes nowhere else: leave --server out, or {GIVE} for \
                 {server}",
                directory.display(),
                node.url()
            )))
        }
        _ => Client::of_local(&node, token),
    }
}

/// Where this machine's node is: where it says, else where the configuration here has it.
fn expected_at(directory: &Path) -> LocalAddress {
    LocalAddress::read(directory).filter(|_| node::is_taken(directory)).unwrap_or_else(|| {
        let (listen, tls_cert) = config::listen();
        let listen = listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9000)));
        LocalAddress::new(listen, tls_cert.as_deref())
    })
}

fn local_token(directory: &Path) -> Result<Secret, Error> {
    let path = directory.join(TOKEN_FILE);
    let text = std::fs::read_to_string(&path).map_err(|reason| {
        Error::Usage(format!(
            "no local admin token ({}: {reason}): give the leader's data directory with --data-dir, or {GIVE}",
            path.display()
        ))
    })?;
    Ok(Secret::new(text.trim()))
}
