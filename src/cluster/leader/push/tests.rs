//! A commit and the limits, with everything in between that can break off.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::task::yield_now;
use uuid::Uuid;

use super::*;
use crate::cluster::leader::registry::Error;
use crate::cluster::replication::adoption::Provenance;
use crate::cluster::replication::state::{Ancestor, State, StateVersion};
use crate::cluster::usage::per_node::NodeUse;
use crate::domain::clock::{Clock, ManualClock, Timestamp};
use crate::domain::fence::{BatchesHeld, KnownSession};
use crate::domain::ids::{InstanceId, LedgerId, RequestId, SessionId, UserId};
use crate::domain::peer::Peer;
use crate::domain::peer::PeerStatus;
use crate::domain::usage::{Outcome, TokenSource, Tokens};
use crate::wire::{usage, v1};

/// A database in memory. A commit is followed by a moment in which it is done and nobody has been told.
#[derive(Default)]
struct MemoryStore {
    records: Mutex<BTreeMap<RequestId, UsageRecord>>,
    batches: Mutex<u64>,
    state: Mutex<State>,
    published: Mutex<u64>,
    /// The next commit's answer gets lost.
    loses_answer: AtomicBool,
    ledger: Option<LedgerId>,
    version: AtomicI64,
    adopted: Mutex<Option<Provenance>>,
}

impl LeaderStore for MemoryStore {
    async fn apply_batch(
        &self,
        _node: &NodeId,
        records: Vec<UsageRecord>,
        _fence: &Fence,
    ) -> Result<AppliedBatch, Failure> {
        let mut applied = AppliedBatch::default();
        for record in records {
            if self.records.lock().insert(record.request_id, record.clone()).is_none() {
                applied.accepted.push(record.clone());
            } else {
                applied.duplicates += 1;
            }
        }
        let number = {
            let mut batches = self.batches.lock();
            *batches += 1;
            *batches
        };
        applied.number = Some(number);
        yield_now().await;
        if self.loses_answer.swap(false, Ordering::SeqCst) {
            return Err(Failure::new(Kind::Unavailable, "the connection was cut"));
        }
        Ok(applied)
    }

    async fn used_by(&self, node: &NodeId, as_of: Timestamp) -> Result<NodeUse, Failure> {
        let mut sums: BTreeMap<UserId, Used> = BTreeMap::new();
        for record in self.records.lock().values().filter(|record| record.source_node == *node) {
            let sum = sums.entry(record.user_id).or_default();
            let tokens = record.tokens.total();
            sum.daily_tokens += if record.created_at >= as_of.day_start() { tokens } else { 0 };
            if record.created_at >= as_of.month_start() {
                sum.monthly_tokens += tokens;
                sum.monthly_nanousd += record.cost_nanousd;
            }
        }
        let subjects = sums.into_iter().map(|(user, used)| (SubjectId::User(user), used)).collect();
        let batches = *self.batches.lock();
        yield_now().await;
        Ok(NodeUse { subjects, batches })
    }

    fn detach(&self, work: BoxFuture<'static, ()>) {
        #[allow(clippy::disallowed_methods, reason = "a test ends with its runtime")]
        tokio::spawn(work);
    }

    async fn batches_held(&self, _node: &NodeId) -> Result<BatchesHeld, Failure> {
        Ok(BatchesHeld { taken: *self.batches.lock(), session: None })
    }

    async fn begin_session(
        &self,
        node: &NodeId,
        _new: SessionId,
        _known: &[KnownSession],
    ) -> Result<u64, Failure> {
        Ok(self.batches_held(node).await?.taken)
    }

    async fn next_node_number(&self, above: u64) -> Result<u64, Failure> {
        Ok(above + 1)
    }

    async fn change_peer(
        &self,
        _id: NodeId,
        rule: impl Fn(Option<Peer>, BatchesHeld) -> Result<Option<Peer>, Error> + Send + Sync + 'static,
    ) -> Result<Option<Peer>, Failure> {
        Ok(rule(None, BatchesHeld::default())?)
    }

    async fn update_peers(&self, _heard: Vec<PeerStatus>, _silent: Vec<Peer>) -> Result<Vec<Peer>, Failure> {
        Ok(Vec::new())
    }

    async fn load_state(&self) -> Result<(Provenance, State), Failure> {
        let version = u64::try_from(self.version.load(Ordering::SeqCst)).expect("a version");
        let origin = StateVersion {
            ledger: self.ledger.expect("a ledger"),
            version,
            lineage: Vec::new(),
            pristine: version == 0,
        };
        *self.published.lock() += 1;
        let beginning = Provenance { origin, pristine_version: 0, adopted: None };
        Ok((self.adopted.lock().clone().unwrap_or(beginning), self.state.lock().clone()))
    }

