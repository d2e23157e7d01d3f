//! The nodes that the agent may call, which of them is a conversation's, and which are not to be counted on now.
//!
//! They come from the login's server (`/me/nodes`). That server itself comes last, unless it is one of them: it may be a
//! balancer in front of them, and it is there when none of the addresses that nodes advertise leads anywhere from here.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use serde_json::Value;
use tokio::time::timeout;

use crate::cli::client::{Client, Query};
use crate::cli::error::Error;
use crate::cli::http_client::is_local;
use crate::cli::logins::{Login, server_name};
use crate::transport::{self, Endpoint, Http2, Proxy};

/// Nodes that are kept; a cluster has fewer.
const NODES_MAX: usize = 64;
/// To a connection, to the head of an answer, between two pieces of it, and to its end. Nodes have limits of their own,
/// which are shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_mins(30);
const IDLE_TIMEOUT: Duration = Duration::from_mins(30);
const TOTAL_TIMEOUT: Duration = Duration::from_hours(12);
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls to one node at the same time.
const CALLS_MAX: usize = 512;
/// How long a node may take to say that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(3);
const READY_ANSWER_MAX: usize = 64 << 10;

/// A node, as it is reached from here.
pub struct Node {
    pub url: String,
    weight: u32,
    is_last: bool,
    is_ready: AtomicBool,
    pub client: transport::Client,
}

/// How nodes are reached.
#[derive(Clone)]
pub struct Reach {
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<Proxy>,
}

/// All of them.
pub struct Nodes {
    login: Login,
    server: Client,
    reach: Reach,
    present: ArcSwap<Vec<Arc<Node>>>,
    calls: AtomicU64,
}

impl Nodes {
    /// The login's server alone, until it has told the others.
    ///
    /// # Errors
    /// An address or a CA file that cannot be used.
    pub fn new(login: Login, reach: Reach) -> Result<Self, Error> {
        let first = Node::new(login.server(), 1, true, &reach)?;
        let server = Client::of_login(login.clone())?;
        let present = ArcSwap::from_pointee(vec![Arc::new(first)]);
        Ok(Self { login, server, reach, present, calls: AtomicU64::new(0) })
    }

    /// All, the one first that a call should go to: those that are ready, the conversation's own before others.
    pub fn for_call(&self, conversation: Option<u64>) -> Vec<Arc<Node>> {
        let mut nodes = self.present.load().to_vec();
        let conversation = conversation.unwrap_or_else(|| self.calls.fetch_add(1, Ordering::Relaxed));
        let order = |node: &Arc<Node>| (!node.is_ready.load(Ordering::Relaxed), node.is_last);
        nodes.sort_by(|one, other| {
            let by_score = || one.score(conversation).total_cmp(&other.score(conversation));
            order(one).cmp(&order(other)).then_with(by_score)
        });
        nodes
    }

    /// Asks the server which nodes there are. What is not told stays as it is.
    ///
    /// # Errors
    /// The server's refusal, or that it cannot be reached.
    pub async fn refresh(&self) -> Result<(), Error> {
        let answer = self.server.get(&["me", "nodes"], &Query::new()).await?;
        let rows = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let before = self.present.load();
        let mut nodes = Vec::new();
        for row in rows.iter().take(NODES_MAX) {
            let Some(url) = row.get("addr").and_then(Value::as_str).and_then(|addr| self.usable(addr)) else {
                continue;
            };
            let weight = row.get("weight").and_then(Value::as_u64).unwrap_or(1);
            let weight = u32::try_from(weight).unwrap_or(u32::MAX);
            if weight > 0 {
                nodes.push(self.kept(&before, &url, weight, false)?);
            }
        }
        if nodes.iter().all(|node| node.url != self.login.server()) {
            nodes.push(self.kept(&before, self.login.server(), 1, true)?);
        }
        self.present.store(Arc::new(nodes));
        Ok(())
    }

    /// Asks all nodes whether they take traffic.
    pub async fn check(&self) {
        let nodes = self.present.load_full();
        let checks = nodes.iter().map(|node| async move {
            let is_ready = node.says_ready().await;
            if node.is_ready.swap(is_ready, Ordering::Relaxed) != is_ready {
                tracing::info!(node = %node.url, is_ready, "a node changes");
            }
        });
        futures_util::future::join_all(checks).await;
    }

    /// A node's address, if a token may go there: never in clear where the login's own server is under TLS, and never to this
    /// machine because another one has said so.
    fn usable(&self, addr: &str) -> Option<String> {
        let url = server_name(addr).ok()?;
        let server = self.login.server();
        let is_as_safe = !server.starts_with("https://") || url.starts_with("https://");
        let means_here = is_local(&url) || url.contains("://0.0.0.0") || url.contains("://[::]");
        (is_as_safe && (!means_here || is_local(server))).then_some(url)
    }

    fn kept(&self, before: &[Arc<Node>], url: &str, weight: u32, is_last: bool) -> Result<Arc<Node>, Error> {
        let same = |node: &&Arc<Node>| node.url == url && node.weight == weight && node.is_last == is_last;
        match before.iter().find(same) {
            Some(node) => Ok(Arc::clone(node)),
            None => Node::new(url, weight, is_last, &self.reach).map(Arc::new),
        }
    }
}

impl Node {
    fn new(url: &str, weight: u32, is_last: bool, reach: &Reach) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Refused(format!("{url} cannot be called: {reason}"));
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL".to_owned()))?;
        let client = transport::Client::new(&Endpoint {
            url: uri,
            http2: Http2::Offered,
            proxy: reach.proxy.clone().filter(|_| !is_local(url)),
            ca_file: reach.ca_file.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            answer_timeout: ANSWER_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            total_timeout: TOTAL_TIMEOUT,
            queue_timeout: QUEUE_TIMEOUT,
            max_connections: CALLS_MAX,
            http2_connections: 4,
        });
        let client = client.map_err(wrong)?;
        Ok(Self { url: url.to_owned(), weight, is_last, is_ready: AtomicBool::new(true), client })
    }

    /// It did not take a call: others go first until it says that it is ready.
    pub fn failed(&self) {
        self.is_ready.store(false, Ordering::Relaxed);
    }

    async fn says_ready(&self) -> bool {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = Uri::from_static("/readyz");
        let asked = async {
            let (head, body) = self.client.request(request).await.ok()?;
            body.read_whole(READY_ANSWER_MAX).await.ok()?;
            Some(head.status == StatusCode::OK)
        };
        timeout(READY_TIMEOUT, asked).await.ok().flatten().unwrap_or(false)
    }

    /// Weighted rendezvous hashing: the node with the least score is the conversation's, and when one goes away, only its
    /// conversations move.
    #[allow(clippy::cast_precision_loss, reason = "53 of 64 bits are plenty for a choice")]
    fn score(&self, conversation: u64) -> f64 {
        let mut hasher = DefaultHasher::new();
        (conversation, &self.url).hash(&mut hasher);
        let uniform = (hasher.finish() as f64 + 1.0) / (u64::MAX as f64 + 2.0);
        -uniform.ln() / f64::from(self.weight)
    }
}
