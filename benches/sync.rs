//! How fast a backlog drains while traffic goes on: a follower's records into a fresh leader over gRPC, next to the leader's
//! own insert of such records into the same kind of database, and how much memory that takes. Leader and follower are
//! processes of their own, and both book requests of their own meanwhile.
//!
//! `SPROXY_BENCH_RECORDS=1000000 cargo bench --bench sync`; by default 200,000 records. `SPROXY_BENCH_TRAFFIC` requests per
//! second on each node (200; 0: none). With `SPROXY_BENCH_POSTGRES` (an empty database's URL) the leader keeps its books
//! there.

#![allow(missing_docs, reason = "a bench is a program")]
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench reports, and fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const BATCH: usize = 1_000;

/// How often a node books what its callers used.
const TRAFFIC_EVERY: Duration = Duration::from_millis(10);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("lead") => runtime.block_on(lead_until_asked(&arguments[2])),
        Some("follow") => runtime.block_on(follow_until_asked(&arguments[2], &arguments[3])),
        _ => runtime.block_on(run()),
    }
}

async fn run() {
    let count = setting("SPROXY_BENCH_RECORDS", 200_000);
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    let makings = Makings::new("sp-2", count);

    let bare = Store::open(&located(&at("bare.db"))).await.expect("opens");
    let inserted = rate(count, insert(&bare, &makings, count, true)).await;
    let owing = Store::open(&located(&at("follower.db"))).await.expect("opens");
    insert(&owing, &makings, count, false).await;
    drop((bare, owing));

    let books = std::env::var("SPROXY_BENCH_POSTGRES").unwrap_or_else(|_| at("leader.db"));
    let mut leader = Node::start(&["lead", &books]);
    let address = leader.line();
    let (leader_before, began) = (leader.resident_megabytes(), Instant::now());
    let mut follower = Node::start(&["follow", &at("follower.db"), &address]);
    assert_eq!(follower.line(), "ready");
    let follower_before = follower.resident_megabytes();
    // The oldest go first: when so many have come, the backlog is gone, and what is booked meanwhile follows.
    while leader.ask("taken") < count as u64 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let drained = count_per_second(count, began.elapsed());
    let during = (leader.ask("served"), follower.ask("served"));
    let served = (leader.ask("stop"), follower.ask("stop"));
    while leader.ask("taken") < count as u64 + served.1 {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(leader.ask("booked"), count as u64 + served.0 + served.1, "counted once");

    println!("| what | records/s | against insert |\n|---|--:|--:|");
    println!("| the leader's insert alone, batches of {BATCH}, rollups included | {inserted:.0} | 1.00 |");
    println!(
        "| follower → leader, {count} records owed, {} and {} booked meanwhile | {drained:.0} | {:.2} |",
        during.0,
        during.1,
        drained / inserted
    );
    println!("\n| resident memory, MB | with nothing to do | at most |\n|---|--:|--:|");
    let (leader_peak, follower_peak) = (leader.peak_megabytes(), follower.peak_megabytes());
    println!(
        "| leader | {leader_before} | {leader_peak} |\n| follower | {follower_before} | {follower_peak} |"
    );
    println!(
        "{{\"bench\":\"sync\",\"records\":{count},\"insert_per_second\":{inserted:.0},\"sync_per_second\":{drained:.0},\
         \"ratio\":{:.3},\"leader_booked_meanwhile\":{},\"follower_booked_meanwhile\":{},\
         \"leader_rss_mb\":[{leader_before},{leader_peak}],\"follower_rss_mb\":[{follower_before},{follower_peak}]}}",
        drained / inserted,
        during.0,
        during.1,
    );
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// A node: this program once more, that answers questions until its standard input ends.
struct Node {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Node {
    fn start(arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let questions = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, questions, answers }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("readable");
        line.trim().to_owned()
    }

    fn ask(&mut self, question: &str) -> u64 {
        writeln!(self.questions, "{question}").expect("it lives");
        self.line().parse().expect("a number")
    }

    fn resident_megabytes(&self) -> u64 {
        self.megabytes("VmRSS:")
    }

    /// The most that it ever had.
    fn peak_megabytes(&self) -> u64 {
        self.megabytes("VmHWM:")
    }

    fn megabytes(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1_024
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

async fn lead_until_asked(books: &str) {
    let store = Store::open(&located(books)).await.expect("opens");
    let stop = CancellationToken::new();
    let (ledger, lead, address) = start_leader(&store, &stop).await;
    let traffic = Traffic::on(ledger, "sp-1");
    println!("{address}");
    let booked = async || {
        let all = UsageRepo::on(&store).global_sum_tokens(Timestamp::MIN, Timestamp::MAX).await;
        all.expect("sums").request_count
    };
    let taken = || lead.leader().metrics().accepted.get();
    answer(traffic, async |question| if question == "taken" { taken() } else { booked().await }).await;
}

async fn follow_until_asked(books: &str, leader: &str) {
    let store = Store::open(&located(books)).await.expect("opens");
    let stop = CancellationToken::new();
    let traffic = Traffic::on(start_follower(&store, leader, &stop).await, "sp-2");
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
    fn on(ledger: Ledger, node: &str) -> Self {
        let (served, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let makings = Makings::new(node, 1);
        let per_tick = setting("SPROXY_BENCH_TRAFFIC", 200) / 100;
        let (counted, stopped) = (Arc::clone(&served), stop.clone());
        let work = tokio::spawn(async move {
            let mut tick = tokio::time::interval(TRAFFIC_EVERY);
            while stopped.run_until_cancelled(tick.tick()).await.is_some() {
                let book = |n| ledger.reserve().expect("room").record(makings.record(n));
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

async fn start_leader(store: &Store, stop: &CancellationToken) -> (Ledger, lead::Lead, String) {
    let (ledger, accounts, clock, writer) = parts(store, true).await;
    writer(stop.clone());
    accounts.first_start(Some("correct horse battery".to_owned())).await.expect("the first start");
    let parts = lead::Parts {
        id: id("sp-1"),
        addr: "http://127.0.0.1:9000".to_owned(),
        weight: 50,
        heartbeat_interval: Duration::from_secs(5),
        store: store.clone(),
        ledger: ledger.clone(),
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
    (ledger, lead, address)
}

async fn start_follower(store: &Store, leader: &str, stop: &CancellationToken) -> Ledger {
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
        ledger: ledger.clone(),
        accounts,
        quota: Quota::new(),
        clock,
        in_flight: Arc::new(|| 0),
    };
    let (_, tasks) = follow::start(id("sp-2"), parts).await.expect("follows");
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
            cost_nanousd: 4_650_000,
            session_id: Some("0b9e4b52-4cf5-4b7e-8d0f-6b3f1f1f2f3f".to_owned()),
            agent_id: None,
            client_request_id: None,
            source_node: self.node.clone(),
            created_at: self.start.plus(self.every * u32::try_from(n).unwrap_or(u32::MAX)),
        }
    }
}
