//! What a configuration holds once it has been read: values that are within their bounds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::alert_sections::{AlertConfig, AlertingConfig};
use super::ldap_section::LdapConfig;
use super::oidc_section::OidcConfig;
use crate::cloud::credentials::CloudCredentials;
use crate::cloud::hosting::Platform;
use crate::domain::catalogue::Catalogue;
use crate::domain::ids::NodeId;
use crate::domain::leader_url::LeaderUrl;
use crate::domain::network::Network;
use crate::domain::price::PriceList;
use crate::domain::provider::Provider;
use crate::domain::secret::Secret;

/// A node's whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub node: NodeConfig,
    pub http: HttpConfig,
    pub cluster: ClusterConfig,
    pub store: StoreConfig,
    pub usage: UsageConfig,
    pub auth: AuthConfig,
    pub backup: BackupConfig,
    pub log: LogConfig,
    pub telemetry: TelemetryConfig,
    /// Settings of all targets.
    pub upstream: UpstreamConfig,
    pub targets: Vec<TargetConfig>,
    /// Names of the operator's own, and what stands behind them.
    pub models: Vec<ModelConfig>,
    pub prices: PriceList,
    /// What models can take and give.
    pub capabilities: Arc<Catalogue>,
    /// When those are told who want to know what happens.
    pub alerting: AlertingConfig,
    /// Who wants to know.
    pub alerts: Vec<AlertConfig>,
    /// The configuration file as it was read, if there is one. There may be secrets in it.
    pub text: Option<Secret>,
    /// The files that settings name: secrets, certificates, authorities.
    pub files: Vec<PathBuf>,
}

/// `[node]`
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `None`: `sp-1` for a leader, assigned by the leader for a follower.
    pub id: Option<NodeId>,
    /// Where the database and the local admin token are kept.
    pub data_dir: PathBuf,
}

/// A certificate and its key, PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Origins whose pages may call the data plane from browsers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Every origin.
    Any,
    /// `scheme://host[:port]` as browsers send it. Empty: no origin.
    Only(Vec<String>),
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    /// TLS, if this server speaks it itself.
    pub tls: Option<TlsFiles>,
    /// Peers whose `X-Forwarded-For` and `Forwarded` are trusted.
    pub trusted_proxies: Vec<Network>,
    /// Origins whose pages may call the data plane from browsers.
    pub cors_origins: CorsOrigins,
    /// How browsers reach the cluster, such as `https://llm.example.com`; `None`: as the one that asks does.
    pub public_url: Option<String>,
    /// Bytes of one request body.
    pub max_body_bytes: usize,
    /// Bytes of all request bodies held at once.
    pub max_buffered_bytes: usize,
    pub max_connections: usize,
    /// Limit for the first byte on a connection, and from the first byte of a request's head to its end.
    pub header_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// How long a caller may read nothing of its answer.
    pub stall_timeout: Duration,
    /// How long a node that leaves still accepts connections.
    pub shutdown_delay: Duration,
    pub shutdown_timeout: Duration,
}

/// The gRPC addresses of a follower's leaders, one at least, each once, all with TLS or all without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderUrls(Vec<LeaderUrl>);

impl LeaderUrls {
    /// None: there is no address.
    #[must_use]
    pub(super) fn new(urls: Vec<LeaderUrl>) -> Option<Self> {
        (!urls.is_empty()).then_some(Self(urls))
    }

    pub fn iter(&self) -> impl Iterator<Item = &LeaderUrl> {
        self.0.iter()
    }
}

/// `[cluster]`
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where the leader serves gRPC.
    pub listen: SocketAddr,
    /// Where the leaders serve gRPC; `None` if this node leads.
    pub leader: Option<LeaderUrls>,
    /// How clients reach this node over HTTP; `None`: derived from `http.listen`.
    pub advertise: Option<String>,
    /// How other nodes reach this leader's gRPC side.
    pub advertise_grpc: Option<String>,
    pub weight: u32,
    /// The shared secret that nodes authenticate with.
    pub secret: Option<Secret>,
    /// Interval between two heartbeats.
    pub heartbeat_interval: Duration,
    /// How long a usage log may wait until it is pushed.
    pub sync_interval: Duration,
    /// Usage logs in one push.
    pub sync_batch: usize,
    /// How long a follower's state may be unconfirmed; `None` for no limit.
    pub max_staleness: Option<Duration>,
    /// Whether a stale follower stops admitting calls.
    pub refuse_when_stale: bool,
    pub tls: Option<ClusterTls>,
}

