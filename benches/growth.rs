//! How cost grows with what is in the database: booking, starting, pages of logs and statistics, at three sizes.
//!
//! `cargo bench --bench growth [-- 10000000]` fills SQLite databases with 10⁴, 10⁵ and 10⁶ usage logs (and as many as
//! asked for) of 2,000 users, 5 models and 3 nodes over 89 days, prints milliseconds per size, and writes
//! `target/bench-growth.json`. Last comes a database with the sums of 10⁸ logs and no logs. Of three runs the middle one
//! counts, so caches are warm; the start of a node comes after `kill -9`.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark prints figures for people, and fails by panicking"
)]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/harness/records.rs"]
mod store_records;

use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;
use sproxy::domain::clock::{Clock as _, SystemClock, Timestamp};
use sproxy::domain::summary::StatsBy;
use sproxy::domain::usage::UsageFilter;
use sproxy::store::usage::NodeFilter;
use sproxy::store::{Location, Store, Synchronous, UsageRepo};

use store_records::{group, node, user};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];
const DAY: Duration = Duration::from_hours(24);
const PAGE: usize = 50;
/// Logs that the rollups of the last database stand for.
const SUMMED_UP: u64 = 100_000_000;

/// What was measured, milliseconds.
type Figures = Vec<(String, f64)>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let more = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let mut results = serde_json::Map::new();
    for size in SIZES.into_iter().chain(more) {
        let data = tempfile::tempdir().expect("a directory");
        let file = data.path().join("sproxy.db");
        fill(&runtime, &file, |database, end| fill_logs(database, size, end));
        let mut figures = vec![("serve to ready".to_owned(), ready_after(data.path()))];
        figures.extend(runtime.block_on(with_logs(&file)));
        show(&format!("{size} logs"), &figures, &mut results);
    }
    let data = tempfile::tempdir().expect("a directory");
    let file = data.path().join("sproxy.db");
    let rows = fill(&runtime, &file, fill_rollups);
    let figures = runtime.block_on(with_sums(&file));
    show(&format!("{SUMMED_UP} logs in {rows} rollups"), &figures, &mut results);
    let written = serde_json::to_string_pretty(&results).expect("JSON");
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench-growth.json"), written)
        .expect("written");
}

fn show(what: &str, figures: &Figures, results: &mut serde_json::Map<String, serde_json::Value>) {
    println!("\n{what}");
    for (name, ms) in figures {
        println!("  {name:48} {ms:>10.2} ms");
    }
    let figures = figures.iter().map(|(name, ms)| (name.clone(), json!(ms))).collect();
    results.insert(what.to_owned(), serde_json::Value::Object(figures));
}

fn location(file: &Path) -> Location {
    Location::Sqlite { path: file.to_owned(), synchronous: Synchronous::Normal }
}

fn now() -> Timestamp {
    SystemClock.now()
}

/// Where windows end: the next whole hour.
fn end() -> Timestamp {
    now().hour_start().plus(Duration::from_hours(1))
}

/// Creates the database and lets `filling` write rows into it, before the moment that it is given; returns what that
/// returns.
fn fill<R>(
    runtime: &tokio::runtime::Runtime,
    file: &Path,
    filling: impl FnOnce(&Connection, Timestamp) -> R,
) -> R {
    runtime.block_on(async { Store::open(&location(file)).await.expect("opened").close().await });
    let database = Connection::open(file).expect("opened");
    database.execute_batch("PRAGMA cache_size = -262144; BEGIN").expect("begun");
    let filled = filling(&database, now());
    let totals = "INSERT INTO usage_totals SELECT hour, node, SUM(input_tokens), SUM(output_tokens), \
                  SUM(cache_read_tokens), SUM(cache_write_tokens), SUM(cache_write_1h_tokens), \
                  SUM(reasoning_tokens), SUM(request_count), SUM(error_count), SUM(cost_nanousd) \
                  FROM usage_rollups GROUP BY hour, node; COMMIT";
    database.execute_batch(totals).expect("added up");
    filled
}