    async fn raise_version(&self, _version: u64) -> Result<(), Failure> {
        Ok(())
    }

    async fn adopt(&self, _version: u64, provenance: Provenance, state: State) -> Result<(), Failure> {
        *self.state.lock() = state;
        self.version.store(i64::try_from(provenance.origin.version).expect("small"), Ordering::SeqCst);
        *self.adopted.lock() = Some(provenance);
        yield_now().await;
        if self.loses_answer.swap(false, Ordering::SeqCst) {
            return Err(Failure::new(Kind::Unavailable, "the connection was cut"));
        }
        Ok(())
    }
}

struct Cluster {
    leader: Arc<Leader<MemoryStore>>,
    clock: Arc<ManualClock>,
    user: UserId,
    instance: InstanceId,
}

const NOW: &str = "2026-11-22T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn node(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

impl Cluster {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(at(NOW)));
        let shared = Arc::clone(&clock);
        let heartbeat = Duration::from_secs(5);
        let store = MemoryStore { ledger: Some(LedgerId::new()), ..MemoryStore::default() };
        let run = InstanceId::new();
        let leader =
            Leader::open(node("sp-1"), run, heartbeat, store, Vec::new(), shared).await.expect("opens");
        let cluster =
            Self { leader: Arc::new(leader), clock, user: UserId::new(), instance: InstanceId::new() };
        let request = v1::RegisterRequest {
            node_id: "sp-2".to_owned(),
            instance_id: cluster.instance.to_string(),
            advertise_url: "http://sp-2".to_owned(),
            ..v1::RegisterRequest::default()
        };
        cluster.leader.register(request).await.expect("registers");
        cluster
    }

    fn batch(&self, tokens: &[u64]) -> v1::PushUsageRequest {
        let records = tokens.iter().map(|tokens| usage::to_wire(&self.record(*tokens))).collect();
        v1::PushUsageRequest {
            node_id: "sp-2".to_owned(),
            instance_id: self.instance.to_string(),
            ledger_id: self.leader.ledger().to_string(),
            records,
            ..v1::PushUsageRequest::default()
        }
    }

    fn record(&self, tokens: u64) -> UsageRecord {
        UsageRecord {
            request_id: RequestId::new(),
            user_id: self.user,
            user: "alice".into(),
            group_id: None,
            group: None,
            model: "model".into(),
            actual_model: "model".into(),
            provider: crate::domain::provider::Provider::Anthropic,
            target: "target".into(),
            upstream_url: "http://upstream".into(),
            tokens: Tokens { input: tokens, ..Tokens::default() },
            token_source: TokenSource::Reported,
            outcome: Outcome::Ok,
            is_streaming: false,
            status_code: 200,
            duration_ms: 1,
            ttfb_ms: None,
            price: Arc::default(),
            parts: Vec::new(),
            attempts: Vec::new(),
            cost_nanousd: 7,
            session_id: None,
            agent_id: None,
            client_request_id: None,
            converted_from: None,
            source_node: node("sp-2"),
            created_at: self.clock.now(),
        }
    }

    /// What another follower is told that alice has used, day and month.
    fn told(&self) -> (u64, u64) {
        let delta = self.leader.remote_usage(0, &node("sp-3"), 100);
        delta.subjects.first().map_or((0, 0), |(_, used)| (used.daily_tokens, used.monthly_tokens))
    }
}

/// Runs a future until it has waited so many times, and drops it.
async fn cancelled_after<F: Future>(polls: usize, future: F) {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        yield_now().await;
    }
}

#[tokio::test]
async fn limits_hear_of_a_push_wherever_it_breaks_off() {
    for polls in 0..6 {
        let cluster = Cluster::new().await;
        let batch = cluster.batch(&[3, 4]);
        cancelled_after(polls, cluster.leader.push_usage(batch.clone())).await;
        for _ in 0..10 {
            yield_now().await;
        }
        let answer = cluster.leader.push_usage(batch).await.expect("taken");
        assert_eq!(answer.accepted + answer.duplicates, 2);
        assert_eq!(cluster.told(), (7, 7), "broken off after {polls} polls");
    }
}

#[tokio::test]
async fn limits_hear_of_a_commit_whose_answer_got_lost() {
    let cluster = Cluster::new().await;
    let batch = cluster.batch(&[5]);
    cluster.leader.store().loses_answer.store(true, Ordering::SeqCst);
    cluster.leader.push_usage(batch.clone()).await.expect_err("nobody knows");
    cluster.leader.reload_invalidated().await.expect("read");
    assert_eq!(cluster.told(), (5, 5), "before it is pushed again");
    let answer = cluster.leader.push_usage(batch).await.expect("taken");
    assert_eq!((answer.duplicates, cluster.told()), (1, (5, 5)));
    cluster.leader.push_usage(cluster.batch(&[2])).await.expect("taken");
    cluster.leader.reload_invalidated().await.expect("read");
    assert_eq!(cluster.told(), (7, 7));
}

