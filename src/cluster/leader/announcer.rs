//! A leader that was promoted tells every node that it knows, at its HTTP side: followers turn to it, whatever they are
//! configured with, and the leader before, when it comes back, steps down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};
use tokio_util::sync::CancellationToken;

use crate::cluster::leader::Leader;
use crate::cluster::leader::store::LeaderDatabase;
use crate::cluster::standing::{SIGNATURE, Standing, is_signed, sign};
use crate::cluster::task::pause;
use crate::domain::ids::NodeId;
use crate::domain::leadership::Leadership;
use crate::transport::{Client, Endpoint, Http2};

/// Where nodes hear of it.
pub const PATH: &str = "/cluster/leadership";
/// Nodes that have not heard of it are told again so soon, and later and later up to the second.
const RETRY: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];
/// Nodes that have heard of it are told again so often: one may have lost its disk since, or stand for another leader.
const AGAIN: Duration = Duration::from_mins(1);
/// Nodes that are told at the same time.
const AT_ONCE: usize = 16;
/// The longest answer of a node.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Announcer {
    pub standing: Standing,
    pub leader: Arc<Leader<LeaderDatabase>>,
    /// `cluster.secret`; none: the whole cluster is on one machine.
    pub secret: Option<String>,
}

/// When a node is told next.
struct Next {
    at: Instant,
    wait: Duration,
    client: Option<(String, Arc<Client>)>,
}

impl Announcer {
    pub async fn run(self, stop: CancellationToken) {
        let mut nodes: BTreeMap<NodeId, Next> = BTreeMap::new();
        while let Some(own) = self.standing.own() {
            let [soon, _] = RETRY;
            let now = Instant::now();
            let mut due = Vec::new();
            for peer in self.leader.peers().into_iter().filter(|peer| peer.id != own.node) {
                let next = nodes.entry(peer.id.clone()).or_insert(Next { at: now, wait: soon, client: None });
                if next.at <= now {
                    due.push((peer.id, next.client_of(&peer.addr)));
                }
            }
            let telling = stream::iter(due)
                .map(|(id, client)| async { (id, self.tell(client, &own).await) })
                .buffer_unordered(AT_ONCE)
                .collect::<Vec<_>>();
            let Some(told) = stop.run_until_cancelled(telling).await else { return };
            for (id, outcome) in told {
                let Some(next) = nodes.get_mut(&id) else { continue };
                next.note(&id, outcome);
            }
            if !pause(soon, &stop).await {
                return;
            }
        }
        // Superseded: the node is about to begin anew.
        stop.cancelled().await;
    }

    /// Tells a node, and takes note of what it knows.
    async fn tell(&self, client: Result<Arc<Client>, String>, own: &Leadership) -> Result<(), String> {
        let body = serde_json::to_vec(own).map_err(|error| error.to_string())?;
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static(PATH);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(secret) = &self.secret {
            let signature = sign(secret, request.body());
            request
                .headers_mut()
                .insert(SIGNATURE, HeaderValue::from_str(&signature).map_err(|error| error.to_string())?);
        }
        let (head, body) = client?.request(request).await.map_err(|error| error.to_string())?;
        let answer = body.read_whole(ANSWER_BYTES_MAX).await?;
        if head.status != StatusCode::OK {
            return Err(format!("{}: {}", head.status, String::from_utf8_lossy(&answer)));
        }
        if let Some(secret) = &self.secret {
            let signature = head.headers.get(SIGNATURE).and_then(|value| value.to_str().ok());
            if !signature.is_some_and(|signature| is_signed(secret, &answer, signature)) {
                return Err("its answer is not signed with cluster.secret".to_owned());
            }
        }
        let known: Leadership = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        self.standing.learn(known).await.map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl Next {
    fn client_of(&mut self, address: &str) -> Result<Arc<Client>, String> {
        if let Some((_, client)) = self.client.as_ref().filter(|(at, _)| at == address) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Client::new(&Endpoint {
            url: address.parse().map_err(|_| format!("`{address}` is no URL"))?,
            http2: Http2::No,
            proxy: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(2),
            answer_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(3),
            total_timeout: Duration::from_secs(5),
            queue_timeout: Duration::from_secs(1),
            max_connections: 1,
            http2_connections: 1,
        })?);
        self.client = Some((address.to_owned(), Arc::clone(&client)));
        Ok(client)
    }

    fn note(&mut self, id: &NodeId, outcome: Result<(), String>) {
        let [soon, latest] = RETRY;
        match outcome {
            Ok(()) => {
                if self.wait != AGAIN {
                    tracing::info!(peer = %id, "a node knows that this one leads");
                }
                self.wait = AGAIN;
            }
            Err(error) => {
                tracing::debug!(peer = %id, error, "a node could not be told that this one leads; it is tried again");
                self.wait = if self.wait == AGAIN { soon } else { (self.wait * 2).min(latest) };
            }
        }
        self.at = Instant::now() + self.wait;
    }
}
