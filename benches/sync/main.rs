//! How fast a backlog drains: a follower's records into a fresh leader over gRPC, next to the leader's own insert of such
//! records into the same kind of database, and what that takes of memory and of the processors' time. Leader and
//! follower are processes of their own. Once they do nothing else, and once both also book requests of their own
//! meanwhile.
//!
//! `SPROXY_BENCH_RECORDS=1000000 cargo bench --bench sync`; by default 200,000 records. `SPROXY_BENCH_TRAFFIC` requests per
//! second on each node (200). With `SPROXY_BENCH_POSTGRES` (an empty database's URL) the leader keeps its books there.
//!
//! `cargo bench --bench sync -- leaders` is how fast two followers' backlogs drain by one and by two leaders on one
//! PostgreSQL, and `-- heartbeats` what 10, 100 and 1,000 nodes that do nothing but live ask of it. Both start a server of
//! their own: its binaries have to be on the machine.

#![allow(clippy::disallowed_methods, reason = "what a bench starts ends with it")]
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench reports, and fails by panicking"
)]

#[path = "../../tests/it/harness/auth.rs"]
mod auth;
#[cfg(unix)]
mod heartbeats;
mod process;
#[cfg(unix)]
mod shared;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sproxy::accounts::{Accounts, Settings};
use sproxy::cluster::Task;
use sproxy::cluster::follower::client::leaders_at;
use sproxy::cluster::follower::service as follower_service;
use sproxy::cluster::leader::freshness::Freshness;
use sproxy::cluster::leader::service::{self as leader_service, Books};
use sproxy::cluster::standing::Standing;
use sproxy::config::{Durability, UsageConfig};
use sproxy::domain::clock::{Clock, SystemClock, Timestamp};
use sproxy::domain::ids::{GroupId, NodeId, RequestId, UserId};
use sproxy::domain::provider::Provider;
use sproxy::domain::usage::{Outcome, TokenSource, Tokens, UsageRecord};
use sproxy::grpc;
use sproxy::inbound::Shutdown;
use sproxy::ledger::Ledger;
use sproxy::quota::Quota;
use sproxy::store::{Location, MetaKey, MetaRepo, Store, Synchronous, UsageRepo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use process::Node;

const BATCH: usize = 1_000;

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often a node books what its callers used.
const TRAFFIC_EVERY: Duration = Duration::from_millis(10);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("lead") => runtime.block_on(lead_until_asked(&arguments[2], &arguments[3])),
        Some("follow") => runtime.block_on(follow_until_asked(&arguments[2..])),
        #[cfg(unix)]
        Some("leaders") => runtime.block_on(shared::run(setting("SPROXY_BENCH_RECORDS", 200_000))),
        #[cfg(unix)]
        Some("heartbeats") => runtime.block_on(heartbeats::run()),
        _ => runtime.block_on(run()),
    }
}

async fn run() {
    let count = setting("SPROXY_BENCH_RECORDS", 200_000);
    let traffic = setting("SPROXY_BENCH_TRAFFIC", 200);
    let directory = tempfile::tempdir().expect("a directory");

    let bare = Store::open(&located(&path(directory.path(), "bare.db"))).await.expect("opens");
    let inserted = rate(count, insert(&bare, &Makings::new("sp-2", count), count, true)).await;
    bare.close().await;
    let quiet = drain(directory.path(), "sp-2", count, 0).await;
    let busy = drain(directory.path(), "sp-3", count, traffic).await;

    println!("| what | records/s | against the insert alone | µs CPU per record: leader | follower |");
    println!("|---|--:|--:|--:|--:|");
    println!(
        "| the leader's insert alone, batches of {BATCH}, rollups included | {inserted:.0} | 1.00 | | |"
    );
    quiet.print(&format!("follower → leader, {count} records owed, no traffic"), inserted);
    let meanwhile = format!("{} and {} booked meanwhile", busy.booked.0, busy.booked.1);
    busy.print(&format!("the same with {traffic} requests/s on each: {meanwhile}"), inserted);
    println!("\n| resident memory, MB | with nothing to do | at most |\n|---|--:|--:|");
    let [leader, follower] = busy.megabytes;
    println!("| leader | {} | {} |\n| follower | {} | {} |", leader[0], leader[1], follower[0], follower[1]);
    println!(
        "{{\"bench\":\"sync\",\"records\":{count},\"insert_per_second\":{inserted:.0},\
         \"quiet\":{},\"with_traffic\":{},\"leader_rss_mb\":{leader:?},\"follower_rss_mb\":{follower:?}}}",
        quiet.as_json(inserted),
        busy.as_json(inserted),
    );
}

