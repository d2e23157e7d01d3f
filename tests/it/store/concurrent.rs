//! Two leaders write into one PostgreSQL at the same moment, the same things in opposite orders: neither ever makes the
//! other fail. `SPROXY_CONCURRENT_ROUNDS` says how often (100).

use std::sync::Arc;

use sproxy::domain::fence::Fence;
use sproxy::domain::ids::InstanceId;
use sproxy::domain::peer::{Peer, PeerStatus};
use sproxy::domain::usage::UsageRecord;
use sproxy::store::{Error, Location, MetaRepo, PeerRepo, Store, UsageRepo};
use tokio::task::spawn_blocking;

use crate::harness::postgres::Postgres;
use crate::harness::records::{Dice, at, node};

/// Records of a batch, and peers.
const MANY: usize = 60;

fn rounds() -> usize {
    std::env::var("SPROXY_CONCURRENT_ROUNDS").map_or(100, |text| text.parse().expect("a number"))
}

/// As PostgreSQL is set up by itself, or so that it rolls back what meets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    Default,
    Serializable,
}

async fn two_stores(isolation: Isolation) -> Option<(Arc<Postgres>, Store, Store)> {
    let server = spawn_blocking(Postgres::shared).await.expect("a server")?;
    let url = match isolation {
        Isolation::Default => server.new_database(),
        Isolation::Serializable => server.new_serializable_database(),
    };
    let location = Location::Postgres { url };
    let open = async || Store::open(&location).await.expect("a database");
    let (one, two) = (open().await, open().await);
    Some((server, one, two))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_hold_the_same_records_in_opposite_orders_never_block_each_other_for_good() {
    push_the_same(Isolation::Default).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_where_the_database_rolls_one_of_them_back() {
    push_the_same(Isolation::Serializable).await;
}

async fn push_the_same(isolation: Isolation) {
    let Some((_server, one, two)) = two_stores(isolation).await else { return };
    let (here, elsewhere) = (UsageRepo::on(&one), UsageRepo::on(&two));
    let mut dice = Dice(7);
    let (from, mut all, mut tokens) = (at("2026-11-22"), 0, 0);
    for round in 0..rounds() {
        let records: Vec<UsageRecord> = (0..MANY).map(|_| dice.record(from, 3_600_000_000)).collect();
        all += records.len() as u64;
        tokens += records.iter().map(|record| record.tokens.total()).sum::<u64>();
        // Each has a few that the other has not, and most of them turned round.
        let first = Arc::new(records[..MANY - 5].to_vec());
        let second = Arc::new(records[5..].iter().rev().cloned().collect::<Vec<_>>());
        let (pusher, other) = (node("sp-1"), node(if round % 2 == 0 { "sp-1" } else { "sp-2" }));
        let fence = Fence::default();
        let (left, right) = tokio::join!(
            here.insert_pushed_batch(&first, &pusher, &fence),
            elsewhere.insert_pushed_batch(&second, &other, &fence)
        );
        let (left, right) = (left.expect("inserted"), right.expect("inserted"));
        assert_eq!(left.added() + right.added(), MANY, "each record is new once");
    }
    let sums = here.global_sum_tokens(at("2026-11-01"), at("2026-12-01")).await.expect("sums");
    assert_eq!((sums.request_count, sums.total_tokens), (all, tokens));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signs_of_life_of_the_same_peers_never_block_each_other_for_good() {
    note_the_same(Isolation::Default).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_where_the_database_rolls_one_of_their_notes_back() {
    note_the_same(Isolation::Serializable).await;
}

/// What several leaders do with `meta` and old logs at once: every number is given once, and all come to their end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_retention_and_marks_that_meet_all_come_to_their_end() {
    for isolation in [Isolation::Default, Isolation::Serializable] {
        let Some((_server, one, two)) = two_stores(isolation).await else { return };
        let mut dice = Dice(11);
        let mut numbers = std::collections::BTreeSet::new();
        for _ in 0..rounds() / 4 {
            let records: Vec<UsageRecord> =
                (0..MANY).map(|_| dice.record(at("2026-11-22"), 3_600_000_000)).collect();
            let ids: Vec<_> = records.iter().map(|record| record.request_id).collect();
            UsageRepo::on(&one).insert_batch(&records, false).await.expect("inserted");
            let work = async |store: &Store| {
                let number = MetaRepo::on(store).next_node_number(0).await?;
                UsageRepo::on(store).mark_synced(&ids, Some(number)).await?;
                UsageRepo::on(store).delete_synced_before(at("2026-12-01"), None, 1_000).await?;
                Ok::<_, Error>(number)
            };
            let (left, right) = tokio::join!(work(&one), work(&two));
            assert!(numbers.insert(left.expect("done")));
            assert!(numbers.insert(right.expect("done")));
        }
    }
}

/// Leaders that start at once on an empty database: one makes its schema, and each has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_are_opened_at_once_share_one_schema() {
    let Some(server) = spawn_blocking(Postgres::shared).await.expect("a server") else { return };
    for url in [server.new_database(), server.new_serializable_database()] {
        let location = Location::Postgres { url };
        let opened = futures_util::future::join_all((0..6).map(|_| Store::open(&location))).await;
        for store in opened {
            store.expect("opened").close().await;
        }
    }
}

async fn note_the_same(isolation: Isolation) {
    let Some((_server, one, two)) = two_stores(isolation).await else { return };
    let run = InstanceId::new();
    let peers: Vec<Peer> = (0..MANY)
        .map(|number| Peer {
            id: node(&format!("sp-{number}")),
            addr: "http://there".to_owned(),
            weight: 1,
            is_active: true,
            draining: false,
            registered_at: at("2026-11-01"),
            last_seen: None,
            unsynced: 0,
            synced_through: None,
            version: "1".to_owned(),
            leads_at: None,
            instance_id: Some(run),
        })
        .collect();
    for peer in &peers {
        PeerRepo::on(&one).upsert(peer).await.expect("kept");
    }
    for round in 0..rounds() {
        let status = |peer: &Peer| PeerStatus {
            id: peer.id.clone(),
            instance_id: run,
            last_seen: at("2026-11-22"),
            unsynced: Some(round as u64),
            synced_through: None,
            sync_point_invalid: false,
            last_batch: 0,
            session: None,
        };
        let statuses: Vec<PeerStatus> = peers.iter().map(status).collect();
        let turned: Vec<PeerStatus> = peers.iter().rev().map(status).collect();
        let silent: Vec<Peer> = peers.iter().rev().step_by(3).cloned().collect();
        let leader = async |store: &Store, statuses: &[PeerStatus]| {
            let repo = PeerRepo::on(store);
            repo.note_statuses(statuses).await?;
            repo.mark_inactive(&silent).await
        };
        let (left, right) = tokio::join!(leader(&one, &statuses), leader(&two, &turned));
        left.expect("noted");
        right.expect("noted");
    }
}
