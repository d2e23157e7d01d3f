//! The product's own database under a simulated disk: whatever the disk's model does is done there too, and both have to
//! say the same. So what the model forgives, SQL does not, and the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use sproxy::cluster::follower::push::SyncCursor;
use sproxy::domain::clock::Timestamp;
use sproxy::domain::fence::{BatchesHeld, Fence, KnownSession};
use sproxy::domain::ids::{LedgerId, NodeId, RequestId, SessionId};
use sproxy::domain::peer::{Peer, PeerStatus};
use sproxy::domain::quota::Used;
use sproxy::domain::usage::UsageRecord;
use sproxy::quota::SubjectId;
use sproxy::store::usage::InsertedBatch;
use sproxy::store::{self, Location, MetaRepo, PeerRepo, Store, Synchronous, UsageRepo};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Rows per step of what goes through all of them: small, so that there are steps.
const STEP: u32 = 7;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
});

/// An empty database, migrated once and copied for each node.
static EMPTY: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("empty.db");
    let store = RUNTIME.block_on(open(path.clone()));
    RUNTIME.block_on(store.close());
    (directory, path)
});

async fn open(path: PathBuf) -> Store {
    Store::open(&Location::Sqlite { path, synchronous: Synchronous::Normal }).await.expect("a database")
}

/// One node's database. It is worked on between two steps of the history, so that each seed has one order of things.
pub struct Real {
    store: Store,
    _directory: TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        RUNTIME.block_on(self.store.close());
    }
}

impl Real {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sproxy.db");
        std::fs::copy(&EMPTY.1, &path).expect("copied");
        Self { store: RUNTIME.block_on(open(path)), _directory: directory }
    }

    fn does<T>(work: impl Future<Output = Result<T, store::Error>>) -> T {
        RUNTIME.block_on(work).expect("the database works")
    }

    fn usage(&self) -> UsageRepo<'_> {
        UsageRepo::on(&self.store)
    }

    /// A leader's intake.
    pub fn insert_pushed_batch(
        &self,
        node: &NodeId,
        records: &[UsageRecord],
        fence: &Fence,
    ) -> InsertedBatch {
        Self::does(self.usage().insert_pushed_batch(&Arc::new(records.to_vec()), node, fence))
    }

    pub fn batches_held(&self, node: &NodeId) -> BatchesHeld {
        Self::does(self.usage().batches_held(node))
    }

    pub fn begin_session(&self, node: &NodeId, new: SessionId, known: &[KnownSession]) -> u64 {
        Self::does(self.usage().begin_session(node, new, known))
    }

    pub fn used_by(&self, node: &NodeId, as_of: Timestamp) -> (BTreeMap<String, Used>, u64) {
        let (totals, batches) = Self::does(self.usage().used_by(node, as_of));
        let users = totals.users.into_iter().map(|(id, used)| (SubjectId::User(id), used));
        let groups = totals.groups.into_iter().map(|(id, used)| (SubjectId::Group(id), used));
        (users.chain(groups).map(|(subject, used)| (format!("{subject:?}"), used)).collect(), batches)
    }

    pub fn change_peer(&self, id: &NodeId, before: Option<&Peer>, kept: Option<&Peer>) {
        Self::does(async {
            let tx = self.store.begin().await?;
            let peers = PeerRepo::on(&tx);
            assert_eq!(peers.get_for_update(id).await?.as_ref(), before, "the database's peer");
            match kept {
                Some(peer) => peers.upsert(peer).await?,
                None => drop(peers.delete(id).await?),
            }
            tx.commit().await.map(drop)
        });
    }

    pub fn update_peers(&self, heard: &[PeerStatus], silent: &[Peer]) -> Vec<Peer> {
        let peers = PeerRepo::on(&self.store);
        Self::does(peers.note_statuses(heard));
        Self::does(peers.mark_inactive(silent));
        Self::does(peers.list())
    }

    pub fn next_node_number(&self, above: u64) -> u64 {
        Self::does(MetaRepo::on(&self.store).next_node_number(above))
    }

    /// Retention, to its end; how many logs it removed.
    pub fn remove_before(&self, before: Timestamp, own: &NodeId) -> usize {
        let mut removed = 0;
        loop {
            match Self::does(self.usage().delete_synced_before(before, Some(own), STEP)) {
                0 => return removed,
                some => removed += usize::try_from(some).expect("few"),
            }
        }
    }

    /// Requests, tokens and nano-USD that the sums have.
    pub fn totals(&self) -> (u64, u64, i64) {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let totals = Self::does(self.usage().global_sum_tokens(at("2026-01-01"), at("2028-01-01")));
        (totals.request_count, totals.total_tokens, totals.cost_nanousd)
    }

    /// A follower's own record.
    pub fn insert(&self, record: &UsageRecord) {
        let inserted = Self::does(self.usage().insert_batch(std::slice::from_ref(record), false));
        assert_eq!(inserted.added(), 1, "a record of its own is new");
    }

    pub fn list_unsynced(&self, after: Option<SyncCursor>, limit: usize) -> Vec<RequestId> {
        let listed = Self::does(self.usage().list_unsynced_after(after, limit));
        listed.into_iter().map(|record| record.request_id).collect()
    }

    pub fn mark_synced(&self, ids: &[RequestId], batch: Option<u64>) {
        Self::does(self.usage().mark_synced(ids, batch));
    }

    pub fn set_aside(&self, refused: &[(RequestId, String)]) {
        Self::does(self.usage().set_aside(refused));
    }

    pub fn retry_set_aside(&self) -> u64 {
        Self::does(self.usage().retry_set_aside())
    }

    pub fn mark_all_unsynced(&self, left: Option<LedgerId>) {
        Self::does(self.usage().mark_all_unsynced(left, STEP));
    }

    pub fn acknowledged_by(&self, ledger: LedgerId, ids: &[RequestId]) -> BTreeSet<RequestId> {
        Self::does(self.usage().acknowledged_by(ledger, ids)).into_iter().collect()
    }

    pub fn forget_acknowledged_after(&self, ledger: LedgerId, batch: u64) {
        Self::does(self.usage().forget_acknowledged_after(ledger, batch));
    }

    pub fn mark_unsynced_after(&self, batch: u64) -> u64 {
        Self::does(self.usage().mark_unsynced_after(batch, STEP))
    }

    pub fn last_batch(&self) -> u64 {
        Self::does(self.usage().last_batch())
    }

    /// How many are owed, and when the oldest of them was made.
    pub fn owed(&self) -> (u64, Option<Timestamp>) {
        (Self::does(self.usage().unsynced_count()), Self::does(self.usage().oldest_unsynced()))
    }
}
