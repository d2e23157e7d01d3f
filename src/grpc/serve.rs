//! Serving gRPC on a socket that is bound already.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::accounts::Accounts;
use crate::cluster::LeaderDisk;
use crate::cluster::lead::Lead;
use crate::cluster::leader::LeaderBooks;
use crate::cluster::link::MESSAGE_BYTES_MAX;
use crate::config::ClusterTls;
use crate::domain::clock::Clock;
use crate::grpc::access::Access;
use crate::grpc::cluster::ClusterService;
use crate::grpc::stats::StatsService;
use crate::store::Store;
use crate::wire::DESCRIPTORS;
use crate::wire::v1::cluster_server::ClusterServer;
use crate::wire::v1::stats_server::StatsServer;

/// The longest that a call may take to be answered; streams may go on.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_MAX: Duration = Duration::from_secs(10);
/// The largest question about statistics.
const QUESTION_BYTES_MAX: usize = 64 << 10;
/// Calls of one connection at the same time.
const CALLS_MAX: u32 = 256;
/// Bytes that a caller may send ahead, per call and per connection.
const WINDOW: u32 = 4 << 20;

/// PEM texts for TLS.
#[derive(Clone)]
pub struct ServerTls {
    /// The node's certificate, with its chain.
    pub cert: Vec<u8>,
    /// The certificate's key.
    pub key: Vec<u8>,
    /// Set: callers have to show a certificate that this authority has signed.
    pub client_ca: Option<Vec<u8>>,
}

/// Why gRPC cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The descriptors are none: a defect.
    #[error("the descriptors of the services cannot be read: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The certificates cannot be used, or the socket broke.
    #[error("gRPC cannot be served: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// The services of a leader.
pub struct Services<B> {
    /// What nodes call.
    pub cluster: ClusterService<B>,
    /// What programs ask for statistics.
    pub stats: StatsService,
    /// Who may call.
    pub access: Access,
}

impl ServerTls {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// A certificate that a leader needs and has not, or a file that cannot be read, as a sentence.
    pub fn read(config: &ClusterTls) -> Result<Self, String> {
        let Some(identity) = &config.identity else {
            return Err("cluster.tls: a leader needs a certificate and its key".to_owned());
        };
        let client_ca = match (config.client_auth, &config.ca) {
            (false, _) => None,
            (true, Some(ca)) => Some(read(ca)?),
            (true, None) => {
                return Err("cluster.tls: client_auth needs the authority of the followers".to_owned());
            }
        };
        Ok(Self { cert: read(&identity.cert)?, key: read(&identity.key)?, client_ca })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

impl Services<LeaderDisk> {
    /// The services of a leader on its database; `secret` is the cluster's. Watchers are let go at `stop`.
    #[must_use]
    pub fn new(
        lead: &Lead,
        store: &Store,
        accounts: &Accounts,
        secret: Option<&str>,
        clock: &Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Self {
        let access = Access::new(secret, accounts.clone(), Arc::clone(clock));
        let own = lead.clone();
        let own_peer = Arc::new(move || own.own_peer());
        Self {
            cluster: ClusterService::new(lead.leader(), own_peer, stop),
            stats: StatsService::new(lead.clone(), store.clone(), access.clone(), Arc::clone(clock)),
            access,
        }
    }
}

/// Serves until `stop`, then finishes the calls that have begun.
///
/// # Errors
/// [`Error`], at once for certificates that cannot be used.
pub async fn serve<B: LeaderBooks>(
    listener: TcpListener,
    services: Services<B>,
    tls: Option<ServerTls>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut server = Server::builder()
        .timeout(ANSWER_MAX)
        .max_concurrent_streams(CALLS_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_MAX));
    if let Some(tls) = tls {
        server = server.tls_config(server_tls(tls))?;
    }
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let routes = routes(services).await?;
    Ok(server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await?)
}

async fn routes<B: LeaderBooks>(services: Services<B>) -> Result<Routes, Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<ClusterServer<ClusterService<B>>>().await;
    let cluster = ClusterServer::new(services.cluster)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
        .accept_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Zstd);
    // Before anything of a message is read: a small one can unpack to a large one.
    let access = services.access;
    let cluster = InterceptedService::new(cluster, move |call: tonic::Request<()>| {
        access.node(call.metadata())?;
        Ok(call)
    });
    reporter.set_serving::<StatsServer<StatsService>>().await;
    let stats = StatsServer::new(services.stats)
        .max_decoding_message_size(QUESTION_BYTES_MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::builder();
    routes.add_service(health).add_service(cluster).add_service(stats);
    // grpcurl and older clients ask for v1alpha.
    routes.add_service(reflection().build_v1()?).add_service(reflection().build_v1alpha()?);
    Ok(routes.routes())
}

fn server_tls(tls: ServerTls) -> ServerTlsConfig {
    let config = ServerTlsConfig::new().identity(Identity::from_pem(tls.cert, tls.key));
    match tls.client_ca {
        Some(ca) => config.client_ca_root(Certificate::from_pem(ca)),
        None => config,
    }
}
