//! What nodes that do nothing but live ask of the leader and of PostgreSQL: 10, 100 and 1,000 of them, each with a
//! heartbeat every five seconds, beside a cluster without any.

use std::time::{Duration, Instant};

use sproxy::wire::v1;
use sproxy::wire::v1::cluster_client::ClusterClient;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep};
use tonic::transport::Channel;
use uuid::Uuid;

use super::shared::{Leaders, open_to_all};

const NODES: [u32; 4] = [0, 10, 100, 1_000];
/// As by default.
const EVERY: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(30);

/// What PostgreSQL and the leader have done so far.
struct Done {
    transactions: u64,
    rows_written: u64,
    wal_bytes: u64,
    cpu: [Duration; 2],
    at: Instant,
}

impl Done {
    async fn so_far(leaders: &Leaders) -> Self {
        let of_database =
            |what: &str| format!("SELECT {what} FROM pg_stat_database WHERE datname = current_database()");
        Self {
            transactions: leaders.number(&of_database("xact_commit + xact_rollback")).await,
            rows_written: leaders.number(&of_database("tup_inserted + tup_updated + tup_deleted")).await,
            wal_bytes: leaders.number("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").await,
            cpu: leaders.cpu(),
            at: Instant::now(),
        }
    }
}

pub async fn run() {
    let directory = tempfile::tempdir().expect("a directory");
    open_to_all(directory.path());
    let leaders = Leaders::start(directory.path(), 1).await;
    let channel =
        Channel::from_shared(leaders.address(0)).expect("an address").connect().await.expect("a leader");
    println!(
        "| nodes | heartbeats/s | PostgreSQL: transactions/s | rows written/s | WAL KB/s | CPU, ms per s | the leader's CPU, ms per s |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    let mut living = JoinSet::new();
    let mut rows = Vec::new();
    for nodes in NODES {
        for n in u32::try_from(living.len()).expect("few")..nodes {
            living.spawn(live(ClusterClient::new(channel.clone()), n, EVERY * n / nodes.max(1)));
        }
        // All have registered, and a round of heartbeats is over.
        sleep(EVERY * 2).await;
        let peers = "SELECT COUNT(*) FROM peers WHERE is_active";
        assert_eq!(leaders.number(peers).await, u64::from(nodes) + 1, "all are known, and the leader");
        let before = Done::so_far(&leaders).await;
        sleep(MEASURED).await;
        let after = Done::so_far(&leaders).await;
        rows.push(report(nodes, &before, &after));
        assert_eq!(leaders.number(peers).await, u64::from(nodes) + 1, "none was missed");
    }
    println!("{{\"bench\":\"sync heartbeats\",\"rows\":[{}]}}", rows.join(","));
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn report(nodes: u32, before: &Done, after: &Done) -> String {
    let seconds = (after.at - before.at).as_secs_f64();
    let rate = |before: u64, after: u64| (after - before) as f64 / seconds;
    let busy = |at: usize| (after.cpu[at].saturating_sub(before.cpu[at])).as_secs_f64() * 1_000.0 / seconds;
    let transactions = rate(before.transactions, after.transactions);
    let rows = rate(before.rows_written, after.rows_written);
    let wal = rate(before.wal_bytes, after.wal_bytes) / 1_024.0;
    let (leader, database) = (busy(0), busy(1));
    let heartbeats = f64::from(nodes) / EVERY.as_secs_f64();
    println!(
        "| {nodes} | {heartbeats:.0} | {transactions:.1} | {rows:.1} | {wal:.1} | {database:.1} | {leader:.1} |"
    );
    format!(
        "{{\"nodes\":{nodes},\"transactions_per_second\":{transactions:.1},\"rows_written_per_second\":{rows:.1},\
         \"wal_kb_per_second\":{wal:.1},\"database_cpu_ms_per_second\":{database:.1},\
         \"leader_cpu_ms_per_second\":{leader:.1}}}"
    )
}

/// A node that registers and then lives, `offset` into each interval.
async fn live(mut leader: ClusterClient<Channel>, number: u32, offset: Duration) {
    sleep(offset).await;
    let (node_id, instance_id) = (format!("node-{number}"), Uuid::new_v4().to_string());
    let session_id = Uuid::new_v4().to_string();
    let registered = leader.register(v1::RegisterRequest {
        node_id: node_id.clone(),
        instance_id: instance_id.clone(),
        advertise_url: "http://127.0.0.1:9000".to_owned(),
        weight: 50,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        session_id: session_id.clone(),
        ..v1::RegisterRequest::default()
    });
    let registered = registered.await.expect("registered").into_inner();
    let mut turn = interval_at(tokio::time::Instant::now() + EVERY, EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        turn.tick().await;
        let heartbeat = leader.heartbeat(v1::HeartbeatRequest {
            node_id: node_id.clone(),
            instance_id: instance_id.clone(),
            ledger_id: registered.ledger_id.clone(),
            leader_instance_id: registered.leader_instance_id.clone(),
            session_id: session_id.clone(),
            synced_through: Some(std::time::SystemTime::now().into()),
            ..v1::HeartbeatRequest::default()
        });
        heartbeat.await.expect("taken");
    }
}