#[derive(Clone, Debug)]
pub struct ClusterTls {
    /// This node's own certificate; a leader needs one, a follower where the leader asks for it.
    pub identity: Option<TlsFiles>,
    /// The authority that must have signed the other side's certificate.
    pub ca: Option<PathBuf>,
    /// Whether the leader asks followers for a certificate.
    pub client_auth: bool,
}

#[derive(Clone, Debug)]
pub enum Database {
    Sqlite(PathBuf),
    Postgres(Secret),
}

impl Database {
    /// Reads a `store.url`; `None` for what is none.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Some(Self::Postgres(Secret::new(url)));
        }
        let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"))?;
        (!path.is_empty()).then(|| Self::Sqlite(path.into()))
    }
}

/// What a commit of SQLite survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// Survives the death of the process.
    Normal,
    /// Survives the death of the machine.
    Full,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub database: Database,
    /// What a commit of SQLite survives.
    pub synchronous: Synchronous,
}

/// When the end of an answer is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once the record is committed.
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
    /// The identity provider at which people sign in, if there is one.
    pub oidc: Option<OidcConfig>,
    /// The directory whose passwords are good here, too, if there is one.
    pub ldap: Option<LdapConfig>,
    /// The directory that says who may call, if there is one.
    pub scim: Option<ScimConfig>,
}

/// `[auth.scim]`
#[derive(Clone, Debug)]
pub struct ScimConfig {
    /// What the directory proves itself with.
    pub token: Secret,
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
    pub format: LogFormat,
    /// Whether each call has a line when it is over.
    pub requests: bool,
}

/// `[backup]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupConfig {
    /// `None`: none is made by the clock.
    pub every: Option<Duration>,
    pub directory: PathBuf,
    /// The newest so many stay.
    pub keep: usize,
}

/// `[telemetry]`
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryConfig {
    /// Where spans go; `None`: nowhere.
    pub spans: Option<SpanConfig>,
    /// Whether `/metrics` tells usage by user, too.
    pub user_metrics: bool,
    /// Whether `/metrics` has OpenTelemetry's names for generative AI, too.
    pub genai_metrics: bool,
}

/// A collector of spans, and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanConfig {
    /// `http://collector:4317`, for example. For HTTP with or without the path `/v1/traces`.
    pub endpoint: String,
    pub protocol: SpanProtocol,
    /// The share of calls that have spans, where their callers have not decided: 0 to 1.
    pub sample: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanProtocol {
    Grpc,
    /// Protobuf over HTTP.
    Http,
}

/// What happens to an answer whose caller has hung up.
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
    /// The HTTP proxy for targets that have none of their own and are not in `no_proxy`.
    pub proxy: Option<Secret>,
    /// Hosts, domains and networks that are reached without it.
    pub no_proxy: String,
    /// Targets tried for one call.
    pub max_attempts: usize,
    /// Attempts beyond the first, as a share of calls.
    pub retry_ratio: f64,
    /// Whether a call is tried again that a provider may have worked on.
    pub retry_uncertain: bool,
    /// How long a call waits while all targets cool down.
    pub max_wait: Duration,
    /// What becomes of a call of which something would be left out when it is converted.
    pub on_loss: OnLoss,
}

/// What becomes of a call of which something would be left out when it is converted for another API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// It goes without, and its answer names what was left out.
    #[default]
    Warn,
    /// It is refused.
    Refuse,
}

impl OnLoss {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        }
    }
}

/// As `defaults.toml` has it.
impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            proxy: None,
            no_proxy: String::new(),
            max_attempts: 3,
            retry_ratio: 0.1,
            retry_uncertain: false,
            on_loss: OnLoss::Warn,
            max_wait: Duration::from_secs(5),
        }
    }
}

