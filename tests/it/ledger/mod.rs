//! The ledger, on both databases: room is reserved, records are committed in groups, nothing is dropped.

mod crash;
mod unwritable;

use std::sync::Arc;
use std::time::Duration;

use sproxy::config::{Durability, UsageConfig};
use sproxy::domain::clock::{Clock, ManualClock};
use sproxy::domain::fence::Fence;
use sproxy::domain::ids::{RequestId, UserId};
use sproxy::domain::usage::UsageFilter;
use sproxy::ledger::{AppliedBatch, Full, Ledger, NotCommitted, Retention, UsageWriter};
use sproxy::store::{Store, UsageRepo};
use tokio_util::sync::CancellationToken;

use crate::harness::databases::{TestDatabase, on_both};
use crate::harness::postgres::Postgres;
use crate::harness::records::{Dice, at, node, record, sum};

const DEADLINE: Duration = Duration::from_secs(30);

fn config(queue: usize, batch: usize) -> UsageConfig {
    UsageConfig {
        durability: Durability::Committed,
        queue,
        batch,
        commit_timeout: DEADLINE,
        retention: Duration::from_hours(24),
    }
}

struct Open {
    ledger: Ledger,
    clock: Arc<ManualClock>,
    stop: CancellationToken,
}

/// A ledger whose writer is not running.
fn closed_book(store: &Store, queue: usize, batch: usize) -> (Open, UsageWriter) {
    let clock = Arc::new(ManualClock::new(at("2026-11-22T10:00:00Z")));
    let (ledger, writer) = Ledger::open(store.clone(), &config(queue, batch), false, clock.clone());
    (Open { ledger, clock, stop: CancellationToken::new() }, writer)
}

fn open_book(store: &Store, queue: usize, batch: usize) -> Open {
    let (open, writer) = closed_book(store, queue, batch);
    tokio::spawn(writer.run(open.stop.clone()));
    open
}

async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !is_true() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::task::yield_now().await;
    }
}

