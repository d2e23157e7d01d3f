//! The demo, played as a newcomer plays it, without a terminal.

use crate::cli::plain;
use crate::harness::SPROXY;
use crate::harness::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_names_its_nodes_and_ends_with_what_each_served_pushed_and_owes() {
    let mut demo = tokio::process::Command::new(SPROXY);
    demo.args(["demo", "--nodes", "2", "--requests", "200"]).kill_on_drop(true);
    let ended = demo.output().await.expect("the demo");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
    for line in
        ["sp-1 leads: http://", "sp-2 follows: http://", "0 lost, 0 double, 0 wrong", "the books are right"]
    {
        assert!(said.contains(line), "{line} is missing:\n{said}");
    }
    let table = said.rsplit_once("the books are right").map(|(_, table)| table).unwrap_or_default();
    let row = |name: &str| -> Vec<String> {
        let row = table.lines().find(|line| line.trim_start().starts_with(name));
        row.unwrap_or_else(|| panic!("no row of {name}:\n{said}"))
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    for name in ["sp-1", "sp-2"] {
        let row = row(name);
        let count = |at: usize| row[at].parse::<u64>().expect("a count");
        assert!(count(2) > 0 && count(3) >= count(2), "served and pushed: {row:?}");
        assert_eq!(count(4), 0, "nothing is owed: {row:?}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_leaders_share_a_private_postgresql_and_each_has_all_books() {
    if Postgres::shared().is_none() {
        return;
    }
    let said = plain(&["demo", "--leaders", "2", "--nodes", "3", "--requests", "200"]).await.done();
    for line in [
        "sp-1 leads: http://",
        "sp-2 leads: http://",
        "sp-3 follows: http://",
        "each of 2 leaders has booked",
        "0 lost, 0 double, 0 wrong",
        "the books are right",
    ] {
        assert!(said.contains(line), "{line} is missing:\n{said}");
    }
}

#[tokio::test]
async fn fewer_nodes_than_leaders_are_refused() {
    let said = plain(&["demo", "--leaders", "3", "--nodes", "2"]).await.refused(1);
    assert!(said.contains("--nodes 3"), "{said}");
}
