//! The callers of the torture: a steady load on all nodes, streaming and not, with several users' keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::cli::local_cluster::books::Received;
use crate::cli::local_cluster::error::Error;
use crate::cli::local_cluster::plan::Plan;
use crate::domain::ids::RequestId;

const CALLERS: u64 = 10;
const PAUSE: Duration = Duration::from_millis(60);
/// A caller gives up on a node that hangs.
const CALL_MAX: Duration = Duration::from_secs(8);
/// Whoever was not answered calls another node a moment later.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Where a node is called.
struct Seat {
    name: String,
    url: Mutex<Option<String>>,
    /// Callers may call it.
    is_open: AtomicBool,
    in_flight: AtomicU64,
}

/// What callers have met.
#[derive(Clone, Default)]
pub(super) struct Outcomes {
    /// Complete answers.
    pub(super) received: BTreeMap<RequestId, Received>,
    /// Who answered, and how long after the beginning, milliseconds.
    pub(super) answered: BTreeMap<RequestId, (usize, u64)>,
    /// Answers that their callers left before they were complete.
    pub(super) hung_up: u64,
    /// Calls without an answer, or with one that broke off.
    pub(super) broken: u64,
    /// The gateway's own refusals, by status.
    pub(super) refused: BTreeMap<u16, u64>,
    /// Of each node the first with each status, word for word.
    pub(super) refusals: BTreeMap<(usize, u16), String>,
}

/// The callers' side of the cluster.
pub(super) struct Callers {
    seats: Vec<Seat>,
    keys: Vec<String>,
    http: reqwest::Client,
    begun: AtomicU64,
    calling: watch::Sender<bool>,
    outcomes: Mutex<Outcomes>,
    began: Instant,
}

impl Callers {
    pub(super) fn new(nodes: &[String], keys: Vec<String>, began: Instant) -> Result<Arc<Self>, Error> {
        let seat = |name: &String| Seat {
            name: name.clone(),
            url: Mutex::new(None),
            is_open: AtomicBool::new(true),
            in_flight: AtomicU64::new(0),
        };
        let http = reqwest::Client::builder().no_proxy().timeout(CALL_MAX).build();
        Ok(Arc::new(Self {
            seats: nodes.iter().map(seat).collect(),
            keys,
            http: http.map_err(Error::call("making a client"))?,
            begun: AtomicU64::new(0),
            calling: watch::Sender::new(true),
            outcomes: Mutex::new(Outcomes::default()),
            began,
        }))
    }

    /// Lets them begin; they go on until the set is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> JoinSet<()> {
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(Arc::clone(self).caller());
        }
        callers
    }

    /// Tells them where a node is now; a node that is down is not called.
    pub(super) fn node_is_at(&self, node: usize, url: Option<String>) {
        if let Some(seat) = self.seats.get(node) {
            *seat.url.lock() = url;
        }
    }

    /// Whether anybody calls at all.
    pub(super) fn go_on(&self, goes_on: bool) {
        self.calling.send_replace(goes_on);
    }

    /// Whether a node may be called.
    pub(super) fn open(&self, node: usize, is_open: bool) {
        if let Some(seat) = self.seats.get(node) {
            seat.is_open.store(is_open, Ordering::SeqCst);
        }
    }

    /// Whether nobody waits for this node's answer.
    pub(super) fn is_idle(&self, node: usize) -> bool {
        self.seats.get(node).is_none_or(|seat| seat.in_flight.load(Ordering::SeqCst) == 0)
    }

    /// Whether nobody waits for any answer.
    pub(super) fn all_idle(&self) -> bool {
        (0..self.seats.len()).all(|node| self.is_idle(node))
    }

    pub(super) fn calls(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn outcomes(&self) -> Outcomes {
        self.outcomes.lock().clone()
    }

    /// Whether something holds of every answer that was received of a node.
    pub(super) fn all_answered_by(&self, node: usize, holds: impl Fn(RequestId) -> bool) -> bool {
        let outcomes = self.outcomes.lock();
        outcomes.answered.iter().filter(|(_, (by, _))| *by == node).all(|(id, _)| holds(*id))
    }

    pub(super) fn name(&self, node: usize) -> &str {
        self.seats.get(node).map_or("?", |seat| &seat.name)
    }

    /// Whether every user is let in by the node at `url`.
    pub(super) async fn lets_all_in(&self, url: &str) -> bool {
        for key in &self.keys {
            let answer = self.http.get(format!("{url}/v1/models")).bearer_auth(key).send().await;
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                return false;
            }
        }
        true
    }

    async fn caller(self: Arc<Self>) {
        let mut calling = self.calling.subscribe();
        loop {
            if calling.wait_for(|calling| *calling).await.is_err() {
                return;
            }
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            let is_answered = self.turn(number).await;
            sleep(if is_answered { PAUSE } else { PAUSE_AFTER_FAILURE }).await;
        }
    }

    /// One call; whether it was answered.
    async fn turn(&self, number: u64) -> bool {
        let up = self.seats.iter().enumerate().filter(|(_, seat)| seat.is_open.load(Ordering::SeqCst));
        let up: Vec<_> = up.filter_map(|(at, seat)| Some((at, seat, seat.url.lock().clone()?))).collect();
        let turn = usize::try_from(number + number / 100).unwrap_or(0) % up.len().max(1);
        let Some((at, seat, url)) = up.get(turn) else { return false };
        seat.in_flight.fetch_add(1, Ordering::SeqCst);
        // Closed meanwhile: whoever closed it may have found it idle before this call was counted.
        let answered =
            if seat.is_open.load(Ordering::SeqCst) { self.call(number, *at, url).await } else { Some(()) };
        seat.in_flight.fetch_sub(1, Ordering::SeqCst);
        if answered.is_none() {
            self.outcomes.lock().broken += 1;
        }
        answered.is_some()
    }

    /// None where there was no answer, or one that broke off.
    async fn call(&self, number: u64, node: usize, url: &str) -> Option<()> {
        let plan = Plan::of(number);
        let key = self.keys.get(usize::try_from(number / 3).unwrap_or(0) % self.keys.len().max(1))?;
        let answer = plan.request(&self.http, url, key).send().await.ok()?;
        let status = answer.status().as_u16();
        let id = answer.headers().get("x-sproxy-request-id").and_then(|id| id.to_str().ok()?.parse().ok());
        let mut pieces = answer.bytes_stream();
        if plan.hang_up && status == 200 {
            pieces.next().await;
            self.outcomes.lock().hung_up += 1;
            return Some(());
        }
        let (mut body, mut is_whole) = (Vec::new(), true);
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(_) => is_whole = false,
            }
            if !is_whole {
                break;
            }
        }
        let ends = |last: &str| memchr::memmem::find(&body, last.as_bytes()).is_some();
        if !is_whole && !plan.last_event().is_some_and(ends) {
            return None;
        }
        let mut outcomes = self.outcomes.lock();
        let Some(id) = id.filter(|_| status == plan.status) else {
            *outcomes.refused.entry(status).or_default() += 1;
            outcomes.refusals.entry((node, status)).or_insert_with(|| {
                let at = self.began.elapsed().as_secs_f64();
                let said = String::from_utf8_lossy(&body);
                format!("{at:.3} s: {} answered {status}: {said}", self.name(node))
            });
            return Some(());
        };
        outcomes.received.insert(id, plan.received());
        let at = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        outcomes.answered.insert(id, (node, at));
        Some(())
    }
}