/// `[[models]]`: a name of the operator's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelConfig {
    pub name: String,
    /// The models behind it, tried in this order.
    pub route: Vec<String>,
}

/// One of several keys of a target.
#[derive(Clone, Debug)]
pub struct KeyConfig {
    /// Unique in its target.
    pub name: String,
    pub api_key: Secret,
    /// Its share of the target's calls.
    pub weight: u32,
}

/// Credentials of a cloud that the machine has.
#[derive(Clone, Debug)]
pub struct MachineCredentials {
    pub credentials: CloudCredentials,
    /// The same for the same variables and files.
    pub fingerprint: u64,
}

/// Which header a target's key goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// That of the dialect of the call.
    OfDialect,
    /// `x-api-key`
    XApiKey,
    /// `authorization: Bearer`
    Bearer,
    /// `api-key`
    ApiKey,
    /// `x-goog-api-key`
    XGoogApiKey,
    /// Each request is signed with AWS credentials.
    SigV4,
    /// An access token of Google's cloud, as a bearer token.
    Gcp,
    /// None: the target wants no key.
    None,
}

impl Auth {
    pub const ALL: [(&str, Self); 8] = [
        ("", Self::OfDialect),
        ("x-api-key", Self::XApiKey),
        ("bearer", Self::Bearer),
        ("api-key", Self::ApiKey),
        ("x-goog-api-key", Self::XGoogApiKey),
        ("sigv4", Self::SigV4),
        ("gcp", Self::Gcp),
        ("none", Self::None),
    ];

    /// As it is configured.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, auth)| *auth == self).map_or("", |(name, _)| name)
    }
}

/// `[[targets]]`
#[allow(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// Unique among targets.
    pub name: String,
    pub provider: Provider,
    /// Who hosts its models.
    pub platform: Platform,
    /// The platform's region; empty where it has none.
    pub region: String,
    /// The project of Google's cloud; empty where there is none.
    pub project: String,
    /// Its base URL: `http` or `https`, without credentials or query.
    pub url: String,
    /// The dialects that it takes as they are; its provider's among them.
    pub speaks: Vec<Provider>,
    pub api_key: Option<Secret>,
    /// Several keys instead.
    pub keys: Vec<KeyConfig>,
    /// What the machine itself has, where no key is given.
    pub machine: Option<MachineCredentials>,
    pub auth: Auth,
    /// Those of a lower tier are used first.
    pub tier: u32,
    /// Model asked for, and model sent.
    pub rename: BTreeMap<String, String>,
    /// Its share of calls; 0 for none.
    pub weight: u32,
    /// Globs of the models it serves.
    pub models: Vec<String>,
    /// The path of active health checks.
    pub health_path: Option<String>,
    /// Whether `OpenAI` streams are asked for their usage.
    pub include_usage: bool,
    /// Whether it has `OpenAI`'s Responses, beside Chat Completions; and WebSockets, where its dialect has them.
    pub responses: bool,
    pub websocket: bool,
    /// Whether calls about the provider's account may go there.
    pub allow_admin_paths: bool,
    /// What happens to an answer whose caller has hung up.
    pub on_hangup: HangUp,
    pub connect_timeout: Duration,
    /// Time to the head of the answer.
    pub answer_timeout: Duration,
    /// Time between two chunks of an answer.
    pub idle_timeout: Duration,
    /// Time to the end of an answer.
    pub total_timeout: Duration,
    /// Calls in flight.
    pub max_connections: usize,
    /// The versions of HTTP that are used.
    pub http2: Http2,
    /// Maximum of HTTP/2 connections; another is opened when all streams of the open ones are in use.
    pub http2_connections: usize,
    /// How long a call may wait for a stream of HTTP/2.
    pub queue_timeout: Duration,
    /// The HTTP proxy to reach it through, its own or the global one.
    pub proxy: Option<Secret>,
    /// Authorities to trust besides the public ones.
    pub ca_file: Option<PathBuf>,
}

/// Whether HTTP/2 is used with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2 {
    No,
    /// If the target chooses it during the TLS handshake.
    Offered,
    /// With prior knowledge.
    Only,
}