fn fill_logs(database: &Connection, size: u64, end: Timestamp) {
    let span = DAY * 89;
    let step = u64::try_from(span.as_micros()).expect("small") / size;
    let price = serde_json::to_string(&*store_records::record(end).price).expect("JSON");
    let logs = "INSERT INTO usage_logs (request_id, user_id, user_name, group_id, group_name, model, actual_model, \
        provider, target, upstream_url, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, \
        cache_write_1h_tokens, reasoning_tokens, token_source, outcome, is_streaming, status_code, duration_ms, \
        ttfb_ms, price, cost_nanousd, session_id, source_node, created_at, synced) \
        WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n + 1 < ?1) \
        SELECT unhex(printf('%012x', t / 1000)) || randomblob(10), unhex(printf('%032x', 4096 + u)), 'user-' || u, \
        unhex(printf('%032x', 8192 + u % 20)), 'group-' || u % 20, 'model-' || m, 'model-' || m, 'anthropic', \
        'anthropic', 'https://api.anthropic.com', 1000, 100, 500, 0, 0, 0, 'reported', 'ok', 1, 200, 1234, 210, ?4, \
        1000, '0191a1b2-c3d4-7000-8000-000000000000', 'sp-' || s, t, 1 FROM (SELECT ?2 + n * ?3 AS t, \
        abs(random()) % 2000 AS u, abs(random()) % 5 AS m, abs(random()) % 3 + 1 AS s FROM n)";
    let start = end.minus(span).as_micros();
    database
        .execute(logs, rusqlite::params![size.cast_signed(), start, step.cast_signed(), price])
        .expect("filled");
    let rollups = "INSERT INTO usage_rollups SELECT created_at - created_at % 3600000000 AS hour, user_id, group_id, \
        model, source_node, MAX(user_name), MAX(group_name), SUM(input_tokens), SUM(output_tokens), \
        SUM(cache_read_tokens), 0, 0, 0, COUNT(*), 0, SUM(cost_nanousd), 0 FROM usage_logs \
        GROUP BY hour, user_id, group_id, model, source_node";
    database.execute(rollups, []).expect("added up");
}

/// Sums only: 2,000 users who work eight hours a day, each hour with one model on one node. Returns how many rows.
fn fill_rollups(database: &Connection, end: Timestamp) -> usize {
    let rollups = "INSERT INTO usage_rollups \
        WITH RECURSIVE d(d) AS (SELECT 0 UNION ALL SELECT d + 1 FROM d WHERE d < 89), \
        h(h) AS (SELECT 0 UNION ALL SELECT h + 1 FROM h WHERE h < 7), \
        u(u) AS (SELECT 0 UNION ALL SELECT u + 1 FROM u WHERE u < 1999) \
        SELECT ?1 - (d * 24 + h) * 3600000000, unhex(printf('%032x', 4096 + u)), unhex(printf('%032x', 8192 + u % 20)), \
        'model-' || (u + h) % 5, 'sp-' || (u % 3 + 1), 'user-' || u, 'group-' || u % 20, \
        69000, 6900, 34500, 0, 0, 0, ?2, 0, 69000, 0 FROM d, h, u ORDER BY 1, 2";
    let each = (SUMMED_UP / (90 * 8 * 2_000)).cast_signed();
    database.execute(rollups, (end.hour_start().as_micros(), each)).expect("filled")
}

async fn with_logs(file: &Path) -> Figures {
    let mut figures = Figures::new();
    let opening = Instant::now();
    let store = Store::open(&location(file)).await.expect("opened");
    UsageRepo::on(&store).used(now(), NodeFilter::All).await.expect("sums");
    figures.push(("open, and what quotas start from".to_owned(), milliseconds(opening.elapsed())));
    let usage = UsageRepo::on(&store);
    for (name, filter) in filters() {
        let first =
            middle(|| async { usage.query(&filter, PAGE, None).await.expect("a page").items.len() }).await;
        let mut half_way = filter.clone();
        half_way.to = Some(end().minus(DAY * 45));
        let place = usage.query(&half_way, PAGE, None).await.expect("a page").next;
        let deep =
            middle(|| async { usage.query(&filter, PAGE, place).await.expect("a page").items.len() }).await;
        figures.push((format!("page of logs, {name}: first"), first));
        figures.push((format!("page of logs, {name}: 45 days back"), deep));
    }
    figures.push(("1,000 logs in transactions of 15".to_owned(), book(&usage).await));
    store.close().await;
    figures
}

