//! What a configuration holds once it has been read: values that are within their bounds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use crate::domain::ids::NodeId;
use crate::domain::network::Network;
use crate::domain::price::PriceList;
use crate::domain::provider::Provider;

/// A node's whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this node is.
    pub node: NodeConfig,
    /// The HTTP server.
    pub http: HttpConfig,
    /// The cluster.
    pub cluster: ClusterConfig,
    /// The database.
    pub store: StoreConfig,
    /// The ledger.
    pub usage: UsageConfig,
    /// Sessions and logins.
    pub auth: AuthConfig,
    /// The log.
    pub log: LogConfig,
    /// What holds for all targets.
    pub upstream: UpstreamConfig,
    /// Where calls go.
    pub targets: Vec<TargetConfig>,
    /// What they cost.
    pub prices: PriceList,
}

/// `[node]`
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name; none: `sp-1` for a leader, given by the leader for a follower.
    pub id: Option<NodeId>,
    /// Where the database and the local admin token are kept.
    pub data_dir: PathBuf,
}

/// A certificate and its key, PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Whose pages in browsers may call the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Everybody's.
    Any,
    /// Those of these origins: `scheme://host[:port]` as browsers send it. None of them: nobody's.
    Only(Vec<String>),
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// TLS, if this server speaks it itself.
    pub tls: Option<TlsFiles>,
    /// Whose `X-Forwarded-For` and `Forwarded` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Whose pages in browsers may call the data plane.
    pub cors_origins: CorsOrigins,
    /// Bytes of one request body.
    pub max_body_bytes: usize,
    /// Bytes of all request bodies held at once.
    pub max_buffered_bytes: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// To a connection's opening, and from the first byte of a request's head to its end.
    pub header_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// How long a caller may take nothing of its answer.
    pub stall_timeout: Duration,
    /// How long leaving may take.
    pub shutdown_timeout: Duration,
}

/// `[cluster]`
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where the leader serves gRPC.
    pub listen: SocketAddr,
    /// The leader's gRPC address as a URL; none: this node leads.
    pub leader: Option<String>,
    /// How clients reach this node's HTTP side; none: from `http.listen`.
    pub advertise: Option<String>,
    /// This node's share of traffic.
    pub weight: u32,
    /// What nodes prove themselves with.
    pub secret: Option<Secret>,
    /// Between two signs of life.
    pub heartbeat_interval: Duration,
    /// How long a usage log may wait until it is pushed.
    pub sync_interval: Duration,
    /// Usage logs in one push.
    pub sync_batch: usize,
    /// How long a follower's state may be unconfirmed; none: for ever.
    pub max_staleness: Option<Duration>,
    /// Whether a stale follower stops admitting calls.
    pub refuse_when_stale: bool,
    /// TLS between nodes.
    pub tls: Option<ClusterTls>,
}

/// TLS between nodes.
#[derive(Clone, Debug)]
pub struct ClusterTls {
    /// This node's own certificate; a leader needs one, a follower where the leader asks for it.
    pub identity: Option<TlsFiles>,
    /// Who must have signed the other side's.
    pub ca: Option<PathBuf>,
    /// Whether the leader asks followers for a certificate.
    pub client_auth: bool,
}

/// Where the books are kept.
#[derive(Clone, Debug)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A server, by its URL.
    Postgres(Secret),
}

/// How much SQLite waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// Survives the death of the process.
    Normal,
    /// Survives that of the machine.
    Full,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where the books are kept.
    pub database: Database,
    /// How much SQLite waits for the disk.
    pub synchronous: Synchronous,
}

/// When the end of an answer is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once its record is committed.
    Committed,
    /// At once.
    Buffered,
}

/// `[usage]`
#[derive(Clone, Debug)]
pub struct UsageConfig {
    /// When the end of an answer is released.
    pub durability: Durability,
    /// Records that may wait for the writer.
    pub queue: usize,
    /// Most records in one transaction.
    pub batch: usize,
    /// How long the end of an answer waits for its commit.
    pub commit_timeout: Duration,
    /// How long synced usage logs are kept.
    pub retention: Duration,
}

/// `[auth]`
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// How long an access token is good.
    pub access_token_ttl: Duration,
    /// How long a refresh token is good.
    pub refresh_token_ttl: Duration,
    /// Passwords checked at the same time.
    pub login_threads: usize,
    /// Logins that may wait for it.
    pub login_queue: usize,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// A level, or a filter per module.
    pub level: String,
    /// How it is written.
    pub format: LogFormat,
}

/// What becomes of an answer whose caller has hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// The upstream call is cancelled; what it had not reported is estimated.
    Cancel,
    /// It is read to its end in the background and counted exactly.
    Drain,
}

/// `[upstream]`
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// The HTTP proxy on the way to targets that have none of their own and are not in `no_proxy`.
    pub proxy: Option<Secret>,
    /// Hosts, domains and networks that are reached without it.
    pub no_proxy: String,
}

/// `[[targets]]`
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// Unique among targets.
    pub name: String,
    /// The dialect it speaks.
    pub provider: Provider,
    /// Its base URL: `http` or `https`, without credentials or query.
    pub url: String,
    /// The key it asks for.
    pub api_key: Option<Secret>,
    /// Its share of calls; 0: none.
    pub weight: u32,
    /// Globs of the models it serves.
    pub models: Vec<String>,
    /// Where an active check asks.
    pub health_path: Option<String>,
    /// Whether `OpenAI` streams are asked for their usage.
    pub include_usage: bool,
    /// Whether calls about the provider's account may go there.
    pub allow_admin_paths: bool,
    /// What becomes of an answer whose caller has hung up.
    pub on_hangup: HangUp,
    /// To a connection.
    pub connect_timeout: Duration,
    /// To the head of the answer.
    pub answer_timeout: Duration,
    /// Between two pieces of an answer.
    pub idle_timeout: Duration,
    /// Calls in flight.
    pub max_connections: usize,
    /// Which versions of HTTP are spoken to it.
    pub http2: Http2,
    /// Connections that speak HTTP/2; another is opened when all streams of those that are there are in use.
    pub http2_connections: usize,
    /// How long a call may wait for a stream of HTTP/2.
    pub queue_timeout: Duration,
    /// The HTTP proxy on the way to it, its own or everybody's.
    pub proxy: Option<Secret>,
    /// Authorities to trust besides the public ones.
    pub ca_file: Option<PathBuf>,
}

/// Whether HTTP/2 is spoken to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2 {
    /// Never.
    No,
    /// If the target chooses it during the TLS handshake.
    Offered,
    /// Without asking.
    Only,
}
