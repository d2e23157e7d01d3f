//! The leader's own records and those of its followers: who waits for whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sproxy::accounts::{Accounts, Settings};
use sproxy::cluster::LeaderDatabase;
use sproxy::cluster::leader::LeaderStore;
use sproxy::config::{Durability, UsageConfig};
use sproxy::domain::clock::{Clock, SystemClock};
use sproxy::domain::fence::Fence;
use sproxy::domain::ids::UserId;
use sproxy::ledger::Ledger;
use sproxy::store::{Location, Store, Synchronous};
use tokio_util::sync::CancellationToken;

use crate::harness::auth::auth;
use crate::harness::records::{at, node, record};
use crate::harness::until;

/// As many as the leader lets wait for their commit.
const PUSHES: usize = 32;
const RECORDS: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_of_the_leader_waits_for_one_push_and_not_for_all_that_are_in_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sproxy.db");
    let store = Store::open(&Location::Sqlite { path, synchronous: Synchronous::Normal }).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (ledger, writer) = Ledger::open(store.clone(), &usage(), true, Arc::clone(&clock));
    tokio::spawn(writer.run(CancellationToken::new()));
    let accounts = Accounts::open(store.clone(), Settings::new(&auth(), true), clock).await.unwrap();
    let books = Arc::new(LeaderDatabase::new(store, accounts));

    let pushed = Arc::new(AtomicUsize::new(0));
    for _ in 0..PUSHES {
        let (books, pushed) = (Arc::clone(&books), Arc::clone(&pushed));
        tokio::spawn(async move {
            let records = (0..RECORDS).map(|_| record(at("2026-11-22"))).collect();
            assert_eq!(
                books.apply_batch(&node("sp-2"), records, &Fence::default()).await.unwrap().accepted.len(),
                RECORDS
            );
            pushed.fetch_add(1, Ordering::SeqCst);
        });
    }
    let done = || pushed.load(Ordering::SeqCst);
    until("the first push is through", async || (done() > 0).then_some(())).await;
    let before = done();
    ledger.reserve(UserId::new()).unwrap().record(record(at("2026-11-22"))).committed().await.unwrap();
    let overtaken_by = done() - before;
    assert!(overtaken_by < PUSHES / 4, "{overtaken_by} pushes came first");
    until("every push is through", async || (done() == PUSHES).then_some(())).await;
}

fn usage() -> UsageConfig {
    UsageConfig {
        durability: Durability::Committed,
        queue: 10,
        batch: 10,
        commit_timeout: Duration::from_secs(30),
        retention: Duration::from_hours(24),
    }
}
