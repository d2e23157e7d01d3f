//! The registry and what the disk holds of it, with changes that meet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::yield_now;

use super::*;
use crate::cluster::replication::state::StateVersion;
use crate::cluster::replication::state_log::Update;
use crate::domain::clock::ManualClock;
use crate::domain::ids::{Jti, SessionId};
use crate::store::EndedSession;
use crate::wire::v1;

/// A disk in memory that keeps peers.
#[derive(Default)]
struct MemoryStore {
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    /// The next write of peers takes its time.
    is_slow: AtomicBool,
    /// What has changed since the state was loaded.
    news: Mutex<Option<SignInNews>>,
}

impl MemoryStore {
    async fn is_busy(&self) {
        if self.is_slow.swap(false, Ordering::SeqCst) {
            for _ in 0..9 {
                yield_now().await;
            }
        }
    }
}

impl LeaderStore for MemoryStore {
    async fn apply_batch(
        &self,
        _node: &NodeId,
        _records: Vec<UsageRecord>,
        _fence: &Fence,
    ) -> Result<AppliedBatch, Failure> {
        Ok(AppliedBatch::default())
    }

    async fn used_by(&self, _node: &NodeId, _as_of: Timestamp) -> Result<NodeUse, Failure> {
        Ok(NodeUse { subjects: Vec::new(), batches: 0 })
    }

    fn detach(&self, work: BoxFuture<'static, ()>) {
        drop(work);
    }

    async fn batches_held(&self, _node: &NodeId) -> Result<BatchesHeld, Failure> {
        Ok(BatchesHeld::default())
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
        id: NodeId,
        rule: impl Fn(Option<Peer>, BatchesHeld) -> Result<Option<Peer>, registry::Error> + Send + Sync + 'static,
    ) -> Result<Option<Peer>, Failure> {
        self.is_busy().await;
        let mut peers = self.peers.lock();
        let kept = rule(peers.get(&id).cloned(), BatchesHeld { taken: u64::MAX, session: None })?;
        match kept.clone() {
            Some(peer) => drop(peers.insert(id, peer)),
            None => drop(peers.remove(&id)),
        }
        Ok(kept)
    }

    async fn update_peers(&self, heard: Vec<PeerStatus>, silent: Vec<Peer>) -> Result<Vec<Peer>, Failure> {
        self.is_busy().await;
        let mut peers = self.peers.lock();
        for peer in peers.values_mut() {
            for status in &heard {
                status.apply(peer);
            }
            peer.is_active &= !silent.contains(peer);
        }
        Ok(peers.values().cloned().collect())
    }

    async fn load_state(&self) -> Result<(Provenance, State), Failure> {
        let origin =
            StateVersion { ledger: LedgerId::new(), version: 0, lineage: Vec::new(), pristine: true };
        Ok((Provenance { origin, pristine_version: 0, adopted: None }, State::default()))
    }

    async fn sign_in_news(&self, _version: u64) -> Result<Option<SignInNews>, Failure> {
        Ok(self.news.lock().clone())
    }

    async fn raise_version(&self, _version: u64) -> Result<(), Failure> {
        Ok(())
    }

    async fn adopt(&self, _version: u64, _standing: Provenance, _state: State) -> Result<(), Failure> {
        Ok(())
    }
}

fn node(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

fn registers(run: InstanceId, former: &[InstanceId]) -> v1::RegisterRequest {
    v1::RegisterRequest {
        node_id: "sp-2".to_owned(),
        instance_id: run.to_string(),
        former_instance_ids: former.iter().map(ToString::to_string).collect(),
        advertise_url: "http://sp-2".to_owned(),
        ..v1::RegisterRequest::default()
    }
}

/// A leader that knows a run of sp-2.
async fn leader(run: InstanceId) -> Leader<MemoryStore> {
    let clock = Arc::new(ManualClock::new("2026-11-22T12:00:00Z".parse().expect("a time")));
    let heartbeat = Duration::from_secs(5);
    let opened =
        Leader::open(node("sp-1"), InstanceId::new(), heartbeat, MemoryStore::default(), Vec::new(), clock);
    let leader = opened.await.expect("opens");
    leader.register(registers(run, &[])).await.expect("registers");
    leader
}

#[tokio::test]
async fn a_sweep_does_not_bring_back_a_peer_that_is_forgotten_meanwhile() {
    let run = InstanceId::new();
    let leader = leader(run).await;
    let leaves = v1::LeaveRequest {
        node_id: "sp-2".to_owned(),
        instance_id: run.to_string(),
        ..v1::LeaveRequest::default()
    };
    leader.leave(&leaves).await.expect("leaves");
    leader.store.is_slow.store(true, Ordering::SeqCst);
    let sp_2 = node("sp-2");
    let (swept, forgotten) = tokio::join!(leader.sweep(), leader.forget(&sp_2));
    swept.and(forgotten).expect("both are done");
    assert_eq!(leader.peers(), []);
    assert_eq!(*leader.store.peers.lock(), BTreeMap::new(), "on the disk as in memory");
}

#[tokio::test]
async fn a_sweep_does_not_write_an_earlier_run_over_one_that_registers_meanwhile() {
    let (run, next) = (InstanceId::new(), InstanceId::new());
    let leader = leader(run).await;
    let (id, now) = (node("sp-2"), leader.clock.now());
    leader.registry.lock().watch_opened(&id, run, now).expect("known");
    leader.registry.lock().watch_closed(&id, run);
    leader.store.is_slow.store(true, Ordering::SeqCst);
    let (swept, registered) = tokio::join!(leader.sweep(), leader.register(registers(next, &[run])));
    swept.expect("is done");
    registered.expect("registers");
    let held = leader.store.peers.lock()[&node("sp-2")].instance_id;
    assert_eq!(held, Some(next), "a leader that is started again would refuse the run that lives");
}

/// Many people sign out. (This disk has another ledger every time that its state is loaded.)
#[tokio::test]
async fn the_end_of_a_session_is_published_without_loading_the_state() {
    let leader = leader(InstanceId::new()).await;
    let (before, _) = leader.update_for(None);
    let ended = EndedSession { session: Jti::new(), until: leader.clock.now().plus(Duration::from_hours(1)) };
    let news = SignInNews { version: 1, token_keys: vec![[7; 32]], ended_sessions: vec![ended] };
    *leader.store.news.lock() = Some(news);
    leader.state_changed().await.expect("published");
    let (now, update) = leader.update_for(Some((before.ledger, before.version)));
    assert_eq!(now, StateVersion { version: 1, ..before });
    let Update::Steps(steps) = update else { panic!("{update:?}") };
    let changes: Vec<_> = steps.iter().map(|step| (step.base, step.version, &*step.change)).collect();
    let [(0, 1, change)] = changes[..] else { panic!("{changes:?}") };
    assert_eq!(change.ended_sessions, [(ended.session, ended.until)].into());
    assert_eq!((change.size(), change.token_keys.len()), (1, 1));
    assert_eq!(leader.provenance.lock().pristine_version, 1, "and it is no work on the state");
}
