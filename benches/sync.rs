//! How fast a backlog drains: a follower's records into a fresh leader over gRPC, next to the leader's own insert of the
//! same records into the same kind of database. One run, one process, two databases on this disk.
//!
//! `SPROXY_BENCH_RECORDS=1000000 cargo bench --bench sync`; by default 200,000 records. With `SPROXY_BENCH_POSTGRES` (an
//! empty database's URL) the leader keeps its books there.

#![allow(missing_docs, reason = "a bench is a program")]
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench reports, and fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sproxy::accounts::{Accounts, Settings};
use sproxy::cluster::link::Link;
use sproxy::cluster::{Task, follow, lead};
use sproxy::config::{AuthConfig, Durability, UsageConfig};
use sproxy::domain::clock::{Clock, SystemClock, Timestamp};
use sproxy::domain::ids::{GroupId, NodeId, RequestId, UserId};
use sproxy::domain::provider::Provider;
use sproxy::domain::usage::{Outcome, TokenSource, Tokens, UsageRecord};
use sproxy::grpc;
use sproxy::ledger::Ledger;
use sproxy::quota::Quota;
use sproxy::store::{Location, Store, Synchronous, UsageRepo};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const BATCH: usize = 1_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let count: usize =
        std::env::var("SPROXY_BENCH_RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000);
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let records = records(count);

    let bare = Store::open(&embedded(&at("bare.db"))).await.expect("opens");
    let inserted = rate(count, insert(&bare, &records, true)).await;

    let owing = Store::open(&embedded(&at("follower.db"))).await.expect("opens");
    insert(&owing, &records, false).await;
    drop(records);
    let before = resident_megabytes();
    let leading = match std::env::var("SPROXY_BENCH_POSTGRES") {
        Ok(url) => Location::Postgres { url },
        Err(_) => embedded(&at("leader.db")),
    };
    let leading = Store::open(&leading).await.expect("opens");
    let stop = CancellationToken::new();
    let address = start_leader(&leading, &stop).await;
    let mut peak = before;
    let drained = rate(count, async {
        start_follower(&owing, &address, &stop).await;
        while UsageRepo::on(&leading)
            .global_sum_tokens(Timestamp::MIN, Timestamp::MAX)
            .await
            .expect("sums")
            .request_count
            < count as u64
        {
            peak = peak.max(resident_megabytes());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    stop.cancel();

    println!("| what | records/s | against insert |\n|---|--:|--:|");
    println!("| the leader's insert alone, batches of {BATCH}, rollups included | {inserted:.0} | 1.00 |");
    println!("| follower → leader, {count} records owed | {drained:.0} | {:.2} |", drained / inserted);
    println!(
        "\nresident memory: {before} MB before, {peak} MB at most while draining (follower and leader in one process)"
    );
    println!(
        "{{\"bench\":\"sync\",\"records\":{count},\"insert_per_second\":{inserted:.0},\"sync_per_second\":{drained:.0},\
         \"ratio\":{:.3},\"rss_before_mb\":{before},\"rss_peak_mb\":{peak}}}",
        drained / inserted
    );
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
async fn rate(count: usize, work: impl Future<Output = ()>) -> f64 {
    let began = Instant::now();
    work.await;
    count as f64 / began.elapsed().as_secs_f64()
}

async fn insert(store: &Store, records: &[UsageRecord], synced: bool) {
    for batch in records.chunks(BATCH) {
        UsageRepo::on(store).insert_batch(batch, synced).await.expect("inserts");
    }
}

fn embedded(path: &Path) -> Location {
    Location::Sqlite { path: path.to_owned(), synchronous: Synchronous::Normal }
}

fn id(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

/// What the parts of a node have in common.
async fn parts(store: &Store, is_leader: bool) -> (Ledger, Accounts, Arc<dyn Clock>, Writer) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hour = Duration::from_hours(1);
    let auth =
        AuthConfig { access_token_ttl: hour, refresh_token_ttl: hour, login_threads: 1, login_queue: 1 };
    let settings = Settings::new(&auth, is_leader);
    let accounts = Accounts::open(store.clone(), settings, Arc::clone(&clock)).await.expect("accounts");
    let usage = UsageConfig {
        durability: Durability::Committed,
        queue: 10_000,
        batch: 500,
        commit_timeout: Duration::from_secs(30),
        retention: Duration::from_hours(24 * 90),
    };
    let (ledger, writer) = Ledger::open(store.clone(), &usage, is_leader, Arc::clone(&clock));
    (ledger, accounts, clock, Box::new(|stop| tokio::spawn(writer.run(stop))))
}

type Writer = Box<dyn FnOnce(CancellationToken) -> tokio::task::JoinHandle<()>>;

async fn start_leader(store: &Store, stop: &CancellationToken) -> String {
    let (ledger, accounts, clock, writer) = parts(store, true).await;
    writer(stop.clone());
    accounts.first_start(Some("correct horse battery".to_owned())).await.expect("the first start");
    let parts = lead::Parts {
        id: id("sp-1"),
        addr: "http://127.0.0.1:9000".to_owned(),
        weight: 50,
        heartbeat_interval: Duration::from_secs(5),
        store: store.clone(),
        ledger,
        accounts: accounts.clone(),
        quota: Quota::new(),
        clock: Arc::clone(&clock),
    };
    let (lead, tasks) = lead::start(parts).await.expect("leads");
    spawn(tasks, stop);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let services = grpc::Services::new(&lead, store, &accounts, None, &clock, stop.clone());
    tokio::spawn(grpc::serve(listener, services, None, stop.clone()));
    address
}

async fn start_follower(store: &Store, leader: &str, stop: &CancellationToken) {
    let (ledger, accounts, clock, writer) = parts(store, false).await;
    writer(stop.clone());
    let parts = follow::Parts {
        link: Link::new(leader, None, None).expect("a link"),
        addr: "http://127.0.0.1:9001".to_owned(),
        weight: 50,
        sync_interval: Duration::from_secs(1),
        sync_batch: BATCH,
        max_staleness: None,
        refuse_when_stale: false,
        store: store.clone(),
        ledger,
        accounts,
        quota: Quota::new(),
        clock,
        in_flight: Arc::new(|| 0),
    };
    let (_, tasks) = follow::start(id("sp-2"), parts).await.expect("follows");
    spawn(tasks, stop);
}

fn spawn(tasks: Vec<Task>, stop: &CancellationToken) {
    for task in tasks {
        tokio::spawn((task.run)(stop.clone()));
    }
}

/// Records of 500 users in 20 groups over a day, three models.
fn records(count: usize) -> Vec<UsageRecord> {
    let users: Vec<UserId> = (0..500).map(|_| UserId::new()).collect();
    let groups: Vec<GroupId> = (0..20).map(|_| GroupId::new()).collect();
    let models: [Arc<str>; 3] = ["claude-sonnet-4-5".into(), "gpt-5".into(), "gemini-3-pro".into()];
    let start = SystemClock.now().minus(Duration::from_hours(24));
    let every = Duration::from_hours(24) / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let record = |n: usize| UsageRecord {
        request_id: RequestId::new(),
        user_id: users[n % users.len()],
        user: format!("user-{}", n % users.len()).into(),
        group_id: Some(groups[n % groups.len()]),
        group: Some(format!("group-{}", n % groups.len()).into()),
        model: Arc::clone(&models[n % models.len()]),
        actual_model: Arc::clone(&models[n % models.len()]),
        provider: Provider::Anthropic,
        target: "anthropic".into(),
        upstream_url: "https://api.anthropic.com".into(),
        tokens: Tokens { input: 1_000, output: 200, cache_read: 500, ..Tokens::default() },
        token_source: TokenSource::Reported,
        outcome: Outcome::Ok,
        is_streaming: true,
        status_code: 200,
        duration_ms: 1_500,
        ttfb_ms: Some(300),
        price: Arc::default(),
        cost_nanousd: 4_650_000,
        session_id: Some("0b9e4b52-4cf5-4b7e-8d0f-6b3f1f1f2f3f".to_owned()),
        agent_id: None,
        client_request_id: None,
        source_node: id("sp-2"),
        created_at: start.plus(every * u32::try_from(n).unwrap_or(u32::MAX)),
    };
    (0..count).map(record).collect()
}

fn resident_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1_024
}
