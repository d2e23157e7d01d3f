//! `sproxy login`: at a browser by device login where the server has one (RFC 8628), or with a password.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::error::Error;
use super::http_client::is_local;
use super::logins::{DeviceAuthorization, KeepIn, Login, Metadata, Poll, SignIn, Tokens, server_name};
use super::output::{note, print};
use super::passwords;
use crate::domain::clock::{Clock, SystemClock, Timestamp};

/// What RFC 8628 adds to the wait of whoever asks too often.
const SLOWER_BY: Duration = Duration::from_secs(5);

/// Flags of `sproxy login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The address of your gateway, such as <https://llm.example.com> [default: that of the last login]
    #[arg(long, env = "SPROXY_SERVER", value_name = "URL")]
    server: Option<String>,
    /// Ask for a password instead of sending you to a browser
    #[arg(long)]
    password: bool,
    /// Read the password from the first line of standard input
    #[arg(long, conflicts_with = "password")]
    password_stdin: bool,
    /// Your name at the gateway, for a password [default: your name on this machine]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only print the address, do not open a browser
    #[arg(long)]
    no_browser: bool,
    /// Authorities to trust besides the system's, as PEM: such as your company's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Where the session's refresh token is kept
    #[arg(long, env = "SPROXY_KEEP_IN", value_enum, default_value_t, value_name = "PLACE")]
    keep_in: KeepIn,
}

pub async fn run(args: LoginArgs) -> Result<(), Error> {
    let server = match args.server.as_deref().filter(|server| !server.is_empty()) {
        Some(server) => server_name(server)?,
        None => Login::find(None)?.map(|login| login.server().to_owned()).ok_or_else(|| {
            Error::Usage("name your gateway: `sproxy login --server https://llm.example.com`".to_owned())
        })?,
    };
    if server.starts_with("http://") && !is_local(&server) {
        note(&format!("{server} is not encrypted: whoever is on the way can read your token"));
    }
    let ca_file = args.ca_file.as_deref().map(std::path::absolute).transpose();
    let ca_file = ca_file.map_err(Error::io("--ca-file"))?;
    if args.keep_in == KeepIn::Keychain {
        Login::check_keychain(&server).await?;
    }
    let sign_in = SignIn::at(&server, ca_file.as_deref())?;
    let metadata = if args.password || args.password_stdin { None } else { sign_in.metadata().await? };
    let (tokens, asked_at) = match metadata {
        Some(metadata) => by_device(&sign_in, &metadata, !args.no_browser).await?,
        None => by_password(&sign_in, &server, &args).await?,
    };
    let user = sign_in.whoami(&tokens.access_token).await?;
    let (login, failure) =
        Login::keep(&server, user.clone(), tokens, asked_at, ca_file, args.keep_in).await?;
    let reason = failure.map(|failure| format!(": {failure}")).unwrap_or_default();
    note(&format!("the refresh token is kept in {}{reason}", login.standing()?.kept_in));
    print(&format!("signed in to {} as {user}", login.server()))
}

async fn by_password(sign_in: &SignIn, server: &str, args: &LoginArgs) -> Result<(Tokens, Timestamp), Error> {
    let own = || ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok());
    let user = args.user.clone().or_else(own).filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| Error::Usage("name yourself with --user NAME".to_owned()))?;
    let password =
        if args.password_stdin { passwords::from_stdin()? } else { passwords::ask_present(&user, server)? };
    let asked_at = SystemClock.now();
    Ok((sign_in.login(&user, &password).await?, asked_at))
}

async fn by_device(
    sign_in: &SignIn,
    metadata: &Metadata,
    browser: bool,
) -> Result<(Tokens, Timestamp), Error> {
    let device = sign_in.authorize_device(metadata).await?;
    note(&format!(
        "Open {} in a browser, sign in, and confirm this code:\n\n    {}\n",
        device.verification_uri, device.user_code
    ));
    let address = device.verification_uri_complete.as_deref().unwrap_or(&device.verification_uri);
    if browser {
        open_browser(address);
    }
    wait_for_grant(sign_in, metadata, &device).await
}

async fn wait_for_grant(
    sign_in: &SignIn,
    metadata: &Metadata,
    device: &DeviceAuthorization,
) -> Result<(Tokens, Timestamp), Error> {
    let expired =
        || Error::Refused("nobody has confirmed the code in time: run `sproxy login` again".to_owned());
    let end = Instant::now() + Duration::from_secs(device.expires_in);
    let mut wait = device.interval();
    loop {
        if Instant::now() + wait > end {
            return Err(expired());
        }
        sleep(wait).await;
        let asked_at = SystemClock.now();
        match sign_in.poll_device(metadata, device).await {
            Ok(Poll::Granted(tokens)) => return Ok((tokens, asked_at)),
            Ok(Poll::Pending) => {}
            Ok(Poll::SlowDown) => wait += SLOWER_BY,
            Ok(Poll::Denied) => return Err(Error::Refused("the login was denied at the browser".to_owned())),
            Ok(Poll::Expired) => return Err(expired()),
            // A laptop changes networks while its person is at the browser.
            Err(Error::Unreachable { .. }) => wait = (wait * 2).min(Duration::from_mins(1)),
            Err(error) => return Err(error),
        }
    }
}

/// Opens a page where there is somebody at a screen. The address is printed anyway, so that a failure is none.
fn open_browser(address: &str) {
    // It comes from the server: nothing but an address is handed on.
    if !address.starts_with("https://") && !address.starts_with("http://") {
        return;
    }
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some()) {
        "xdg-open"
    } else {
        return;
    };
    let mut command = Command::new(program);
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.spawn();
}
