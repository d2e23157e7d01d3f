//! How fast usage is booked: records per second into SQLite and PostgreSQL, in transactions of several sizes, next to
//! the same rows written by a bare prepared-statement loop (same sizes, same schema, no sums), which is what the
//! database itself costs. Transactions are small when callers wait for their commit, and large in a backlog.
//!
//! `cargo bench --bench ledger [-- RECORDS]` prints a table and writes `target/bench-ledger.json`. The ways of writing
//! take turns, each on a fresh database, and the middle one of several rounds counts. CPU is that of this process: for
//! SQLite all there is, for PostgreSQL without its server.

#![allow(clippy::disallowed_methods, reason = "what a bench starts ends with it")]
#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark prints figures for people, and fails by panicking"
)]

#[allow(dead_code, clippy::print_stderr, reason = "the tests use more of it")]
#[path = "../tests/it/harness/postgres.rs"]
mod postgres;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/harness/records.rs"]
mod store_records;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use sea_orm::sqlx::{self, Connection as _};
use serde_json::json;
use sproxy::config::{Durability, UsageConfig};
use sproxy::domain::clock::SystemClock;
use sproxy::domain::ids::UserId;
use sproxy::domain::usage::UsageRecord;
use sproxy::ledger::Ledger;
use sproxy::store::{Location, Store, Synchronous, UsageRepo};
use tokio_util::sync::CancellationToken;

use postgres::Postgres;
use store_records::{Dice, at, group, node, user};

/// Most rows per transaction of the ledger.
const BATCH_MAX: usize = 500;
/// Callers who record and wait for the commit, each one record at a time.
const CALLERS: usize = 64;
const ROUNDS: usize = 5;
const USERS: u64 = 200;
const MODELS: u64 = 4;

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The ways of writing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A prepared statement per row.
    Bare,
    /// The store's insert, sums included.
    Batches,
    /// Through the ledger: reserve, record, group commit, sums included; nobody waits.
    Ledger,
    /// The same, with callers who wait for the commit of each record.
    Callers,
}

/// A way of writing, rows per transaction, and the part of the records that is written so: what is slow writes fewer.
/// The ledger's transactions are as large as what has gathered. Each is compared to the bare inserts above it.
const CASES: [(Way, usize, usize); 10] = [
    (Way::Bare, 1, 8),
    (Way::Batches, 1, 8),
    (Way::Bare, 15, 2),
    (Way::Batches, 15, 2),
    (Way::Callers, 15, 2),
    (Way::Bare, 60, 1),
    (Way::Batches, 60, 1),
    (Way::Bare, 500, 1),
    (Way::Batches, 500, 1),
    (Way::Ledger, 500, 1),
];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare prepared inserts",
            Self::Batches => "insert_batch",
            Self::Ledger => "ledger, nobody waits",
            Self::Callers => "ledger, 64 callers wait",
        }
    }
}

/// What one run took.
#[derive(Clone, Copy)]
struct Run {
    wall: Duration,
    cpu: Duration,
    transactions: u64,
}

fn main() {
    let count = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(50_000_usize);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let records = records(count);
    println!(
        "{count} records of {USERS} users and {MODELS} models, the smaller transactions fewer; median of {ROUNDS}\n"
    );
    println!(
        "{:12} {:24} {:>17} {:>12} {:>12} {:>9}",
        "database", "way", "rows/transaction", "records/s", "CPU µs each", "of bare"
    );
    let mut results = Vec::new();
    results.extend(compare("sqlite", &records, |way, batch, records| {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("bench.db");
        let location = Location::Sqlite { path: path.clone(), synchronous: Synchronous::Normal };
        match way {
            Way::Bare => {
                runtime.block_on(async { Store::open(&location).await.expect("opened").close().await });
                bare_sqlite(&path, batch, records)
            }
            _ => runtime.block_on(ours(&location, way, batch, records)),
        }
    }));
    if let Some(server) = Postgres::start() {
        results.extend(compare("postgresql", &records, |way, batch, records| {
            let url = server.new_database();
            let location = Location::Postgres { url: url.clone() };
            runtime.block_on(async {
                match way {
                    Way::Bare => {
                        Store::open(&location).await.expect("opened").close().await;
                        bare_postgres(&url, batch, records).await
                    }
                    _ => ours(&location, way, batch, records).await,
                }
            })
        }));
    }
    let written = serde_json::to_string_pretty(&json!({"records": count, "results": results})).expect("JSON");
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench-ledger.json"), written)
        .expect("written");
}

