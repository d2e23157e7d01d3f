//! The demo's clients: every dialect, JSON and streams, a few that hang up, a few errors.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::cli::local_cluster::books::Received;
use crate::cli::local_cluster::plan::Plan;
use crate::domain::ids::RequestId;

const CLIENTS: usize = 24;
const PAUSE: Duration = Duration::from_millis(20);

/// The traffic and what has come of it.
pub(super) struct Traffic {
    total: u64,
    begun: AtomicU64,
    over: AtomicU64,
    keys: Vec<String>,
    nodes: Mutex<Vec<(String, String)>>,
    http: reqwest::Client,
    outcomes: Mutex<Outcomes>,
    began: Instant,
    /// How long it took, once it is over.
    took: OnceLock<Duration>,
}

/// How quickly clients were served.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct Pace {
    /// Requests that are over, per second.
    pub(super) requests_per_second: f64,
    /// Until an answer's head was there, milliseconds: half of the answers, and all but one in a hundred.
    pub(super) first_byte_p50_ms: f64,
    pub(super) first_byte_p99_ms: f64,
}

/// What clients have met.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcomes {
    /// Complete answers, by the id that the node gave them.
    pub(super) received: BTreeMap<RequestId, Received>,
    /// Complete answers by node.
    pub(super) served: BTreeMap<String, u64>,
    /// Until each answer's head was there, microseconds.
    pub(super) first_bytes_us: Vec<u32>,
    /// Answers that clients left before they were complete.
    pub(super) hung_up: u64,
    /// Calls that failed or broke off, as when a node is killed.
    pub(super) broken: u64,
    /// The first answer that was not what was asked for, if any.
    pub(super) surprise: Option<String>,
}

impl Traffic {
    pub(super) fn new(total: u64, keys: Vec<String>, nodes: Vec<(String, String)>) -> Self {
        Self {
            total,
            begun: AtomicU64::new(0),
            over: AtomicU64::new(0),
            keys,
            nodes: Mutex::new(nodes),
            http: reqwest::Client::new(),
            outcomes: Mutex::new(Outcomes::default()),
            began: Instant::now(),
            took: OnceLock::new(),
        }
    }

    /// Tells clients where the nodes are now.
    pub(super) fn set_nodes(&self, nodes: Vec<(String, String)>) {
        *self.nodes.lock() = nodes;
    }

    /// Lets the clients begin.
    pub(super) fn begin(self: &Arc<Self>) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(Arc::clone(self).client());
        }
        clients
    }

    /// The share of the requests that are over, 0 to 1.
    #[allow(clippy::cast_precision_loss, reason = "a share for people and faults, not a count")]
    pub(super) fn progress(&self) -> f64 {
        self.over.load(Ordering::Relaxed) as f64 / self.total as f64
    }

    pub(super) fn received(&self) -> Outcomes {
        self.outcomes.lock().clone()
    }

    /// Complete answers so far, by node.
    pub(super) fn served(&self) -> BTreeMap<String, u64> {
        self.outcomes.lock().served.clone()
    }

    /// How quick it has been so far.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn pace(&self) -> Pace {
        let mut times = self.outcomes.lock().first_bytes_us.clone();
        times.sort_unstable();
        let at = |percent: usize| {
            times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied()
        };
        let ms = |percent| at(percent).map_or(0.0, |us| f64::from(us) / 1_000.0);
        let took = self.took.get().copied().unwrap_or_else(|| self.began.elapsed());
        Pace {
            requests_per_second: self.over.load(Ordering::Relaxed) as f64 / took.as_secs_f64(),
            first_byte_p50_ms: ms(50),
            first_byte_p99_ms: ms(99),
        }
    }

    async fn client(self: Arc<Self>) {
        loop {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            if number >= self.total {
                return;
            }
            let plan = Plan::of(number);
            if !self.call(number, &plan).await.is_ok_and(|answered| answered) {
                self.outcomes.lock().broken += 1;
                // A killed node takes a moment to come back; whoever calls it meanwhile waits like a client would.
                sleep(PAUSE * 5).await;
            }
            if self.over.fetch_add(1, Ordering::Relaxed) + 1 == self.total {
                self.took.get_or_init(|| self.began.elapsed());
            }
            sleep(PAUSE).await;
        }
    }

    /// Whether it was answered, and not turned away by a node that has just been started again.
    async fn call(&self, number: u64, plan: &Plan) -> Result<bool, reqwest::Error> {
        let (node, url) = {
            let nodes = self.nodes.lock();
            let at = usize::try_from(number / 100 + number).unwrap_or(0) % nodes.len().max(1);
            nodes.get(at).cloned().unwrap_or_default()
        };
        let key = &self.keys[usize::try_from(number / 3).unwrap_or(0) % self.keys.len()];
        let request = plan.request(&self.http, &url, key);
        let begun = Instant::now();
        let answer = request.send().await?;
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE
            && !answer.headers().contains_key("x-sproxy-target")
        {
            return Ok(false);
        }
        let first_byte = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.outcomes.lock().first_bytes_us.push(first_byte);
        let status = answer.status().as_u16();
        let id = answer.headers().get("x-sproxy-request-id").and_then(|id| id.to_str().ok()?.parse().ok());
        if plan.hang_up && status == 200 {
            let mut pieces = answer.bytes_stream();
            pieces.next().await;
            self.outcomes.lock().hung_up += 1;
            return Ok(true);
        }
        answer.bytes().await?;
        let mut outcomes = self.outcomes.lock();
        *outcomes.served.entry(node).or_default() += 1;
        let Some(id) = id.filter(|_| status == plan.status) else {
            outcomes.surprise.get_or_insert_with(|| {
                format!("{} answered {status}, not {}", plan.path_and_body().0, plan.status)
            });
            return Ok(true);
        };
        outcomes.received.insert(id, plan.received());
        Ok(true)
    }
}