on_both! {
    async fn a_receipt_tells_of_the_commit_and_the_record_is_there_then(db: TestDatabase) {
        let Open { ledger, clock, .. } = open_book(&db.store, 10, 5);
        let written = record(at("2000-01-01"));
        let receipt = ledger.reserve(UserId::new()).expect("room").record(written.clone());
        receipt.committed().await.expect("committed");
        let read = ledger.usage().get(written.request_id).await.expect("read").expect("there");
        assert_eq!(read.record.created_at, clock.now(), "the ledger stamps the time");
        assert_eq!(ledger.stats().taken, 0, "its place is free again");
    }

    async fn thousands_of_records_from_many_tasks_are_all_there_once(db: TestDatabase) {
        let Open { ledger, clock, .. } = open_book(&db.store, 500, 100);
        let tasks: Vec<_> = (0..20_u64).map(|seed| {
            let (ledger, clock) = (ledger.clone(), clock.clone());
            tokio::spawn(async move {
                let mut dice = Dice(seed + 1);
                let mut booked = Vec::new();
                while booked.len() < 150 {
                    let Ok(reservation) = ledger.reserve(UserId::new()) else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    clock.advance(Duration::from_millis(dice.below(900)));
                    let record = dice.record(at("2026-11-22"), 1_000);
                    booked.push(record.clone());
                    let receipt = reservation.record(record);
                    if dice.below(4) == 0 {
                        receipt.committed().await.expect("committed");
                    }
                }
                booked
            })
        }).collect();
        let mut booked = Vec::new();
        for task in tasks {
            booked.extend(task.await.expect("no panic"));
        }
        ledger.flush().await.expect("flushed");
        let stats = ledger.stats();
        assert_eq!((stats.committed_total, stats.queued, stats.taken, stats.lost_total), (3_000, 0, 0, 0));
        assert!(stats.batches_total >= 30, "no batch is larger than asked for");
        let totals = ledger.usage().global_sum_tokens(at("2026-11-22"), at("2026-11-24")).await.expect("sums");
        assert_eq!(totals, sum(&booked));
        assert_eq!(ledger.usage().unsynced_count().await.expect("a count"), 3_000);
    }

    async fn a_full_ledger_refuses_and_has_room_again_after_the_commit(db: TestDatabase) {
        let (Open { ledger, stop, .. }, writer) = closed_book(&db.store, 3, 5);
        let kept = ledger.reserve(UserId::new()).expect("room");
        let dropped = ledger.reserve(UserId::new()).expect("room");
        let receipt = ledger.reserve(UserId::new()).expect("room").record(record(at("2026-11-22")));
        assert_eq!(ledger.reserve(UserId::new()).expect_err("full"), Full::NoPlace(3));
        drop(dropped);
        let again = ledger.reserve(UserId::new()).expect("a dropped reservation is room");
        assert_eq!(ledger.reserve(UserId::new()).expect_err("full"), Full::NoPlace(3));
        tokio::spawn(writer.run(stop));
        receipt.committed().await.expect("committed");
        let more = ledger.reserve(UserId::new()).expect("a committed record is room");
        assert_eq!((ledger.stats().taken, ledger.stats().refused_total), (3, 2));
        drop((kept, again, more));
    }

    async fn flush_returns_when_everything_recorded_before_is_committed(db: TestDatabase) {
        let Open { ledger, .. } = open_book(&db.store, 1_000, 7);
        ledger.flush().await.expect("nothing to flush");
        for round in 1..=3_u64 {
            for _ in 0..50 {
                drop(ledger.reserve(UserId::new()).expect("room").record(record(at("2026-11-22"))));
            }
            ledger.flush().await.expect("flushed");
            let page = ledger.usage().query(&UsageFilter::default(), 1_000, None).await.expect("a page");
            assert_eq!(page.items.len() as u64, round * 50);
        }
    }

    async fn a_writer_asked_to_stop_writes_what_is_left_and_what_was_reserved(db: TestDatabase) {
        let (Open { ledger, stop, .. }, writer) = closed_book(&db.store, 100, 10);
        let late = ledger.reserve(UserId::new()).expect("room");
        let receipts: Vec<_> =
            (0..42).map(|_| ledger.reserve(UserId::new()).expect("room").record(record(at("2026-11-22")))).collect();
        stop.cancel();
        let running = tokio::spawn(writer.run(stop));
        eventually("the line is written", || ledger.stats().committed_total == 42).await;
        let last = late.record(record(at("2026-11-22")));
        running.await.expect("no panic");
        ledger.wait().await;
        for receipt in receipts.into_iter().chain([last]) {
            receipt.committed().await.expect("committed");
        }
        assert_eq!(ledger.reserve(UserId::new()).expect_err("closed"), Full::Closed);
        assert_eq!(ledger.stats().lost_total, 0);
        assert_eq!(ledger.usage().unsynced_count().await.expect("a count"), 43);
        ledger.flush().await.expect("everything is committed");
    }

    async fn what_a_node_owes_is_known_from_line_to_acknowledgement(db: TestDatabase) {
        let (Open { ledger, clock, stop }, writer) = closed_book(&db.store, 100, 10);
        let tick = Duration::from_secs(1);
        let just_before = |moment: sproxy::domain::clock::Timestamp| moment.minus(Duration::from_micros(1));
        let synced_through = async || ledger.synced_through().await.expect("a time");
        assert_eq!(synced_through().await, just_before(clock.now()), "nothing is owed");
        let first_at = clock.now();
        let first = record(first_at);
        let _receipt = ledger.reserve(UserId::new()).expect("room").record(first.clone());
        clock.advance(tick);
        assert_eq!(synced_through().await, just_before(first_at), "it waits");
        tokio::spawn(writer.run(stop));
        ledger.flush().await.expect("flushed");
        assert_eq!(synced_through().await, just_before(first_at), "it is written, not acknowledged");
        ledger.mark_synced(&[first.request_id], None).await.expect("marked");
        assert_eq!(synced_through().await, just_before(clock.now()));
        // a clock set back a little does not put a record before what was promised
        let promised = synced_through().await;
        clock.set(clock.now().minus(tick));
        let second = record(first_at);
        drop(ledger.reserve(UserId::new()).expect("room").record(second.clone()));
        ledger.flush().await.expect("flushed");
        let second = ledger.usage().get(second.request_id).await.expect("read").expect("there");
        assert!(second.record.created_at > promised);
    }

    async fn a_commit_nudges_whoever_pushes(db: TestDatabase) {
        let Open { ledger, .. } = open_book(&db.store, 10, 10);
        let nudged = tokio::spawn({ let ledger = ledger.clone(); async move { ledger.nudged().await } });
        drop(ledger.reserve(UserId::new()).expect("room").record(record(at("2026-11-22"))));
        tokio::time::timeout(DEADLINE, nudged).await.expect("a nudge").expect("no panic");
    }

    async fn a_leader_takes_each_record_once_and_says_what_it_cannot_take(db: TestDatabase) {
        let Open { ledger, .. } = open_book(&db.store, 10, 10);
        let good: Vec<_> = (0..20).map(|_| record(at("2026-11-22T10:00:00Z"))).collect();
        let mut bad = [good[0].clone(), good[1].clone(), good[2].clone(), good[3].clone()];
        for record in &mut bad {
            record.request_id = RequestId::new();
        }
        bad[0].model = "a\0b".into();
        bad[1].tokens.output = u64::MAX;
        bad[2].cost_nanousd = -1;
        bad[3].created_at = at("1999-01-01");
        let all: Vec<_> = bad.iter().chain(&good).cloned().collect();
        let applied = AppliedBatch::apply(ledger.usage(), &node("sp-2"), all.clone(), &Fence::default()).await.expect("taken");
        assert_eq!((applied.accepted.len(), applied.duplicates, applied.rejected.len()), (20, 0, 4));
        assert_eq!(applied.accepted, good);
        assert!(applied.rejected.iter().zip(&bad).all(|((id, why), bad)| *id == bad.request_id && !why.is_empty()));
        let applied = AppliedBatch::apply(ledger.usage(), &node("sp-2"), all, &Fence::default()).await.expect("taken");
        assert_eq!((applied.accepted.len(), applied.duplicates, applied.rejected.len()), (0, 20, 4));
        assert_eq!(ledger.usage().unsynced_count().await.expect("a count"), 0, "a leader owes nobody");
        let totals = ledger.usage().global_sum_tokens(at("2026-11-22"), at("2026-11-23")).await.expect("sums");
        assert_eq!(totals, sum(&good));
    }

    async fn what_no_database_would_take_is_brought_within_bounds_and_booked(db: TestDatabase) {
        let Open { ledger, .. } = open_book(&db.store, 10, 10);
        let mut odd = record(at("2026-11-22"));
        odd.model = "claude\0".into();
        odd.session_id = Some("x".repeat(100_000));
        odd.tokens.input = u64::MAX;
        odd.cost_nanousd = i64::MAX;
        ledger.reserve(UserId::new()).expect("room").record(odd.clone()).committed().await.expect("committed");
        let read = ledger.usage().get(odd.request_id).await.expect("read").expect("there").record;
        assert_eq!(&*read.model, "claude?");
        assert_eq!(read.session_id.map(|id| id.len()), Some(512));
        let again = AppliedBatch::apply(ledger.usage(), &node("sp-2"), vec![UsageRecord { request_id: RequestId::new(), ..odd }], &Fence::default()).await.expect("taken");
        assert_eq!(again.rejected.len(), 1, "a leader would have refused it as it was");
    }

    async fn retention_follows_the_clock(db: TestDatabase) {
        let Open { ledger, clock, .. } = open_book(&db.store, 3_000, 500);
        for _ in 0..2_500 {
            drop(ledger.reserve(UserId::new()).expect("room").record(record(at("2026-11-22"))));
        }
        ledger.flush().await.expect("flushed");
        let retention = Retention {
            store: db.store.clone(),
            keep: Duration::from_hours(24),
            own: Some(node("sp-1")),
            clock: clock.clone(),
        };
        clock.advance(Duration::from_hours(25));
        assert_eq!(retention.sweep().await.expect("swept"), 0, "unsynced logs are never touched");
        let owed = ledger.usage().list_unsynced(2_400).await.expect("a list");
        let ids: Vec<_> = owed.iter().map(|record| record.request_id).collect();
        ledger.mark_synced(&ids, None).await.expect("marked");
        assert_eq!(retention.sweep().await.expect("swept"), 2_400);
        assert_eq!(ledger.usage().unsynced_count().await.expect("a count"), 100);
    }
}