/// Runs every case in turns and prints the middle run of each.
fn compare(
    database: &str,
    records: &[UsageRecord],
    mut run: impl FnMut(Way, usize, &[UsageRecord]) -> Run,
) -> Vec<serde_json::Value> {
    let mut runs = CASES.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((way, batch, part), runs) in CASES.iter().zip(&mut runs) {
            runs.push(run(*way, *batch, &records[..records.len() / part]));
        }
    }
    let mut bare = 1.0;
    let rows = CASES.iter().zip(&mut runs).map(|((way, _, part), runs)| {
        runs.sort_by_key(|run| run.wall);
        let middle = runs[runs.len() / 2];
        let count = (records.len() / part) as f64;
        let rate = count / middle.wall.as_secs_f64();
        let cpu = middle.cpu.as_secs_f64() * 1e6 / count;
        if *way == Way::Bare {
            bare = rate;
        }
        let (name, batch, ratio) = (way.name(), count / middle.transactions as f64, rate / bare);
        println!("{database:12} {name:24} {batch:>17.0} {rate:>12.0} {cpu:>12.1} {ratio:>9.2}");
        json!({"database": database, "way": name, "rows_per_transaction": batch, "records_per_s": rate,
               "cpu_us_per_record": cpu, "of_bare": ratio})
    });
    rows.collect()
}

fn records(count: usize) -> Vec<UsageRecord> {
    let mut dice = Dice(2026);
    let mut made = |at_micros| {
        let mut record = store_records::record(at_micros);
        let number = u128::from(dice.below(USERS));
        record.user_id = user(number);
        record.user = format!("user-{number}").into();
        record.group_id = Some(group(number % 10));
        record.group = Some(format!("group-{}", number % 10).into());
        record.model = format!("claude-model-{}", dice.below(MODELS)).into();
        record.actual_model = record.model.clone();
        record.source_node = node("sp-1");
        record.session_id = Some(format!("0191a1b2-c3d4-7000-8000-{:012x}", dice.below(1 << 40)));
        record.tokens.input = dice.below(100_000);
        record.cost_nanousd = dice.below(900_000_000).cast_signed();
        record
    };
    let start = at("2026-11-22T10:00:00Z");
    (0..count as u64).map(|n| made(start.plus(Duration::from_micros(n * 700)))).collect()
}

async fn ours(location: &Location, way: Way, batch: usize, records: &[UsageRecord]) -> Run {
    let store = Store::open(location).await.expect("opened");
    // The first statements are parsed, and caches filled, before the clock runs.
    UsageRepo::on(&store).insert_batch(&self::records(BATCH_MAX), true).await.expect("inserted");
    let run = match way {
        Way::Ledger | Way::Callers => through_the_ledger(store.clone(), records.to_vec(), way).await,
        Way::Bare | Way::Batches => {
            let start = Start::now();
            for batch in records.chunks(batch) {
                UsageRepo::on(&store).insert_batch(batch, true).await.expect("inserted");
            }
            start.stop(records.len().div_ceil(batch) as u64)
        }
    };
    let totals = UsageRepo::on(&store).global_sum_tokens(at("2026-01-01"), at("2100-01-01")).await;
    assert_eq!(totals.expect("sums").request_count, (records.len() + BATCH_MAX) as u64);
    store.close().await;
    run
}