/// How a backlog drained. Pairs are the leader's and the follower's.
struct Drained {
    per_second: f64,
    cpu_micros_per_record: (f64, f64),
    booked: (u64, u64),
    /// With nothing to do, and at most.
    megabytes: [[u64; 2]; 2],
}

impl Drained {
    fn print(&self, what: &str, inserted: f64) {
        let (ratio, (leader, follower)) = (self.per_second / inserted, self.cpu_micros_per_record);
        println!("| {what} | {:.0} | {ratio:.2} | {leader:.1} | {follower:.1} |", self.per_second);
    }

    fn as_json(&self, inserted: f64) -> String {
        format!(
            "{{\"sync_per_second\":{:.0},\"ratio\":{:.3},\"leader_cpu_us\":{:.1},\"follower_cpu_us\":{:.1},\
             \"leader_booked_meanwhile\":{},\"follower_booked_meanwhile\":{}}}",
            self.per_second,
            self.per_second / inserted,
            self.cpu_micros_per_record.0,
            self.cpu_micros_per_record.1,
            self.booked.0,
            self.booked.1,
        )
    }
}

/// Lets the node `name` owe `count` records to a leader that it knows, as after a time without it, and measures how long
/// it takes until the leader has them, both of them answering `traffic` requests per second.
async fn drain(directory: &Path, name: &str, count: usize, traffic: usize) -> Drained {
    let (owing, traffic) = (path(directory, &format!("{name}.db")), traffic.to_string());
    let store = Store::open(&located(&owing)).await.expect("opens");
    insert(&store, &Makings::new(name, count), count, false).await;
    let books = std::env::var("SPROXY_BENCH_POSTGRES")
        .unwrap_or_else(|_| path(directory, &format!("leader-of-{name}.db")));
    let mut leader = Node::start(&["lead", &books, &traffic]);
    let (address, ledger) = (leader.line(), leader.line());
    MetaRepo::on(&store).set(MetaKey::LeaderLedgerId, &ledger).await.expect("remembered");
    store.close().await;
    let booked_before: u64 = leader.line().parse().expect("a number");
    let leader_before = (leader.resident_megabytes(), leader.cpu());
    let began = Instant::now();
    let mut follower = Node::start(&["follow", &owing, &traffic, name, &address]);
    assert_eq!(follower.line(), "ready");
    let follower_before = (follower.resident_megabytes(), follower.cpu());
    // The oldest go first: when so many have come, the backlog is gone, and what is booked meanwhile follows.
    while leader.ask("taken") < count as u64 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let per_second = count_per_second(count, began.elapsed());
    let cpu =
        (leader.cpu().saturating_sub(leader_before.1), follower.cpu().saturating_sub(follower_before.1));
    let booked = (leader.ask("served"), follower.ask("served"));
    let served = (leader.ask("stop"), follower.ask("stop"));
    while leader.ask("taken") < count as u64 + served.1 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let all = booked_before + count as u64 + served.0 + served.1;
    assert_eq!(leader.ask("booked"), all, "counted once");
    let micros_per_record = |cpu: Duration| 1e6 / count_per_second(count, cpu);
    Drained {
        per_second,
        cpu_micros_per_record: (micros_per_record(cpu.0), micros_per_record(cpu.1)),
        booked,
        megabytes: [
            [leader_before.0, leader.peak_megabytes()],
            [follower_before.0, follower.peak_megabytes()],
        ],
    }
}

