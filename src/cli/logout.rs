//! `sproxy logout`: the end of the session that this machine keeps.

use clap::Args;

use super::error::Error;
use super::logins::Login;
use super::output::{note, print};

/// Flags of `sproxy logout`.
#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// The server to sign out of [default: that of the last login]
    #[arg(long, env = "SPROXY_SERVER", value_name = "URL")]
    server: Option<String>,
}

pub async fn run(args: LogoutArgs) -> Result<(), Error> {
    let server = args.server.as_deref().filter(|server| !server.is_empty());
    let login = Login::required(server)?;
    if let Err(reason) = login.end().await {
        note(&format!(
            "the server was not told ({reason}): the session is forgotten here and ends there when its tokens expire; an \
             admin can end it with `sproxy user revoke`"
        ));
    }
    print(&format!("signed out of {}", login.server()))
}