async fn through_the_ledger(store: Store, records: Vec<UsageRecord>, way: Way) -> Run {
    let config = UsageConfig {
        durability: Durability::Committed,
        queue: 10_000,
        batch: BATCH_MAX,
        commit_timeout: Duration::from_mins(1),
        retention: Duration::from_hours(24),
    };
    let (ledger, writer) = Ledger::open(store, &config, true, Arc::new(SystemClock));
    let stop = CancellationToken::new();
    let writing = tokio::spawn(writer.run(stop.clone()));
    let start = Start::now();
    if way == Way::Callers {
        let share = records.len().div_ceil(CALLERS);
        let callers = records.chunks(share).map(|mine| tokio::spawn(call(ledger.clone(), mine.to_vec())));
        for caller in callers.collect::<Vec<_>>() {
            caller.await.expect("no panic");
        }
    } else {
        for record in records {
            let reservation = loop {
                match ledger.reserve(UserId::new()) {
                    Ok(reservation) => break reservation,
                    Err(_) => ledger.nudged().await,
                }
            };
            drop(reservation.record(record));
        }
        ledger.flush().await.expect("flushed");
    }
    let run = start.stop(ledger.stats().batches_total);
    stop.cancel();
    writing.await.expect("no panic");
    run
}

/// A caller whose answers end one after the other, each when its record is committed.
async fn call(ledger: Ledger, records: Vec<UsageRecord>) {
    for record in records {
        let receipt = ledger.reserve(UserId::new()).expect("room").record(record);
        receipt.committed().await.expect("committed");
    }
}

const COLUMNS: &str = "request_id, user_id, user_name, group_id, group_name, model, actual_model, provider, target, \
    upstream_url, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, \
    reasoning_tokens, token_source, outcome, is_streaming, status_code, duration_ms, ttfb_ms, price, cost_nanousd, \
    session_id, agent_id, client_request_id, source_node, created_at, synced";

fn insert() -> String {
    let parameters = (1..=30).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    format!("INSERT INTO usage_logs ({COLUMNS}) VALUES ({parameters})")
}

/// What SQLite itself takes: no thread in between, the same settings.
fn bare_sqlite(path: &Path, batch: usize, records: &[UsageRecord]) -> Run {
    let mut connection = rusqlite::Connection::open(path).expect("opened");
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -16384")
        .expect("settings");
    let price = serde_json::to_string(&*records[0].price).expect("JSON");
    let insert = insert();
    let start = Start::now();
    for batch in records.chunks(batch) {
        let transaction = connection.transaction().expect("begun");
        let mut statement = transaction.prepare_cached(&insert).expect("prepared");
        for record in batch {
            bind(&mut statement, record, &price).expect("bound");
            statement.raw_execute().expect("inserted");
        }
        drop(statement);
        transaction.commit().expect("committed");
    }
    start.stop(records.len().div_ceil(batch) as u64)
}