fn path(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().expect("UTF-8").to_owned()
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

async fn lead_until_asked(books: &str, traffic: &str) {
    let store = Store::open(&located(books)).await.expect("opens");
    let stop = CancellationToken::new();
    let (ledger, leader, address) = start_leader(&store, &stop).await;
    let booked = async || {
        let all = UsageRepo::on(&store).global_sum_tokens(Timestamp::MIN, Timestamp::MAX).await;
        all.expect("sums").request_count
    };
    println!("{address}\n{}\n{}", leader.leader().ledger(), booked().await);
    let traffic = Traffic::on(ledger, "sp-1", traffic);
    let taken = || leader.leader().metrics().accepted.get();
    answer(traffic, async |question| if question == "taken" { taken() } else { booked().await }).await;
}

async fn follow_until_asked(arguments: &[String]) {
    let [books, traffic, name, leader] = arguments else { panic!("books, traffic, a name and a leader") };
    let store = Store::open(&located(books)).await.expect("opens");
    let stop = CancellationToken::new();
    let traffic = Traffic::on(start_follower(&store, name, leader, &stop).await, name, traffic);
    println!("ready");
    answer(traffic, async |_| 0).await;
}

/// Answers questions about the traffic, and those that the node answers itself.
async fn answer(mut traffic: Traffic, node: impl AsyncFn(&str) -> u64) {
    let (asked, mut questions) = mpsc::channel(1);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines();
        lines.map_while(Result::ok).for_each(|line| asked.blocking_send(line).unwrap_or_default());
    });
    while let Some(question) = questions.recv().await {
        let answer = match question.as_str() {
            "served" => traffic.served.load(Ordering::Relaxed),
            "stop" => traffic.end().await,
            question => node(question).await,
        };
        println!("{answer}");
    }
}

/// Requests that a node answers while the backlog drains; each waits for its commit, as a caller does.
struct Traffic {
    served: Arc<AtomicU64>,
    stop: CancellationToken,
    work: Option<JoinHandle<()>>,
}

