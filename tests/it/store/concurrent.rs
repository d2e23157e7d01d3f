//! Two leaders write into one PostgreSQL at the same moment, the same things in opposite orders: neither ever makes the
//! other fail. `SPROXY_CONCURRENT_ROUNDS` says how often (100).

use std::sync::Arc;

use sproxy::domain::fence::Fence;
use sproxy::domain::ids::InstanceId;
use sproxy::domain::peer::{Peer, PeerStatus};
use sproxy::domain::usage::UsageRecord;
use sproxy::store::{Location, PeerRepo, Store, UsageRepo};
use tokio::task::spawn_blocking;

use crate::harness::postgres::Postgres;
use crate::harness::records::{Dice, at, node};

/// Records of a batch, and peers.
const MANY: usize = 60;

fn rounds() -> usize {
    std::env::var("SPROXY_CONCURRENT_ROUNDS").map_or(100, |text| text.parse().expect("a number"))
}

async fn two_stores() -> Option<(Arc<Postgres>, Store, Store)> {
    let server = spawn_blocking(Postgres::shared).await.expect("a server")?;
    let location = Location::Postgres { url: server.new_database() };
    let open = async || Store::open(&location).await.expect("a database");
    let (one, two) = (open().await, open().await);
    Some((server, one, two))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_hold_the_same_records_in_opposite_orders_never_block_each_other_for_good() {
    let Some((_server, one, two)) = two_stores().await else { return };
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
    let Some((_server, one, two)) = two_stores().await else { return };
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
