//! `sproxy agent`: a door to the gateway on this machine, for clients that cannot refresh a token. It meters nothing: the
//! books are the nodes'.

mod forward;
mod guard;
mod install;
mod nodes;

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::agent_key::{AgentKey, DEFAULT_LISTEN, key_file};
use super::connect;
use super::error::Error;
use super::logins::Login;
use super::output::{note, print};
use super::stop::asked_to_stop;
use crate::crypto::secret_text::{self, CHARS_FOR_256_BITS};
use crate::domain::secret::Secret;
use crate::inbound::{Limits, Protocols, Server, Shutdown};
use crate::telemetry::log::{self, Format};
use crate::transport::Proxy;
use forward::Forwarder;
use nodes::{Nodes, Reach};

/// Connections of this machine's clients, and what each may keep waiting.
const LIMITS: Limits = Limits {
    connections: 512,
    header_timeout: Duration::from_secs(30),
    idle_timeout: Duration::from_mins(5),
    stall_timeout: Some(Duration::from_mins(5)),
};
const STREAMS_MAX: u32 = 256;
/// How often the server is asked which nodes there are, and the nodes whether they are ready.
const NODES_EVERY: Duration = Duration::from_secs(15);
const READY_EVERY: Duration = Duration::from_secs(2);
/// How long answers may go on once the agent is asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Run a door to the gateway on this machine, for clients that cannot refresh a token: opencode, Gemini CLI, scripts
#[derive(Debug, Args)]
#[command(
    after_help = "Clients call http://127.0.0.1:9009 with the key in agent.key beside your login, which is another one after every\nstart; `sproxy connect CLIENT --agent` tells them. It calls as you, with your login, and only this machine can use it."
)]
pub struct AgentArgs {
    /// Where to listen: an address of the loopback
    #[arg(long, default_value_t = DEFAULT_LISTEN, value_name = "ADDR")]
    listen: SocketAddr,
    /// The gateway [default: that of the last login]
    #[arg(long, env = "SPROXY_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The way out through a proxy, such as <http://user:password@proxy:3128>
    #[arg(long, env = "SPROXY_AGENT_PROXY", hide_env_values = true, value_name = "URL")]
    proxy: Option<String>,
    /// Do not run it, but write the unit that starts it when you log in to this machine (systemd, launchd)
    #[arg(long)]
    install: bool,
}

pub async fn run(args: AgentArgs) -> Result<(), Error> {
    if !args.listen.ip().is_loopback() {
        return Err(Error::Usage(format!(
            "--listen {}: the agent calls as you, so it listens on the loopback alone, such as 127.0.0.1:9009",
            args.listen
        )));
    }
    let server = args.server.as_deref().filter(|server| !server.is_empty());
    let login = Login::required(server)?;
    if args.install {
        return install::run(args.listen, login.server());
    }
    let proxy = args.proxy.as_deref().filter(|proxy| !proxy.is_empty()).map(Proxy::parse).transpose();
    let proxy = proxy.map_err(|reason| Error::Usage(format!("--proxy: {reason}")))?;
    let format = if io::stderr().is_terminal() { Format::Text } else { Format::Json };
    let _log = log::set_up("info", false, format).map_err(Error::Usage)?;
    serve(args.listen, login, proxy).await
}

async fn serve(listen: SocketAddr, login: Login, proxy: Option<Proxy>) -> Result<(), Error> {
    let listening =
        || format!("listening on {listen} (another agent may run there; --listen takes another port)");
    let listener = TcpListener::bind(listen).await.map_err(Error::io(listening()))?;
    let address = listener.local_addr().map_err(Error::io(listening()))?;
    let standing = login.standing()?;
    let nodes = Arc::new(Nodes::new(login.clone(), Reach { ca_file: standing.ca_file, proxy })?);
    let key = secret_text::random(CHARS_FOR_256_BITS).map_err(|reason| Error::Refused(reason.to_string()))?;
    let key = AgentKey { address, key: Secret::new(format!("sp-agent-{key}")) };
    key.write()?;
    if let Err(reason) = connect::renew_agent_key(&key) {
        note(&format!("not every client could be told the new key: {reason}"));
    }
    let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    if let Err(reason) = nodes.refresh().await {
        note(&format!("{} does not say which nodes there are: {reason}", login.server()));
    }
    nodes.check().await;
    tasks.spawn(stop.clone().run_until_cancelled_owned(keep_looking(Arc::clone(&nodes))));
    let handler = Arc::new(Forwarder::new(login.clone(), nodes, key.key.clone()));
    let protocols = Protocols { http1: true, streams: STREAMS_MAX, windows: None };
    let server = Server::new(Arc::new(listener), None, handler, protocols, LIMITS);
    tasks.spawn(server.run(Shutdown::abrupt(stop.clone(), give_up.clone()), tasks.clone()));
    tracing::info!(http = %address, server = login.server(), user = standing.user, "ready");
    if io::stdout().is_terminal() {
        print(&format!(
            "http://{address} calls {} as {}\nkey: {}\n     (also in {})",
            login.server(),
            standing.user,
            key.key.expose(),
            key_file()?.display()
        ))?;
    }
    asked_to_stop().await;
    stop.cancel();
    tasks.close();
    if timeout(GRACE, tasks.wait()).await.is_err() {
        give_up.cancel();
        tasks.wait().await;
    }
    Ok(())
}

async fn keep_looking(nodes: Arc<Nodes>) {
    let (mut ask_server, mut ask_nodes) = (interval(NODES_EVERY), interval(READY_EVERY));
    loop {
        tokio::select! {
            _ = ask_server.tick() => {
                if let Err(reason) = nodes.refresh().await {
                    tracing::debug!(%reason, "the server does not say which nodes there are");
                }
            }
            _ = ask_nodes.tick() => nodes.check().await,
        }
    }
}