fn bind(statement: &mut rusqlite::Statement<'_>, r: &UsageRecord, price: &str) -> rusqlite::Result<()> {
    let count = |n: u64| n.cast_signed();
    statement.raw_bind_parameter(1, r.request_id.0.as_bytes().as_slice())?;
    statement.raw_bind_parameter(2, r.user_id.0.as_bytes().as_slice())?;
    statement.raw_bind_parameter(3, &*r.user)?;
    statement.raw_bind_parameter(4, r.group_id.as_ref().map(|id| id.0.as_bytes().as_slice()))?;
    statement.raw_bind_parameter(5, r.group.as_deref())?;
    statement.raw_bind_parameter(6, &*r.model)?;
    statement.raw_bind_parameter(7, &*r.actual_model)?;
    statement.raw_bind_parameter(8, r.provider.as_str())?;
    statement.raw_bind_parameter(9, &*r.target)?;
    statement.raw_bind_parameter(10, &*r.upstream_url)?;
    let tokens = r.tokens;
    let classes = [tokens.input, tokens.output, tokens.cache_read, tokens.cache_write, tokens.cache_write_1h];
    for (at, tokens) in classes.into_iter().chain([tokens.reasoning]).enumerate() {
        statement.raw_bind_parameter(11 + at, count(tokens))?;
    }
    statement.raw_bind_parameter(17, r.token_source.as_str())?;
    statement.raw_bind_parameter(18, r.outcome.as_str())?;
    statement.raw_bind_parameter(19, r.is_streaming)?;
    statement.raw_bind_parameter(20, r.status_code)?;
    statement.raw_bind_parameter(21, count(r.duration_ms))?;
    statement.raw_bind_parameter(22, r.ttfb_ms.map(count))?;
    statement.raw_bind_parameter(23, price)?;
    statement.raw_bind_parameter(24, r.cost_nanousd)?;
    statement.raw_bind_parameter(25, r.session_id.as_deref())?;
    statement.raw_bind_parameter(26, Value::Null)?;
    statement.raw_bind_parameter(27, r.client_request_id.as_deref())?;
    statement.raw_bind_parameter(28, r.source_node.as_str())?;
    statement.raw_bind_parameter(29, r.created_at.as_micros())?;
    statement.raw_bind_parameter(30, true)
}

/// What PostgreSQL takes when every row is a statement of its own.
async fn bare_postgres(url: &str, batch: usize, records: &[UsageRecord]) -> Run {
    let mut connection = sqlx::PgConnection::connect(url).await.expect("connected");
    let price = serde_json::to_string(&*records[0].price).expect("JSON");
    let sql = insert();
    let count = |n: u64| n.cast_signed();
    let start = Start::now();
    for batch in records.chunks(batch) {
        let mut transaction = connection.begin().await.expect("begun");
        for r in batch {
            let query = sqlx::query(sqlx::AssertSqlSafe(sql.as_str()))
                .bind(r.request_id.0)
                .bind(r.user_id.0)
                .bind(&*r.user)
                .bind(r.group_id.map(|id| id.0))
                .bind(r.group.as_deref())
                .bind(&*r.model)
                .bind(&*r.actual_model)
                .bind(r.provider.as_str())
                .bind(&*r.target)
                .bind(&*r.upstream_url)
                .bind(count(r.tokens.input))
                .bind(count(r.tokens.output))
                .bind(count(r.tokens.cache_read))
                .bind(count(r.tokens.cache_write))
                .bind(count(r.tokens.cache_write_1h))
                .bind(count(r.tokens.reasoning))
                .bind(r.token_source.as_str())
                .bind(r.outcome.as_str())
                .bind(r.is_streaming)
                .bind(i64::from(r.status_code))
                .bind(count(r.duration_ms))
                .bind(r.ttfb_ms.map(count))
                .bind(&price)
                .bind(r.cost_nanousd)
                .bind(r.session_id.as_deref())
                .bind(r.agent_id.as_deref())
                .bind(r.client_request_id.as_deref())
                .bind(r.source_node.as_str())
                .bind(r.created_at.as_micros())
                .bind(true);
            query.execute(&mut *transaction).await.expect("inserted");
        }
        transaction.commit().await.expect("committed");
    }
    start.stop(records.len().div_ceil(batch) as u64)
}

/// Wall clock and this process's CPU time at the start of a run.
struct Start {
    wall: Instant,
    cpu: Duration,
}

impl Start {
    fn now() -> Self {
        Self { wall: Instant::now(), cpu: cpu() }
    }

    fn stop(self, transactions: u64) -> Run {
        Run { wall: self.wall.elapsed(), cpu: cpu().saturating_sub(self.cpu), transactions }
    }
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let after_name = stat.rsplit(')').next().expect("fields");
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).map(|f| f.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}
