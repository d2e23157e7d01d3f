//! The gRPC server: connections and what they keep waiting are bounded as at the HTTP server; who may call, and whether
//! there is room for it, is decided by a call's head, before anything of its message is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Request, Response};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::accounts::Accounts;
use crate::cluster::LeaderDatabase;
use crate::cluster::follower::client::MESSAGE_BYTES_MAX;
use crate::cluster::leader::LeaderStore;
use crate::cluster::leader::service::LeaderService;
use crate::config::ClusterTls;
use crate::domain::clock::Clock;
use crate::domain::failure::{Failure, Kind};
use crate::grpc::access::Access;
use crate::grpc::cluster::ClusterService;
use crate::grpc::stats::StatsService;
use crate::grpc::status::status;
use crate::inbound::tls::{Files, Tls};
use crate::inbound::{Handler, Limits, Protocols, RequestBody, Server};
use crate::store::Store;
use crate::wire::DESCRIPTORS;
use crate::wire::v1::cluster_server::ClusterServer;
use crate::wire::v1::stats_server::StatsServer;

/// Connections at the same time: a follower has one.
const CONNECTIONS_MAX: usize = 4_096;
/// A follower always has a call open; programs that ask for statistics may keep their connection for a while.
const IDLE_MAX: Duration = Duration::from_mins(5);
/// Calls of one connection at the same time, and bytes that a caller may send ahead: per call, so that a batch fits
/// without waiting for leave, and per connection, which is what pushes that wait for room can take.
const PROTOCOLS: Protocols = Protocols { http1: false, streams: 256, windows: Some((1 << 20, 2 << 20)) };
/// The longest that a call may take to be answered; streams may go on.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The largest request for statistics, health or reflection.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Batches in memory at the same time, of all followers together. More wait unread until their deadline.
const PUSHES_MAX: usize = 32;
const PUSH: &str = "/sproxy.v1.Cluster/PushUsage";

/// The descriptors of the services cannot be read: a defect.
#[derive(Debug, thiserror::Error)]
#[error("gRPC cannot be served: {0}")]
pub struct Error(#[from] tonic_reflection::server::Error);

/// The services of a leader.
pub struct Services<B> {
    pub cluster: ClusterService<B>,
    /// Statistics, for programs.
    pub stats: StatsService,
    pub access: Access,
}

/// Reads the files of `[cluster]` for a leader's server.
///
/// # Errors
/// A certificate that a leader needs and has not, or a file that cannot be used, as a sentence.
pub fn tls(config: &ClusterTls) -> Result<Arc<Tls>, String> {
    let Some(identity) = &config.identity else {
        return Err("cluster.tls_cert: a leader needs a certificate and its key".to_owned());
    };
    let client_ca = match (config.client_auth, &config.ca) {
        (false, _) => None,
        (true, Some(ca)) => Some(ca.as_path()),
        (true, None) => {
            return Err("cluster.tls_ca: tls_client_auth needs the authority of the followers".to_owned());
        }
    };
    Tls::read(Files { section: "cluster.", cert: &identity.cert, key: &identity.key, client_ca }, &[b"h2"])
}

impl Services<LeaderDatabase> {
    /// The services of a leader on its database; `secret` is the cluster's. Watchers' streams end at `stop`.
    #[must_use]
    pub fn new(
        lead: &LeaderService,
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

/// The services and their access checks.
pub struct Calls {
    access: Access,
    routes: Routes,
    pushes: Semaphore,
}

/// A server on a socket that is bound already, with the services behind it. A connection has to open within
/// `header_timeout`.
///
/// # Errors
/// [`Error`]
pub async fn server<B: LeaderStore>(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    services: Services<B>,
    header_timeout: Duration,
) -> Result<Server<Calls>, Error> {
    let limits =
        Limits { connections: CONNECTIONS_MAX, header_timeout, idle_timeout: IDLE_MAX, stall_timeout: None };
    let access = services.access.clone();
    let routes = routes(services).await?;
    let calls = Calls { access, routes, pushes: Semaphore::new(PUSHES_MAX) };
    Ok(Server::new(Arc::new(listener), tls, Arc::new(calls), PROTOCOLS, limits))
}

impl Handler for Calls {
    type Body = Body;

    async fn handle(self: Arc<Self>, head: Parts, body: RequestBody, _: SocketAddr) -> Response<Body> {
        match self.answer(Request::from_parts(head, body)).await {
            Ok(answer) => answer,
            Err(status) => status.into_http(),
        }
    }

    fn no_capacity(&self, _: &Parts) -> Response<Body> {
        unavailable("this leader has as many connections as it may, or as many of this address").into_http()
    }
}

impl Calls {
    #[allow(clippy::result_large_err, reason = "tonic's handlers return a Status")]
    async fn answer(&self, request: Request<RequestBody>) -> Result<Response<Body>, Status> {
        self.access.caller(request.uri().path(), request.headers())?;
        let deadline =
            Instant::now() + requested_timeout(request.headers()).unwrap_or(ANSWER_MAX).min(ANSWER_MAX);
        let answer = async {
            let _place = match request.uri().path() {
                PUSH => Some(
                    self.pushes.acquire().await.map_err(|_| unavailable("the leader is shutting down"))?,
                ),
                _ => None,
            };
            match self.routes.clone().oneshot(request).await {
                Ok(answer) => Ok(answer),
                Err(never) => match never {},
            }
        };
        match timeout_at(deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded("the call took too long")),
        }
    }
}

fn unavailable(text: &str) -> Status {
    status(Failure::new(Kind::Unavailable, text))
}

/// How long a caller will wait, as it says in `grpc-timeout`: at most eight digits and a unit.
fn requested_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = Some(digits).filter(|digits| digits.len() <= 8)?.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_hours(amount)),
        "M" => Some(Duration::from_mins(amount)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

async fn routes<B: LeaderStore>(services: Services<B>) -> Result<Routes, Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let health = health.max_decoding_message_size(REQUEST_BYTES_MAX);
    reporter.set_serving::<ClusterServer<ClusterService<B>>>().await;
    let cluster = ClusterServer::new(services.cluster)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
        .accept_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Zstd);
    reporter.set_serving::<StatsServer<StatsService>>().await;
    let stats = StatsServer::new(services.stats)
        .max_decoding_message_size(REQUEST_BYTES_MAX)
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
    routes
        .add_service(reflection().build_v1()?.max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(REQUEST_BYTES_MAX));
    Ok(routes.routes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_deadline_is_read_in_its_unit() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            requested_timeout(&headers)
        };
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999H"), Some(Duration::from_hours(99_999_999)));
        for none in ["", "S", "5", "5s", "-5S", "999999999S", "5 S"] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }
}
