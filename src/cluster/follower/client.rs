//! The follower's client of its leader: gRPC over HTTP/2, under TLS if the leader's address says `https`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status, Streaming, TimeoutExpired};

use crate::cluster::follower::leader_client::{LeaderClient, LeaderError};
use crate::cluster::follower::leader_set::{LeaderAt, LeaderSet};
use crate::cluster::replication::snapshot::SnapshotWriter;
use crate::config::ClusterTls;
use crate::domain::leader_url::LeaderUrl;
use crate::domain::secret::Secret;
use crate::wire::v1::cluster_client::ClusterClient;
use crate::wire::{BATCHES_HELD, v1};

/// How long the leader may take to answer; a push waits for a commit.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// And for each user, group or key of an offered state, besides. About 300 bytes: a network that carries 3 Mbit/s is enough.
const OFFERED_MAX: Duration = Duration::from_millis(1);
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// A connection that does not answer a ping for so long is dead; the next call opens another.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_MAX: Duration = Duration::from_secs(5);
/// Bytes in flight per stream and per connection: a batch fits without waiting for the leader's leave.
const WINDOW: u32 = 4 << 20;

/// The largest message that a node takes or sends, bytes.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// PEM texts for TLS to the leader.
#[derive(Clone, Default)]
pub struct ClientTls {
    /// Who may vouch for the leader. None: whoever the public web trusts.
    pub ca: Option<Vec<u8>>,
    /// This node's certificate and key, for a leader that asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl ClientTls {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// A file that cannot be read, as a sentence.
    pub fn read(config: &ClusterTls) -> Result<Self, String> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let identity =
            config.identity.as_ref().map(|files| Ok::<_, String>((read(&files.cert)?, read(&files.key)?)));
        Ok(Self { ca: config.ca.as_deref().map(read).transpose()?, identity: identity.transpose()? })
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("identity", &self.identity.is_some()).finish_non_exhaustive()
    }
}

/// The client cannot be made from what the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The leader's address is not a URL.
    #[error("cluster.leader: {0}")]
    Address(tonic::transport::Error),
    /// The certificates or the key cannot be used.
    #[error("cluster.tls: {0}")]
    Tls(tonic::transport::Error),
    /// The secret cannot be sent in a header.
    #[error("cluster.secret: has characters that no header can carry")]
    Secret,
}

/// Puts the cluster's secret on every call.
#[derive(Clone)]
struct Credential(Option<MetadataValue<Ascii>>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(secret) = &self.0 {
            request.metadata_mut().insert("authorization", secret.clone());
        }
        Ok(request)
    }
}

/// A client of the leader. Connects when it is first used, and again after the connection broke. Cheap to clone.
#[derive(Clone)]
pub struct GrpcLeaderClient {
    address: Arc<str>,
    client: ClusterClient<InterceptedService<Channel, Credential>>,
}

impl GrpcLeaderClient {
    /// A client of `leader`, an `http` or `https` URL.
    ///
    /// # Errors
    /// When the address, the certificates or the secret cannot be used.
    pub fn new(leader: &str, secret: Option<&str>, tls: Option<&ClientTls>) -> Result<Self, Error> {
        let mut endpoint = Endpoint::from_shared(leader.to_owned())
            .map_err(Error::Address)?
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_MAX)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        if leader.starts_with("https://") {
            let none = ClientTls::default();
            endpoint = endpoint.tls_config(client_tls(tls.unwrap_or(&none))).map_err(Error::Tls)?;
        }
        let secret = secret.map(|secret| format!("Bearer {secret}").parse::<MetadataValue<Ascii>>());
        let mut secret = secret.transpose().map_err(|_| Error::Secret)?;
        if let Some(value) = &mut secret {
            value.set_sensitive(true);
        }
        let client = ClusterClient::with_interceptor(endpoint.connect_lazy(), Credential(secret))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd);
        Ok(Self { address: leader.into(), client })
    }

    /// The leader's address, as it is configured.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `WatchState`: the stream of what the leader has to tell. It has no deadline; who reads it knows how often a sign
    /// of life has to come.
    ///
    /// # Errors
    /// As every call.
    pub async fn watch(
        &self,
        request: v1::WatchStateRequest,
    ) -> Result<Streaming<v1::StateUpdate>, LeaderError> {
        let mut client = self.client.clone();
        within(ANSWER_MAX, client.watch_state(request)).await
    }
}

impl GrpcLeaderClient {
    /// `WatchBatches`: what the leader takes of nodes' usage, for another leader. It has no deadline.
    ///
    /// # Errors
    /// As every call.
    pub async fn watch_batches(
        &self,
        request: v1::WatchBatchesRequest,
    ) -> Result<Streaming<v1::AppliedBatch>, LeaderError> {
        let mut client = self.client.clone();
        within(ANSWER_MAX, client.watch_batches(request)).await
    }
}

impl LeaderAt<GrpcLeaderClient> {
    /// As [`GrpcLeaderClient::watch`], unless the leader is given up.
    ///
    /// # Errors
    /// As every call.
    pub async fn watch(
        &self,
        request: v1::WatchStateRequest,
    ) -> Result<Streaming<v1::StateUpdate>, LeaderError> {
        self.unless_given_up(Box::pin(self.client().watch(request))).await
    }
}

