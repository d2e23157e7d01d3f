//! The service `Cluster`: what nodes say to their leader.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::leader::{Leader, LeaderStore};
use crate::cluster::replication::snapshot::SnapshotReader;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::LedgerId;
use crate::domain::peer::Peer;
use crate::grpc::status::status;
use crate::grpc::watch::Watch;
use crate::wire::malformed::parse_some;
use crate::wire::v1;
use crate::wire::v1::cluster_server::Cluster;

/// The leader's side of the service. Credentials are checked before a message is read: see `serve`.
pub struct ClusterService<B> {
    leader: Arc<Leader<B>>,
    own_peer: Arc<dyn Fn() -> Peer + Send + Sync>,
    stop: CancellationToken,
}

impl<B: LeaderStore> ClusterService<B> {
    /// Answers for `leader`; `own_peer` is the leader as a peer among the others. Watchers' streams end at `stop`.
    pub fn new(
        leader: Arc<Leader<B>>,
        own_peer: Arc<dyn Fn() -> Peer + Send + Sync>,
        stop: CancellationToken,
    ) -> Self {
        Self { leader, own_peer, stop }
    }
}

#[tonic::async_trait]
impl<B: LeaderStore> Cluster for ClusterService<B> {
    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterResponse>, Status> {
        self.leader.register(request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        self.leader.heartbeat(request.get_ref()).await.map(Response::new).map_err(status)
    }

    async fn leave(&self, request: Request<v1::LeaveRequest>) -> Result<Response<v1::LeaveResponse>, Status> {
        self.leader.leave(request.get_ref()).await.map(Response::new).map_err(status)
    }

    async fn push_usage(
        &self,
        request: Request<v1::PushUsageRequest>,
    ) -> Result<Response<v1::PushUsageResponse>, Status> {
        self.leader.push_usage(request.into_inner()).await.map(Response::new).map_err(status)
    }

    type WatchStateStream = Pin<Box<dyn Stream<Item = Result<v1::StateUpdate, Status>> + Send>>;

    async fn watch_state(
        &self,
        request: Request<v1::WatchStateRequest>,
    ) -> Result<Response<Self::WatchStateStream>, Status> {
        let request = request.into_inner();
        let watcher = self.leader.watcher(&request).map_err(status)?;
        let ledger: Option<LedgerId> =
            parse_some("known_ledger_id", &request.known_ledger_id).map_err(status)?;
        let known = ledger.map(|ledger| (ledger, request.known_version));
        self.leader.advance_version_past(known).await.map_err(status)?;
        let signs_every = request.signs_of_life_every.and_then(|every| every.try_into().ok());
        let watch = Watch::new(watcher, Arc::clone(&self.own_peer), known, signs_every, self.stop.clone());
        Ok(Response::new(Box::pin(watch.into_stream())))
    }

    type WatchBatchesStream = Pin<Box<dyn Stream<Item = Result<v1::AppliedBatch, Status>> + Send>>;

    async fn watch_batches(
        &self,
        request: Request<v1::WatchBatchesRequest>,
    ) -> Result<Response<Self::WatchBatchesStream>, Status> {
        let batches = self.leader.watch_batches(request.get_ref()).map_err(status)?;
        let signs_of_life = self.leader.heartbeat_interval();
        let stream = batch_stream(batches, signs_of_life, self.stop.clone());
        Ok(Response::new(Box::pin(stream)))
    }

    async fn offer_state(
        &self,
        request: Request<Streaming<v1::AccountsPart>>,
    ) -> Result<Response<v1::OfferStateResponse>, Status> {
        let mut parts = request.into_inner();
        let mut reader = SnapshotReader::default();
        while let Some(part) = parts.message().await? {
            if let Some((origin, state)) = reader.read_piece(part).map_err(status)? {
                return self.leader.offer_state(origin, state).await.map(Response::new).map_err(status);
            }
        }
        Err(status(Failure::new(Kind::Invalid, "the state ended before its last piece")))
    }
}

/// Every batch, and a sign of life where there is none for a while. Ends at `stop`.
fn batch_stream(
    batches: broadcast::Receiver<Arc<v1::AppliedBatch>>,
    signs_of_life: Duration,
    stop: CancellationToken,
) -> impl Stream<Item = Result<v1::AppliedBatch, Status>> + Send {
    stream::unfold(batches, move |mut batches| {
        let stop = stop.clone();
        async move {
            loop {
                let next = stop.run_until_cancelled(timeout(signs_of_life, batches.recv())).await?;
                let batch = match next {
                    Ok(Ok(batch)) => Arc::unwrap_or_clone(batch),
                    // The other leader notices by the numbers.
                    Ok(Err(RecvError::Lagged(_))) => continue,
                    Ok(Err(RecvError::Closed)) => return None,
                    Err(_) => v1::AppliedBatch::default(),
                };
                return Some((Ok(batch), batches));
            }
        }
    })
}
