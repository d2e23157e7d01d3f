//! The torture, as anybody runs it: a few events, a report, and an exit code.

use crate::cli::plain;
use crate::harness::postgres::Postgres;

/// What a report says of something.
fn value<'r>(report: &'r str, what: &str) -> &'r str {
    let row = |line: &'r str| {
        let (name, value) = line.trim_matches([' ', '|']).split_once(" |")?;
        (name.trim() == what).then(|| value.trim())
    };
    report.lines().find_map(row).unwrap_or_else(|| panic!("no row {what:?}:\n{report}"))
}

fn number(report: &str, what: &str) -> u64 {
    value(report, what).parse().unwrap_or_else(|_| panic!("{what} is no number:\n{report}"))
}

/// Its report, once it has found nothing.
async fn report_of(more: &[&str], seed: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.md");
    let arguments = ["torture", "--events", "20", "--seed", seed, "--report", file.to_str().unwrap()];
    let said = plain(&[&arguments[..], more].concat()).await.done();
    assert!(said.contains(&format!("seed {seed}")) && said.contains("the books are right"), "{said}");
    let report = std::fs::read_to_string(file).unwrap();
    for what in ["lost", "double", "with wrong tokens or status", "users missing"] {
        assert_eq!(number(&report, what), 0, "{what}: {report}");
    }
    assert_eq!(value(&report, "seed"), seed);
    let received = number(&report, "complete answers compared");
    assert!(received > 100 && number(&report, "booked at sp-1") >= received, "{report}");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_on_sqlite_is_broken_twenty_times_and_its_books_are_right() {
    let report = report_of(&[], "3").await;
    assert!(report.starts_with("## SQLite: the books are right"), "{report}");
    assert_eq!(number(&report, "events"), 20);
    assert!(number(&report, "- kill -9 of a node") > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_leaders_on_postgresql_are_broken_and_each_has_the_same_books() {
    // Whether there is one: without, SQLite is tortured, which is said.
    if Postgres::shared().is_none() {
        return;
    }
    let report = report_of(&["--leaders", "3"], "3").await;
    assert!(report.starts_with("## postgres (PostgreSQL)"), "{report}");
    assert!(number(&report, "- PostgreSQL failed over to a lagging standby") > 0, "{report}");
    let booked = ["sp-1", "sp-2", "sp-3"].map(|name| number(&report, &format!("booked at {name}")));
    assert!(booked[0] == booked[1] && booked[1] == booked[2], "{booked:?}");
}
