//! What the gateway costs, beside nginx as a bare reverse proxy in the same run.
//!
//! Mock provider, nginx and two nodes (`committed` and `buffered`) run side by side on loopback. Each lane is driven in
//! turns, so that a drift of the machine meets all of them; what is quoted is the median of the rounds. CPU time is
//! user + system of the gateway's processes from `/proc`.
//!
//! `cargo bench --bench gateway [-- --rounds 3 --seconds 3]` prints a table and writes `target/bench/gateway.json`.
//! `--lane NAME` runs one lane, `--lane none` only what open streams take; `--beside FILE` measures another build of sproxy
//! in the same rounds, `--telemetry` nodes that tell less and more of their calls than by default.

#![allow(clippy::disallowed_methods, reason = "what a bench starts ends with it")]
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench talks and may stop"
)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are rounded anyway"
)]

mod collector;
mod lanes;
mod load;
mod servers;

use std::time::Duration;

use lanes::{LANES, Lane, OpenStreams};
use servers::{Server, Servers};

/// One measurement of one server in one lane.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
struct Figure {
    requests_per_second: f64,
    cpu_us_per_request: f64,
    cpu_us_per_event: f64,
    p50_us: f64,
    p99_us: f64,
    errors: u64,
}

#[derive(serde::Serialize)]
struct Row {
    lane: &'static str,
    server: &'static str,
    #[serde(flatten)]
    figure: Figure,
    cpu_against_nginx: Option<f64>,
    added_p50_us: f64,
    added_p99_us: f64,
}

fn main() {
    let rounds = option("--rounds").unwrap_or(3);
    let seconds = option("--seconds").unwrap_or(3);
    let only: Option<String> = std::env::args().skip_while(|a| a != "--lane").nth(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let beside: Option<String> = std::env::args().skip_while(|a| a != "--beside").nth(1);
    let collector = std::env::args()
        .any(|argument| argument == "--telemetry")
        .then(|| runtime.block_on(collector::start()));
    let servers = Servers::start(beside.as_deref(), collector);
    let mut rows = Vec::new();
    for lane in LANES.iter().filter(|lane| only.as_deref().is_none_or(|name| lane.name == name)) {
        rows.extend(measure(&runtime, &servers, lane, rounds, Duration::from_secs(seconds)));
    }
    print_table(&rows);
    let memory = runtime.block_on(lanes::open_streams(&servers));
    print_streams(&memory);
    let report = serde_json::json!({ "rows": rows, "memory": memory });
    std::fs::create_dir_all("target/bench").unwrap();
    std::fs::write("target/bench/gateway.json", serde_json::to_string_pretty(&report).unwrap()).unwrap();
}

fn option(name: &str) -> Option<u64> {
    std::env::args().skip_while(|argument| argument != name).nth(1)?.parse().ok()
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    servers: &Servers,
    lane: &Lane,
    rounds: u64,
    duration: Duration,
) -> Vec<Row> {
    let mut taken: Vec<Vec<Figure>> = vec![Vec::new(); servers.all.len()];
    for round in 0..=rounds {
        for (at, server) in servers.all.iter().enumerate() {
            // The first round only warms up.
            let length = if round == 0 { Duration::from_millis(500) } else { duration };
            let figure = drive(runtime, server, lane, length);
            if round > 0 {
                taken[at].push(figure);
            }
        }
    }
    let medians: Vec<Figure> = taken.iter().map(|figures| median(figures)).collect();
    let of = |name: &str| servers.all.iter().position(|server| server.name == name).map(|at| medians[at]);
    let (direct, nginx) = (of("direct").unwrap_or_default(), of("nginx"));
    let rows = servers.all.iter().zip(&medians).filter(|(server, _)| server.name != "direct");
    rows.map(|(server, figure)| Row {
        lane: lane.name,
        server: server.name,
        figure: *figure,
        cpu_against_nginx: nginx.map(|nginx| figure.cpu_us_per_request / nginx.cpu_us_per_request),
        added_p50_us: figure.p50_us - direct.p50_us,
        added_p99_us: figure.p99_us - direct.p99_us,
    })
    .collect()
}

fn drive(runtime: &tokio::runtime::Runtime, server: &Server, lane: &Lane, duration: Duration) -> Figure {
    let before = server.cpu_us();
    let load = runtime.block_on(load::run(server, lane, duration));
    let cpu = server.cpu_us() - before;
    let requests = load.latencies_us.len().max(1);
    Figure {
        requests_per_second: requests as f64 / load.elapsed.as_secs_f64(),
        cpu_us_per_request: cpu / requests as f64,
        cpu_us_per_event: cpu / (requests * lane.events.max(1)) as f64,
        p50_us: load.percentile(50.0),
        p99_us: load.percentile(99.0),
        errors: load.errors,
    }
}

fn median(figures: &[Figure]) -> Figure {
    let middle = |of: fn(&Figure) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Figure {
        requests_per_second: middle(|f| f.requests_per_second),
        cpu_us_per_request: middle(|f| f.cpu_us_per_request),
        cpu_us_per_event: middle(|f| f.cpu_us_per_event),
        p50_us: middle(|f| f.p50_us),
        p99_us: middle(|f| f.p99_us),
        errors: figures.iter().map(|f| f.errors).sum(),
    }
}

fn print_streams(rows: &[OpenStreams]) {
    println!(
        "\n{:<34} {:<18} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "slow streams", "server", "open", "complete", "KB each", "MB idle", "before", "open", "after"
    );
    for row in rows {
        println!(
            "{:<34} {:<18} {:>8} {:>8} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
            "at once",
            row.server,
            row.count,
            row.complete,
            row.kb_per_stream,
            row.idle_mb,
            row.before_mb,
            row.open_mb,
            row.after_mb,
        );
    }
}

fn print_table(rows: &[Row]) {
    println!(
        "{:<34} {:<18} {:>10} {:>12} {:>10} {:>9} {:>11} {:>11} {:>7}",
        "lane", "server", "req/s", "cpu us/req", "us/event", "x nginx", "added p50", "added p99", "errors"
    );
    for row in rows {
        println!(
            "{:<34} {:<18} {:>10.0} {:>12.1} {:>10.2} {:>9} {:>8.0} us {:>8.0} us {:>7}",
            row.lane,
            row.server,
            row.figure.requests_per_second,
            row.figure.cpu_us_per_request,
            row.figure.cpu_us_per_event,
            row.cpu_against_nginx.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            row.added_p50_us,
            row.added_p99_us,
            row.figure.errors,
        );
    }
}
