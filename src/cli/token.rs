//! `sproxy token`: an access token for a program that asks for one, and nothing beside it.

use clap::Args;

use super::agent_key::AgentKey;
use super::error::Error;
use super::logins::Login;
use super::output::print;

/// Print a valid access token, for Claude Code's `apiKeyHelper`, Codex' `auth.command` and scripts
#[derive(Debug, Args)]
#[command(
    after_help = "Any number of these may run at once; one of them refreshes the session when its token is near its end."
)]
pub struct TokenArgs {
    /// The server that the token is for [default: that of the last login]
    #[arg(long, env = "SPROXY_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The key of this machine's agent instead, for clients that call through it
    #[arg(long)]
    agent: bool,
}

pub async fn run(args: TokenArgs) -> Result<(), Error> {
    if args.agent {
        return print(AgentKey::read()?.key.expose());
    }
    let server = args.server.as_deref().filter(|server| !server.is_empty());
    let token = Login::required(server)?.access_token().await?;
    print(token.expose())
}