impl Traffic {
    fn on(ledger: Ledger, node: &str, per_second: &str) -> Self {
        let (served, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let makings = Makings::new(node, 1);
        let per_tick = per_second.parse::<usize>().expect("a number") / 100;
        let (counted, stopped) = (Arc::clone(&served), stop.clone());
        let work = tokio::spawn(async move {
            let mut tick = tokio::time::interval(TRAFFIC_EVERY);
            while stopped.run_until_cancelled(tick.tick()).await.is_some() {
                let book = |n| ledger.reserve(UserId::new()).expect("room").record(makings.record(n));
                for receipt in (0..per_tick).map(book).collect::<Vec<_>>() {
                    receipt.committed().await.expect("commits");
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { served, stop, work: Some(work) }
    }

    /// How many it was.
    async fn end(&mut self) -> u64 {
        self.stop.cancel();
        if let Some(work) = self.work.take() {
            work.await.expect("no panic");
        }
        self.served.load(Ordering::Relaxed)
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn count_per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

async fn rate(count: usize, work: impl Future<Output = ()>) -> f64 {
    let began = Instant::now();
    work.await;
    count_per_second(count, began.elapsed())
}

async fn insert(store: &Store, makings: &Makings, count: usize, synced: bool) {
    for first in (0..count).step_by(BATCH) {
        let batch: Vec<_> = (first..count.min(first + BATCH)).map(|n| makings.record(n)).collect();
        UsageRepo::on(store).insert_batch(&batch, synced).await.expect("inserts");
    }
}

/// A PostgreSQL URL, or a file.
fn located(books: &str) -> Location {
    if books.starts_with("postgres") {
        return Location::Postgres { url: books.to_owned() };
    }
    Location::Sqlite { path: Path::new(books).to_owned(), synchronous: Synchronous::Normal }
}

fn id(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

/// What the parts of a node have in common.
async fn parts(store: &Store, is_leader: bool) -> (Ledger, Accounts, Arc<dyn Clock>, Writer) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let settings = Settings::new(&auth::auth(), is_leader);
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

async fn start_leader(
    store: &Store,
    stop: &CancellationToken,
) -> (Ledger, leader_service::LeaderService, String) {
    let (ledger, accounts, clock, writer) = parts(store, true).await;
    writer(stop.clone());
    accounts.first_start(Some("correct horse battery".to_owned())).await.expect("the first start");
    let deps = leader_service::Dependencies {
        id: id("sp-1"),
        addr: "http://127.0.0.1:9000".to_owned(),
        weight: 50,
        heartbeat_interval: Duration::from_secs(5),
        freshness: Freshness::new(None, false),
        store: store.clone(),
        standing: None,
        secret: None,
        books: Books::Own(ledger.clone()),
        accounts: accounts.clone(),
        quota: Quota::new(),
        clock: Arc::clone(&clock),
    };
    let (leader, tasks) = leader_service::start(deps).await.expect("leads");
    spawn(tasks, stop);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let services = grpc::Services::new(&leader, store, &accounts, None, &clock, stop.clone());
    let door = grpc::server(listener, None, services, Duration::from_secs(10)).await.expect("a server");
    tokio::spawn(door.run(Shutdown::abrupt(stop.clone(), stop.clone()), TaskTracker::new()));
    (ledger, leader, address)
}

async fn start_follower(store: &Store, name: &str, leader: &str, stop: &CancellationToken) -> Ledger {
    let (ledger, accounts, clock, writer) = parts(store, false).await;
    writer(stop.clone());
    let deps = follower_service::Dependencies {
        leaders: leaders_at(vec![leader.parse().expect("an address")], None, None).expect("a client"),
        addr: "http://127.0.0.1:9001".to_owned(),
        weight: 50,
        sync_interval: Duration::from_secs(1),
        sync_batch: BATCH,
        max_staleness: None,
        refuse_when_stale: false,
        store: store.clone(),
        standing: Standing::open(store).await.expect("nobody was promoted"),
        ledger: ledger.clone(),
        accounts,
        quota: Quota::new(),
        clock,
        in_flight: Arc::new(|| 0),
        spans: None,
    };
    let (_, tasks) = follower_service::start(id(name), deps).await.expect("follows");
    spawn(tasks, stop);
    ledger
}

fn spawn(tasks: Vec<Task>, stop: &CancellationToken) {
    for task in tasks {
        tokio::spawn((task.run)(stop.clone()));
    }
}

/// What records are made of: 500 users in 20 groups over a day, three models.
struct Makings {
    node: NodeId,
    users: Vec<UserId>,
    groups: Vec<GroupId>,
    models: [Arc<str>; 3],
    start: Timestamp,
    every: Duration,
}

impl Makings {
    fn new(node: &str, count: usize) -> Self {
        Self {
            node: id(node),
            users: (0..500).map(|_| UserId::new()).collect(),
            groups: (0..20).map(|_| GroupId::new()).collect(),
            models: ["claude-sonnet-4-5".into(), "gpt-5".into(), "gemini-3-pro".into()],
            start: SystemClock.now().minus(Duration::from_hours(24)),
            every: Duration::from_hours(24) / u32::try_from(count.max(1)).unwrap_or(u32::MAX),
        }
    }

    fn record(&self, n: usize) -> UsageRecord {
        let (users, groups, models) = (&self.users, &self.groups, &self.models);
        UsageRecord {
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
            parts: Vec::new(),
            attempts: Vec::new(),
            cost_nanousd: 4_650_000,
            session_id: Some("0b9e4b52-4cf5-4b7e-8d0f-6b3f1f1f2f3f".to_owned()),
            agent_id: None,
            client_request_id: None,
            converted_from: None,
            source_node: self.node.clone(),
            created_at: self.start.plus(self.every * u32::try_from(n).unwrap_or(u32::MAX)),
        }
    }
}
