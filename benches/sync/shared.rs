//! How fast two followers' backlogs drain by one leader and by two, all on one PostgreSQL. The leaders are the binary
//! itself; rounds of one and of two leaders take turns, each on a fresh server.

use std::path::Path;
use std::time::{Duration, Instant};

use sproxy::cli::local_cluster::postgres::{Postgres, Programs};
use sproxy::cli::local_cluster::process::{Listening, Process};
use sproxy::store::{MetaKey, MetaRepo, Store};

use super::process::{Node, cpu_of_family};
use super::{Makings, count_per_second, insert, located, path};

const SPROXY: &str = env!("CARGO_BIN_EXE_sproxy");
const ROUNDS: usize = 3;
const FOLLOWERS: [&str; 2] = ["sp-11", "sp-12"];

/// Leaders on one database; they end with this value, the server last.
pub struct Leaders {
    pub all: Vec<(Process, Listening)>,
    pub server: Postgres,
}

impl Leaders {
    /// `count` of them, on a server of their own in `directory`.
    pub async fn start(directory: &Path, count: usize) -> Self {
        let programs = Programs::find().expect("PostgreSQL's binaries");
        let server = Postgres::create(&programs, &directory.join("postgres")).await.expect("a server");
        let mut all = Vec::new();
        for n in 1..=count {
            let config = directory.join(format!("leader-{n}.toml"));
            let text = format!(
                "[node]\ndata_dir = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n[cluster]\nlisten = \"127.0.0.1:0\"\n\
                 [store]\nurl = \"{}\"\n[log]\nformat = \"json\"\n",
                path(directory, &format!("leader-{n}")),
                server.url(),
            );
            std::fs::write(&config, text).expect("a configuration");
            let arguments = ["serve", "--config", config.to_str().expect("UTF-8")];
            let log = directory.join(format!("leader-{n}.log"));
            let mut process = Process::spawn_program(Path::new(SPROXY), &arguments, &log).expect("a process");
            let listening = process.until_ready(&arguments).await.expect("a leader");
            all.push((process, listening));
        }
        Self { all, server }
    }

    /// The gRPC side of the leader whose turn it is.
    pub fn address(&self, turn: usize) -> String {
        let (_, listening) = &self.all[turn % self.all.len()];
        format!("http://{}", listening.grpc.expect("a leader has one"))
    }

    pub async fn number(&self, sql: &str) -> u64 {
        let said = self.server.query(sql).await.expect("an answer");
        said.parse().unwrap_or_else(|_| panic!("{sql}: {said}"))
    }

    /// Time on the processors so far: of all leaders, and of PostgreSQL.
    pub fn cpu(&self) -> [Duration; 2] {
        let ids = self.all.iter().filter_map(|(process, _)| process.id());
        [ids.map(cpu_of_family).sum(), cpu_of_family(self.server.id().expect("it runs"))]
    }
}

/// How a round went.
struct Round {
    per_second: f64,
    /// Microseconds per record, of the leaders and of PostgreSQL.
    cpu: [f64; 2],
}

pub async fn run(count: usize) {
    let mut rounds: [Vec<Round>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (at, of_these) in rounds.iter_mut().enumerate() {
            of_these.push(drain(at + 1, count).await);
        }
    }
    let [one, two] = rounds.map(|of_these| middle(of_these).expect("rounds"));
    println!(
        "| two followers, {count} records owed, one PostgreSQL | records/s | against one leader | µs CPU per record: leaders | PostgreSQL |"
    );
    println!("|---|--:|--:|--:|--:|");
    for (name, round) in [("one leader", &one), ("two leaders", &two)] {
        let ([leaders, database], ratio) = (round.cpu, round.per_second / one.per_second);
        println!("| {name} | {:.0} | {ratio:.2} | {leaders:.1} | {database:.1} |", round.per_second);
    }
    println!(
        "{{\"bench\":\"sync leaders\",\"records\":{count},\"one\":{:.0},\"two\":{:.0},\"ratio\":{:.3}}}",
        one.per_second,
        two.per_second,
        two.per_second / one.per_second
    );
}

fn middle(mut rounds: Vec<Round>) -> Option<Round> {
    rounds.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let middle = rounds.len() / 2;
    rounds.into_iter().nth(middle)
}

/// Lets two followers owe half of `count` records each, as after a time without leaders, and measures how long it takes
/// until the database has them.
async fn drain(leaders: usize, count: usize) -> Round {
    let directory = tempfile::tempdir().expect("a directory");
    open_to_all(directory.path());
    let leaders = Leaders::start(directory.path(), leaders).await;
    let ledger =
        leaders.server.query("SELECT value FROM meta WHERE key = 'ledger_id'").await.expect("a ledger");
    let each = count / FOLLOWERS.len();
    for name in FOLLOWERS {
        let store = Store::open(&located(&owing(directory.path(), name))).await.expect("opens");
        insert(&store, &Makings::new(name, each), each, false).await;
        MetaRepo::on(&store).set(MetaKey::LeaderLedgerId, &ledger).await.expect("remembered");
        store.close().await;
    }
    let before = leaders.cpu();
    let began = Instant::now();
    let mut followers: Vec<_> = FOLLOWERS
        .iter()
        .enumerate()
        .map(|(turn, name)| {
            Node::start(&["follow", &owing(directory.path(), name), "0", name, &leaders.address(turn)])
        })
        .collect();
    for follower in &mut followers {
        assert_eq!(follower.line(), "ready");
    }
    let taken = "SELECT COALESCE(SUM(request_count), 0) FROM usage_totals";
    while leaders.number(taken).await < (each * FOLLOWERS.len()) as u64 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = began.elapsed();
    let after = leaders.cpu();
    let booked = leaders.number("SELECT COUNT(*) FROM usage_logs").await;
    assert_eq!(booked, (each * FOLLOWERS.len()) as u64, "counted once");
    let per_record = |at: usize| 1e6 / count_per_second(count, after[at].saturating_sub(before[at]));
    Round { per_second: count_per_second(count, took), cpu: [per_record(0), per_record(1)] }
}

fn owing(directory: &Path, name: &str) -> String {
    path(directory, &format!("{name}.db"))
}

/// PostgreSQL may run as another user, that has to get to its directory.
pub fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).expect("permissions");
}