#[tokio::test]
async fn a_commit_that_comes_to_light_later_is_noticed_by_the_number_that_is_missing() {
    let cluster = Cluster::new().await;
    cluster.leader.push_usage(cluster.batch(&[1])).await.expect("taken");
    // A transaction that was given up and commits after all.
    let late = cluster.record(10);
    cluster
        .leader
        .store()
        .apply_batch(&node("sp-2"), vec![late], &Fence::default())
        .await
        .expect("committed");
    cluster.leader.push_usage(cluster.batch(&[100])).await.expect("taken");
    assert_eq!(cluster.told().0, 1, "in the order of the numbers");
    cluster.leader.reload_invalidated().await.expect("read");
    assert_eq!(cluster.told(), (111, 111));
}

#[tokio::test]
async fn what_is_committed_while_the_sums_are_read_counts_once() {
    let cluster = Cluster::new().await;
    cluster.leader.push_usage(cluster.batch(&[1])).await.expect("taken");
    cluster.leader.invalidate([node("sp-2")]);
    let mut reading = Box::pin(cluster.leader.reload_invalidated());
    let waits = reading.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(waits.is_pending(), "the sums are read, and not set yet");
    cluster.leader.push_usage(cluster.batch(&[10])).await.expect("taken");
    reading.await.expect("read");
    assert_eq!(cluster.told(), (11, 11));
    cluster.leader.reload_invalidated().await.expect("read");
    assert_eq!(cluster.told(), (11, 11));
}

#[tokio::test]
async fn a_clock_that_was_ahead_for_a_moment_takes_nothing_from_what_was_used() {
    for ahead in ["2026-11-24T12:00:00Z", "2027-01-03T12:00:00Z"] {
        let cluster = Cluster::new().await;
        cluster.leader.push_usage(cluster.batch(&[3])).await.expect("taken");
        cluster.clock.set(at(ahead));
        assert_eq!(cluster.told().0, 0, "a new day");
        cluster.leader.push_usage(cluster.batch(&[4])).await.expect("taken");
        cluster.clock.set(at(NOW));
        assert_eq!(cluster.told(), (0, 0), "nobody is told less than there is");
        cluster.leader.reload_invalidated().await.expect("read");
        assert!(cluster.leader.take_clock_setback(), "the leader's own sums have to be set again");
        cluster.leader.reload_invalidated().await.expect("nothing to read");
        assert_eq!(cluster.told(), (7, 7), "{ahead}");
        cluster.leader.push_usage(cluster.batch(&[8])).await.expect("taken");
        assert_eq!(cluster.told(), (15, 15), "{ahead}");
    }
}

#[tokio::test]
async fn a_state_that_the_database_has_taken_over_is_published_wherever_the_offer_breaks_off() {
    for polls in 1..6 {
        let cluster = Cluster::new().await;
        let offered =
            StateVersion { ledger: LedgerId::new(), version: 9, lineage: Vec::new(), pristine: false };
        cancelled_after(polls, cluster.leader.offer_state(offered, State::default())).await;
        for _ in 0..10 {
            yield_now().await;
        }
        // When it was opened, twice before the state was taken, and when it was published.
        assert_eq!(*cluster.leader.store().published.lock(), 4, "broken off after {polls} polls");
        assert_eq!(cluster.leader.update_for(None).0.version, 10);
    }
}

/// Its answer got lost: what the leader remembers is older than what the database holds.
#[tokio::test]
async fn what_the_database_has_taken_over_is_not_overwritten_by_the_next_offer() {
    let cluster = Cluster::new().await;
    let lost = LedgerId::new();
    let at = |ledger, version, lineage| StateVersion { ledger, version, lineage, pristine: false };
    let state = |id| State { removed: [Uuid::from_u128(id)].into(), ..State::default() };
    cluster.leader.store().loses_answer.store(true, Ordering::SeqCst);
    cluster.leader.offer_state(at(lost, 9, Vec::new()), state(1)).await.expect_err("nobody knows");
    let ancestor = Ancestor { ledger: lost, version: Some(8) };
    cluster.leader.offer_state(at(LedgerId::new(), 12, vec![ancestor]), state(2)).await.expect("taken");
    let held = cluster.leader.store().state.lock().removed.clone();
    assert_eq!(held, [1, 2].map(Uuid::from_u128).into(), "both");
}