fn filters() -> [(&'static str, UsageFilter); 6] {
    let all = UsageFilter::default();
    [
        ("all", all.clone()),
        ("one user of 2,000", UsageFilter { user_id: Some(user(77)), ..all.clone() }),
        ("one group of 20", UsageFilter { group_id: Some(group(7)), ..all.clone() }),
        ("one model of 5", UsageFilter { model: Some("model-3".to_owned()), ..all.clone() }),
        ("one node of 3", UsageFilter { node: Some("sp-2".to_owned()), ..all.clone() }),
        ("a model nobody used", UsageFilter { model: Some("none".to_owned()), ..all }),
    ]
}

async fn book(usage: &UsageRepo<'_>) -> f64 {
    let records = (0..1_000_u128).map(|number| {
        let mut record = store_records::record(now());
        record.user_id = user(number * 7_919 % 2_000);
        record.group_id = Some(group(number % 20));
        record.source_node = node("sp-1");
        record
    });
    let records: Vec<_> = records.collect();
    let start = Instant::now();
    for batch in records.chunks(15) {
        usage.insert_batch(batch, true).await.expect("inserted");
    }
    milliseconds(start.elapsed())
}

async fn with_sums(file: &Path) -> Figures {
    let mut figures = Figures::new();
    let opening = Instant::now();
    let store = Store::open(&location(file)).await.expect("opened");
    let usage = UsageRepo::on(&store);
    usage.used(now(), NodeFilter::All).await.expect("sums");
    figures.push(("open, and what quotas start from".to_owned(), milliseconds(opening.elapsed())));
    let end = end();
    for (window, days) in [("a day", 1), ("30 days", 30), ("90 days", 90)] {
        let from = end.minus(DAY * days);
        let totals = middle(|| async { usage.global_sum_tokens(from, end).await.expect("sums") }).await;
        figures.push((format!("totals over {window}"), totals));
        let one = middle(|| async { usage.sum_tokens(user(77), from, end).await.expect("sums") }).await;
        figures.push((format!("one user's totals over {window}"), one));
        let ways = [StatsBy::User, StatsBy::Group, StatsBy::Model, StatsBy::Node, StatsBy::Day];
        for (by, name) in ways.into_iter().zip(["user", "group", "model", "node", "day"]) {
            let took =
                middle(|| async { usage.stats_by(by, from, end, 100).await.expect("sums").len() }).await;
            figures.push((format!("statistics per {name} over {window}"), took));
        }
    }
    store.close().await;
    figures
}

/// The middle one of three runs, milliseconds.
async fn middle<R, F: Future<Output = R>>(run: impl Fn() -> F) -> f64 {
    let mut took = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        std::hint::black_box(run().await);
        took.push(milliseconds(start.elapsed()));
    }
    took.sort_by(f64::total_cmp);
    took[1]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// From the start of `sproxy serve` until it says that it is ready. The first start, which creates the admin, and its
/// death are not counted.
fn ready_after(data: &Path) -> f64 {
    let run = || {
        let http = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let start = Instant::now();
        let mut node = serve(data, http);
        while !is_ready(http) {
            assert!(start.elapsed() < Duration::from_mins(1), "the node is ready in time");
            std::thread::yield_now();
        }
        let took = milliseconds(start.elapsed());
        node.kill().expect("killed");
        node.wait().expect("ended");
        took
    };
    run();
    run()
}

fn serve(data: &Path, http: SocketAddr) -> Child {
    let config = data.join("sproxy.toml");
    let text = format!(
        "[node]\nid = \"sp-1\"\ndata_dir = \"{}\"\n[http]\nlisten = \"{http}\"\n[cluster]\nlisten = \"127.0.0.1:0\"\n\
         [log]\nlevel = \"warn\"\n[[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"http://127.0.0.1:1\"\n\
         api_key = \"k\"\n",
        data.display()
    );
    std::fs::write(&config, text).expect("written");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_sproxy"));
    serve.args(["serve", "--config"]).arg(&config).env("SPROXY_ADMIN_PASSWORD", "a password of the bench");
    serve.spawn().expect("started")
}

fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut socket) = TcpStream::connect(address) else { return false };
    let asked = socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && socket.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}
