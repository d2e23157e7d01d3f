//! `sproxy mock-provider`: a fake provider for demos, tests and benches.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::net::TcpListener;

use super::error::Error;
use super::output::note;
use super::stop::asked_to_stop;
use crate::domain::provider::Provider;
use crate::mock::{self, Credentials, Options, ReadScript};
use crate::telemetry::log::{self, Format};

/// A fake provider that speaks every dialect, also as AWS Bedrock and Google's Vertex AI do
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
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
    /// What is to happen to the first calls, as `POST /mock/script` takes it
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// A beta (or a pattern such as "context-*") for which calls are refused as unexpected; several may be given
    #[arg(long, value_name = "BETA")]
    refuse_beta: Vec<String>,
    /// A field of bodies for which calls are refused as an extra input, such as `context_management` or
    /// `tools.*.strict`; several may be given
    #[arg(long, value_name = "FIELD")]
    refuse_field: Vec<String>,
}

const HELP: &str = r#"A call is steered by headers or query parameters:
  mock-input, mock-output, mock-cache-read, mock-cache-write, mock-cache-write-1h, mock-reasoning
                  token counts
  mock-events, mock-delay-ms
                  pieces of text in a stream, and the pause between its events
  mock-status     an error with this status
  mock-fail       before-headers, mid-stream, reset, reset-mid-stream, hang, hang-mid-stream, error-event, close-after;
                  over HTTP/2 also goaway, refused-stream
  mock-after      behind how many events of a stream it fails
  mock-tool, mock-encoding
                  the tool that is called; gzip, deflate, br or zstd

Clients that cannot send these are steered by a script: POST /mock/script, or --script. It is a list of steps, or
{"seed": 7, "steps": [...]}; a call gets the first step that is for it and is not used up. A step has any of
  match           {"model": "claude-*", "path": "/v1/messages", "key": "KEY", "beta": "B", "field": "tools.*.strict"}: all of
                  it has to be true. Without "path", calls that cost nothing are left alone
  times           how many calls it is for: 1, or all where there is "percent", "beta" or "field"
  percent, skip   its share of the calls; how many it lets pass before
  status, name, message, body, headers
                  the error, and what it says; "body" as it is. A header's null leaves it out, and "now+30s" is a time
  fail, after     as mock-fail and mock-after; also close-unread, which is for any call
  others          as above, without mock-: "delay_ms": 20
Example: [{"status": 529, "times": 3}, {"percent": 30, "fail": "error-event", "after": 0}]

  GET /mock/served        what was answered completely, per model
  GET /mock/script        how often each step was played
  GET /mock/last[/body]   the last request
  POST /mock/defaults     steering for calls that bring none"#;

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
        let mut script = match &self.script {
            Some(file) => {
                let wrong = |error: String| format!("{}: {error}", file.display());
                let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
                ReadScript::read(&text).map_err(wrong)?
            }
            None => ReadScript::default(),
        };
        script.refuse(&self.refuse_beta, &self.refuse_field)?;
        Ok(Options { credentials, script })
    }
}

/// Serves until it is asked to stop.
///
/// # Errors
/// When the address cannot be had.
pub async fn run(args: MockProviderArgs) -> Result<(), Error> {
    // A harness reads the log for the address; a person looks at it.
    let format = if io::stderr().is_terminal() { Format::Text } else { Format::Json };
    let _log = log::set_up("info", true, format).map_err(Error::Usage)?;
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
