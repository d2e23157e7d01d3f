//! A process that dies while it writes, and a disk that is full: what was said to be committed is there, logs and sums
//! agree, and nothing needs repair.
//!
//! The process that dies is this test binary once more, told by its environment to play the victim.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sproxy::config::{Durability, UsageConfig};
use sproxy::domain::clock::SystemClock;
use sproxy::domain::ids::UserId;
use sproxy::domain::summary::Totals;
use sproxy::domain::usage::UsageFilter;
use sproxy::ledger::Ledger;
use sproxy::store::{Store, UsageRepo};
use tokio_util::sync::CancellationToken;

use crate::harness::databases::sqlite_at;
use crate::harness::records::{Dice, at, sum};

const VICTIM: &str = "SPROXY_TEST_VICTIM";

/// Starts this binary again, running only `test` on the database at `path`, through `shell`.
fn victim(test: &str, path: &Path, shell: &str) -> Child {
    let binary = std::env::current_exe().expect("this binary");
    Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
        .arg(binary)
        .args(["--exact", test, "--nocapture", "--ignored"])
        .env(VICTIM, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started")
}

async fn ledger_at(path: &Path, queue: usize) -> Ledger {
    let store = Store::open(&sqlite_at(path.to_owned())).await.expect("opened");
    let config = UsageConfig {
        durability: Durability::Committed,
        queue,
        batch: 50,
        commit_timeout: Duration::from_mins(1),
        retention: Duration::from_hours(24),
    };
    let (ledger, writer) = Ledger::open(store, &config, false, Arc::new(SystemClock));
    tokio::spawn(writer.run(CancellationToken::new()));
    ledger
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_every_committed_record_once_and_exact_sums() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sproxy.db");
    let mut confirmed = 0_u64;
    for round in 0..5_usize {
        let mut victim = victim("ledger::crash::writes_until_it_is_killed", &path, "");
        let mut lines = BufReader::new(victim.stdout.take().expect("its output")).lines();
        let mut heard = 0;
        // killed in the middle of whatever it does, at another point in each round
        while heard < 200 + 137 * round {
            let line = lines.next().expect("it goes on").expect("text");
            heard += usize::from(line.ends_with("committed"));
        }
        victim.kill().expect("killed");
        heard += lines.map_while(Result::ok).filter(|line| line.ends_with("committed")).count();
        victim.wait().expect("gone");
        confirmed += heard as u64;

        let store = Store::open(&sqlite_at(path.clone())).await.expect("it opens without repair");
        let usage = UsageRepo::on(&store);
        let (from, to) = (at("2020-01-01"), at("2100-01-01"));
        let sums = usage.global_sum_tokens(from, to).await.expect("sums");
        let logs = usage.query(&UsageFilter::default(), 100_000, None).await.expect("logs").items;
        assert_eq!(sums, sum(logs.iter().map(|log| &log.record)), "logs and sums agree");
        let mut by_user = Totals::default();
        for row in usage.user_stats(from, to, 100).await.expect("statistics") {
            by_user.add(&row.totals);
        }
        assert_eq!(by_user, sums, "both tables of sums agree");
        assert!(sums.request_count >= confirmed, "{} of {confirmed}", sums.request_count);
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "played by another process, see the test above"]
async fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(VICTIM) else { return };
    let ledger = ledger_at(path.as_ref(), 200).await;
    let mut dice = Dice(u64::from(std::process::id()));
    loop {
        if let Ok(reservation) = ledger.reserve(UserId::new()) {
            let receipt = reservation.record(dice.record(at("2026-11-22"), 1));
            tokio::spawn(async move {
                receipt.committed().await.expect("committed");
                println!("committed");
            });
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_full_disk_refuses_new_requests_and_loses_no_record() {
    let dir = tempfile::tempdir().expect("a directory");
    // Files may grow to 2 MB at first; writing more is an error and not a signal.
    let shell = "trap '' XFSZ; ulimit -S -f 4096;";
    let victim = victim("ledger::crash::fills_the_disk", &dir.path().join("sproxy.db"), shell);
    let output = victim.wait_with_output().expect("its output");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("every record is there"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "played by another process, see the test above"]
async fn fills_the_disk() {
    let Some(path) = std::env::var_os(VICTIM) else { return };
    let ledger = ledger_at(path.as_ref(), 500).await;
    let (mut dice, mut booked) = (Dice(1), Vec::new());
    while ledger.stats().retries_total == 0 {
        match ledger.reserve(UserId::new()) {
            Ok(reservation) => {
                let record = dice.record(at("2026-11-22"), 1);
                booked.push(record.clone());
                drop(reservation.record(record));
            }
            Err(_) => tokio::task::yield_now().await,
        }
    }
    while let Ok(reservation) = ledger.reserve(UserId::new()) {
        let record = dice.record(at("2026-11-22"), 1);
        booked.push(record.clone());
        drop(reservation.record(record));
    }
    let read_meanwhile = ledger.usage().global_sum_tokens(at("2020-01-01"), at("2100-01-01")).await;
    assert!(read_meanwhile.expect("reading goes on").request_count > 0);
    // someone makes room
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).expect("room");
    tokio::time::timeout(Duration::from_mins(1), ledger.flush()).await.expect("in time").expect("flushed");
    let sums = ledger.usage().global_sum_tokens(at("2020-01-01"), at("2100-01-01")).await.expect("sums");
    assert_eq!(sums, sum(&booked));
    println!("every record is there");
}
