//! What retention has removed is counted, and stays so: on both databases.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, Database, TransactionTrait as _};
use sproxy::domain::fence::Fence;
use sproxy::domain::ids::{LedgerId, NodeId, RequestId};
use sproxy::domain::usage::UsageRecord;
use sproxy::store::UsageRepo;
use sproxy::store::usage::InsertedBatch;

use crate::harness::databases::{TestDatabase, on_both};
use crate::harness::records::{at, node, record};
use crate::harness::until;

/// One record a second.
fn series(source: &NodeId, count: u64) -> Vec<UsageRecord> {
    let start = at("2026-11-22T10:00:00Z");
    let one = |n| UsageRecord { source_node: source.clone(), ..record(start.plus(Duration::from_secs(n))) };
    (0..count).map(one).collect()
}

fn ids(records: &[UsageRecord]) -> Vec<RequestId> {
    records.iter().map(|record| record.request_id).collect()
}

async fn take(usage: &UsageRepo<'_>, source: &NodeId, records: &[UsageRecord]) -> InsertedBatch {
    usage.insert_pushed_batch(&Arc::new(records.to_vec()), source, &Fence::default()).await.expect("taken")
}

async fn requests(usage: &UsageRepo<'_>) -> u64 {
    usage.global_sum_tokens(at("2026-11-22"), at("2026-11-23")).await.expect("sums").request_count
}

on_both! {
    async fn what_retention_has_removed_is_not_counted_again(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let (one, two, three) = (node("sp-1"), node("sp-2"), node("sp-3"));
        let mut records = series(&two, 10);
        // It never arrived, and is older than what is going to be removed.
        let late = records.remove(2);
        assert_eq!(take(&usage, &two, &records).await.added(), 9);
        for (most, removed) in [(3, 3), (3, 1), (3, 0)] {
            let gone = usage.delete_synced_before(records[4].created_at, Some(&one), most).await.expect("removed");
            assert_eq!(gone, removed);
        }
        records.push(UsageRecord { request_id: RequestId::new(), ..records[8].clone() });
        records.push(late.clone());
        let again = take(&usage, &two, &records).await;
        assert_eq!((again.added(), again.duplicates(), again.number), (1, 5, Some(2)));
        let mut below = again.below_floor;
        below.sort();
        let mut expected = ids(&records[..4]);
        expected.push(late.request_id);
        expected.sort();
        assert_eq!(below, expected);
        assert_eq!(requests(&usage).await, 10);
        assert!(usage.get(late.request_id).await.expect("read").is_none(), "nothing of it stays");
        // Another node's floor is its own, and a floor does not sink.
        assert_eq!(take(&usage, &three, &series(&three, 4)).await.added(), 4);
        assert_eq!(usage.delete_synced_before(at("2026-11-22T10:00:01Z"), Some(&one), 10).await.expect("removed"), 1);
        assert_eq!(take(&usage, &two, &records[..4]).await.below_floor.len(), 4);
        assert_eq!(requests(&usage).await, 14);
    }

    async fn a_node_notes_what_a_leader_had_acknowledged_when_it_goes_to_another(db: TestDatabase) {
        let usage = UsageRepo::on(&db.store);
        let (own, left, other) = (node("sp-2"), LedgerId::new(), LedgerId::new());
        let records = series(&own, 40);
        let all = ids(&records);
        usage.insert_batch(&records, false).await.expect("inserted");
        for (part, batch) in [(0..10, Some(1)), (10..20, Some(2)), (20..30, Some(3)), (30..35, None)] {
            usage.mark_synced(&all[part], batch).await.expect("marked");
        }
        let known = async |ledger| {
            let mut known = usage.acknowledged_by(ledger, &all).await.expect("read");
            known.sort();
            known
        };
        let sorted = |ids: &[RequestId]| {
            let mut ids = ids.to_vec();
            ids.sort();
            ids
        };
        assert_eq!(known(left).await, [], "with one leader nothing is noted");
        assert_eq!(usage.mark_all_unsynced(Some(left), 7).await.expect("marked"), 35);
        assert_eq!(known(left).await, sorted(&all[..30]), "what has the number of a batch");
        assert_eq!(known(other).await, []);
        // The other one has it all; then back, and to a third: what was noted first holds.
        usage.mark_synced(&all, Some(1)).await.expect("marked");
        usage.mark_all_unsynced(Some(other), 100).await.expect("marked");
        usage.mark_synced(&all, Some(9)).await.expect("marked");
        usage.mark_all_unsynced(Some(left), 100).await.expect("marked");
        usage.forget_acknowledged_after(left, 2).await.expect("forgotten");
        assert_eq!(known(left).await, sorted(&all[..20]), "its backup has no more than two batches");
        assert_eq!(known(other).await, sorted(&all));
        // A note goes with its log.
        usage.mark_synced(&all, Some(3)).await.expect("marked");
        usage.delete_synced_before(records[5].created_at, Some(&own), 100).await.expect("removed");
        assert_eq!(known(left).await, sorted(&all[5..20]));
    }
}

/// A push that finds the row going waits for whoever removes it, and must then know what that one wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_has_waited_for_retention_knows_its_floor() {
    let Some(db) = TestDatabase::postgres().await else { return };
    let two = node("sp-2");
    let records = series(&two, 3);
    assert_eq!(take(&UsageRepo::on(&db.store), &two, &records).await.added(), 3);
    let database = Database::connect(db.url()).await.expect("a connection");
    let tx = database.begin().await.expect("begun");
    tx.execute_unprepared("DELETE FROM usage_logs").await.expect("removed");
    let floor = records[2].created_at.as_micros();
    let sql = format!("INSERT INTO usage_floors (node, through) VALUES ('sp-2', {floor})");
    tx.execute_unprepared(&sql).await.expect("written");
    let (store, pushed) = (db.store.clone(), records.clone());
    let push = tokio::spawn(async move { take(&UsageRepo::on(&store), &node("sp-2"), &pushed).await });
    until("the push waits", async || {
        let sql =
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let statement = sea_orm::Statement::from_string(database.get_database_backend(), sql);
        database.query_one_raw(statement).await.expect("asked").map(drop)
    })
    .await;
    tx.commit().await.expect("committed");
    let inserted = push.await.expect("pushed");
    assert_eq!((inserted.added(), inserted.duplicates(), inserted.below_floor.len()), (0, 0, 3));
    assert_eq!(requests(&UsageRepo::on(&db.store)).await, 3);
}