use sproxy::domain::usage::UsageRecord;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_late_says_so_and_is_written_all_the_same() {
    let db = TestDatabase::sqlite().await;
    let clock = Arc::new(ManualClock::new(at("2026-11-22T10:00:00Z")));
    let config = UsageConfig { commit_timeout: Duration::from_millis(20), ..config(10, 10) };
    let (ledger, writer) = Ledger::open(db.store.clone(), &config, false, clock);
    let booked = record(at("2026-11-22"));
    let receipt = ledger.reserve(UserId::new()).expect("room").record(booked.clone());
    assert_eq!(receipt.committed().await.expect_err("nobody writes"), NotCommitted::Late);
    tokio::spawn(writer.run(CancellationToken::new()));
    ledger.flush().await.expect("flushed");
    assert!(ledger.usage().get(booked.request_id).await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_server_that_crashes_again_and_again_costs_no_record() {
    let Some(server) = tokio::task::spawn_blocking(Postgres::start).await.expect("a server") else {
        return;
    };
    let location = sproxy::store::Location::Postgres { url: server.new_database() };
    let store = Store::open(&location).await.expect("opened");
    let Open { ledger, stop, .. } = open_book(&store, 200, 50);
    let booking = tokio::spawn({
        let (ledger, stop) = (ledger.clone(), stop.clone());
        async move {
            let (mut dice, mut booked) = (Dice(8), Vec::new());
            while !stop.is_cancelled() {
                if let Ok(reservation) = ledger.reserve(UserId::new()) {
                    let record = dice.record(at("2026-11-22"), 1_000);
                    booked.push(record.clone());
                    drop(reservation.record(record));
                }
                tokio::task::yield_now().await;
            }
            booked
        }
    });
    let server = Arc::new(server);
    for round in 1..=3 {
        let committed = ledger.stats().committed_total;
        eventually("records are committed", || ledger.stats().committed_total > committed).await;
        let crashing = server.clone();
        tokio::task::spawn_blocking(move || crashing.crash()).await.expect("crashed");
        eventually("the crash is noticed", || ledger.stats().retries_total >= round).await;
        let resuming = server.clone();
        tokio::task::spawn_blocking(move || resuming.resume()).await.expect("resumed");
    }
    eventually("the queue moves again", || ledger.stats().queued < 200).await;
    stop.cancel();
    let booked = booking.await.expect("no panic");
    ledger.wait().await;
    assert_eq!(ledger.stats().lost_total, 0);
    let totals =
        UsageRepo::on(&store).global_sum_tokens(at("2026-11-22"), at("2026-11-23")).await.expect("sums");
    assert_eq!(totals, sum(&booked));
}
