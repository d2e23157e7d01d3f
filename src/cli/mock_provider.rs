//! `sproxy mock-provider`: a fake provider for demos, tests and benches.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;

use clap::Args;
use tokio::net::TcpListener;

use super::error::Error;
use super::output::note;
use crate::domain::provider::Provider;
use crate::mock::{self, Credentials, Options};
use crate::telemetry::log::{self, Format};

/// A fake provider that speaks every dialect, also as AWS Bedrock and Google's Vertex AI do
#[derive(Debug, Args)]
pub struct MockProviderArgs {
    /// Where to listen; port 0 takes a free one and logs it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// A header that a call has to bring, such as "x-api-key: KEY" or "authorization: Bearer TOKEN"; one of them, where
    /// there are several. Others are refused in the words of the API. Without any credential, everybody is served
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    credential: Vec<String>,
    /// An AWS key whose signatures (Signature Version 4) are verified and accepted beside --credential; several may be given
    #[arg(long, value_name = "ID:SECRET[:TOKEN]", value_parser = aws_key)]
    aws_key: Vec<String>,
    /// The region that AWS signatures have to be for; any, by default
    #[arg(long, value_name = "REGION", requires = "aws_key")]
    aws_region: Option<String>,
}

fn header(text: &str) -> Result<String, String> {
    Credentials::default().add_header(text).map(|()| text.to_owned())
}

fn aws_key(text: &str) -> Result<String, String> {
    Credentials::default().add_aws(text).map(|()| text.to_owned())
}

impl MockProviderArgs {
    fn options(&self) -> Result<Options, String> {
        let mut credentials = Credentials::default();
        if let Some(region) = &self.aws_region {
            credentials.only_region(region);
        }
        self.credential.iter().try_for_each(|header| credentials.add_header(header))?;
        self.aws_key.iter().try_for_each(|key| credentials.add_aws(key))?;
        Ok(Options { credentials })
    }
}

/// Serves until it is asked to stop.
///
/// # Errors
/// When the address cannot be had.
pub async fn run(args: MockProviderArgs) -> Result<(), Error> {
    // A harness reads the log for the address; a person looks at it.
    let format = if io::stderr().is_terminal() { Format::Text } else { Format::Json };
    let _log = log::set_up("info", format).map_err(Error::Usage)?;
    let options = args.options().map_err(Error::Usage)?;
    let what = format!("listening on {}", args.listen);
    let listener = TcpListener::bind(args.listen).await.map_err(Error::io(what.clone()))?;
    let address = listener.local_addr().map_err(Error::io(what))?;
    tracing::info!(http = %address, "ready");
    if io::stderr().is_terminal() {
        note(&next_steps(address));
    }
    mock::serve(listener, options, asked_to_stop()).await.map_err(Error::io("serving"))
}

/// For a person: what it is good for, as lines to paste.
fn next_steps(address: SocketAddr) -> String {
    let target = |name: Provider| {
        format!(
            "[[targets]]\nname = \"{name}\"\nprovider = \"{name}\"\nurl = \"http://{address}\"\napi_key = \"any\"\n"
        )
    };
    let targets = Provider::ALL.map(target).concat();
    format!(
        "A fake provider of every dialect at http://{address}. Put this into sproxy.toml, and start `sproxy serve`:\n\n\
         {targets}\nWhat it has answered: curl http://{address}/mock/served"
    )
}

async fn asked_to_stop() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        return;
    }
    // Without a way to be asked, it runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