/// The leaders at these addresses, all reached with the same secret.
///
/// # Errors
/// As [`GrpcLeaderClient::new`].
pub fn leaders_at(
    urls: Vec<LeaderUrl>,
    secret: Option<&str>,
    tls: Option<ClientTls>,
) -> Result<LeaderSet<GrpcLeaderClient>, String> {
    let connect = connector(secret, tls);
    LeaderSet::new(urls, Box::new(move |url| connect(url.as_str())))
}

/// Makes clients of leaders by their URLs, all reached with the same secret.
pub fn connector(
    secret: Option<&str>,
    tls: Option<ClientTls>,
) -> impl Fn(&str) -> Result<GrpcLeaderClient, String> + Send + Sync + use<> {
    let secret = secret.map(|secret| Secret::new(secret.to_owned()));
    move |url| {
        let secret = secret.as_ref().map(Secret::expose);
        GrpcLeaderClient::new(url, secret, tls.as_ref()).map_err(|error| error.to_string())
    }
}

impl LeaderClient for GrpcLeaderClient {
    async fn register(&self, request: v1::RegisterRequest) -> Result<v1::RegisterResponse, LeaderError> {
        let mut client = self.client.clone();
        within(ANSWER_MAX, client.register(timed(request, ANSWER_MAX))).await
    }

    async fn register_within(
        &self,
        request: v1::RegisterRequest,
        patience: Duration,
    ) -> Result<v1::RegisterResponse, LeaderError> {
        let (mut client, most) = (self.client.clone(), patience.min(ANSWER_MAX));
        within(most, client.register(timed(request, most))).await
    }

    async fn heartbeat(&self, request: v1::HeartbeatRequest) -> Result<v1::HeartbeatResponse, LeaderError> {
        let mut client = self.client.clone();
        within(ANSWER_MAX, client.heartbeat(timed(request, ANSWER_MAX))).await
    }

    async fn leave(&self, request: v1::LeaveRequest) -> Result<v1::LeaveResponse, LeaderError> {
        let mut client = self.client.clone();
        within(ANSWER_MAX, client.leave(timed(request, ANSWER_MAX))).await
    }

    async fn push_usage(&self, request: v1::PushUsageRequest) -> Result<v1::PushUsageResponse, LeaderError> {
        let mut client = self.client.clone();
        within(ANSWER_MAX, client.push_usage(timed(request, ANSWER_MAX))).await
    }

    async fn offer_state(&self, pieces: SnapshotWriter) -> Result<v1::OfferStateResponse, LeaderError> {
        let mut client = self.client.clone();
        let most = offer_max(pieces.size());
        let mut request = Request::new(stream::iter(pieces));
        request.set_timeout(most);
        within(most, client.offer_state(request)).await
    }
}

/// What a status of the leader means to a follower.
#[must_use]
pub fn call_error(status: &Status) -> LeaderError {
    let text = status.message().to_owned();
    let held = status.metadata().get(BATCHES_HELD).and_then(|held| held.to_str().ok()?.parse().ok());
    if let Some(held) = held.filter(|_| status.code() == Code::FailedPrecondition) {
        return LeaderError::Behind(held);
    }
    if let Some(cause) = std::error::Error::source(status) {
        // What a leader says has no cause on this side.
        return if caused_by::<TimeoutExpired>(cause) {
            LeaderError::Silent("no answer in time".to_owned())
        } else {
            LeaderError::Unreachable(format!("{}: {text}", status.code()))
        };
    }
    match status.code() {
        Code::NotFound => LeaderError::Unknown(text),
        Code::AlreadyExists => LeaderError::Taken(text),
        Code::Unauthenticated => {
            LeaderError::Refused("the secret is not the leader's (cluster.secret)".to_owned())
        }
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => LeaderError::Refused(format!("{}: {text}", status.code())),
        Code::Ok => LeaderError::Protocol("an error that is none".to_owned()),
        Code::DeadlineExceeded => LeaderError::Silent(format!("{}: {text}", status.code())),
        Code::Cancelled
        | Code::Unknown
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => LeaderError::Unavailable(format!("{}: {text}", status.code())),
    }
}

/// Whether an error goes back to one of this kind.
fn caused_by<E: std::error::Error + 'static>(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error>::is::<E>)
}

/// How long the leader may take for an offered state of so many users, groups and keys: it has to travel as a whole, and
/// to be written.
fn offer_max(size: usize) -> Duration {
    ANSWER_MAX.saturating_add(OFFERED_MAX.saturating_mul(u32::try_from(size).unwrap_or(u32::MAX)))
}

/// Waits for an answer, for the connection too, and no longer than `most`.
async fn within<T>(
    most: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>> + Send,
) -> Result<T, LeaderError> {
    match tokio::time::timeout(most, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(call_error(&status)),
        Err(_) => Err(LeaderError::Silent("no answer in time".to_owned())),
    }
}

/// The deadline goes along, so that the leader need not finish what nobody waits for.
fn timed<T>(message: T, most: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(most);
    request
}

fn client_tls(tls: &ClientTls) -> ClientTlsConfig {
    let config = match &tls.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
        None => ClientTlsConfig::new().trust_anchors(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    };
    match &tls.identity {
        Some((certificate, key)) => config.identity(Identity::from_pem(certificate, key)),
        None => config,
    }
}
