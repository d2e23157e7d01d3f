//! One process for a database. A second one would go by its own memory of keys, limits and quotas: who is disabled at the
//! first would be served by the second. Leaders share theirs on PostgreSQL, with nobody else.

use std::process::Output;

use reqwest::Method;
use tokio::process::{Child, Command};

use crate::harness::postgres::Postgres;
use crate::harness::switch::Switch;
use crate::harness::{DEADLINE, Mock, Node, SPROXY, Setup, until};

/// A second process, with a directory and addresses of its own, on the database at `url`.
struct Second {
    directory: tempfile::TempDir,
    child: Child,
}

impl Second {
    fn on(url: &str) -> Self {
        Self::start(url, &[])
    }

    /// A follower, whose database is its alone.
    fn following(url: &str) -> Self {
        Self::start(url, &[("SPROXY_CLUSTER__LEADER", "http://127.0.0.1:9"), ("SPROXY_NODE__ID", "sp-9")])
    }

    fn start(url: &str, more: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = [
            ("SPROXY_HTTP__LISTEN", "127.0.0.1:0"),
            ("SPROXY_CLUSTER__LISTEN", "127.0.0.1:0"),
            ("SPROXY_STORE__URL", url),
            ("SPROXY_LOG__FORMAT", "json"),
            ("SPROXY_ADMIN_PASSWORD", "correct horse battery"),
        ];
        let mut command = Command::new(SPROXY);
        command.args(["serve", "--data-dir", &directory.path().join("data").display().to_string()]);
        command.envs(settings).envs(more.iter().copied()).current_dir(directory.path()).kill_on_drop(true);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        Self { child: command.spawn().unwrap(), directory }
    }

    /// Its exit code and what it said.
    async fn refused(self) -> (Option<i32>, String) {
        let ended = tokio::time::timeout(DEADLINE, self.child.wait_with_output()).await;
        let Output { status, stderr, .. } = ended.expect("it ends").unwrap();
        drop(self.directory);
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }
}

async fn readiness(node: &Node) -> (u16, String) {
    let answer = node.http.get(node.url("/readyz")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn ready(node: &Node) {
    until("the node is ready", async || (readiness(node).await.0 == 200).then_some(())).await;
}

/// A follower without a leader, on a database of its own.
fn following(mock: &Mock, url: &str) -> Setup {
    let setup = Setup::with_targets_at(&mock.url()).section("store", &format!("url = \"{url}\""));
    setup.section("cluster", "leader = \"http://127.0.0.1:9\"").section("node", "id = \"sp-9\"")
}

/// It knows no users without its leader, and is not ready.
async fn alive(node: &Node) {
    until("the node lives", async || {
        node.http.get(node.url("/healthz")).send().await.ok()?.status().is_success().then_some(())
    })
    .await;
}

async fn on(mock: &Mock, url: &str) -> Node {
    Setup::with_targets_at(&mock.url()).section("store", &format!("url = \"{url}\"")).start().await
}

#[tokio::test]
async fn a_second_process_on_a_sqlite_file_is_told_who_has_it_by_whatever_path_it_comes() {
    let mock = Mock::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let (file, link) = (elsewhere.path().join("books.db"), elsewhere.path().join("link.db"));
    let mut first = on(&mock, &format!("sqlite://{}", file.display())).await;
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &link] {
        let (code, said) = Second::on(&format!("sqlite://{}", path.display())).refused().await;
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains(&format!("{} is in use by process {}", path.display(), first.process.id())),
            "{said}"
        );
        assert!(said.contains("store.url"), "{said}");
    }
    first.kill().await;
    first.restart().await;
    ready(&first).await;
}

#[tokio::test]
async fn a_database_in_the_data_directory_of_a_living_node_is_in_use_too() {
    let mock = Mock::start().await;
    let first = Setup::with_targets_at(&mock.url()).start().await;
    let file = first.data_dir().join("sproxy.db");
    let (code, said) = Second::on(&format!("sqlite://{}", file.display())).refused().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("is in use by process {}", first.process.id())), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_on_the_postgresql_database_of_leaders_is_told_who_has_it() {
    let Some(server) = Postgres::shared() else { return };
    let mock = Mock::start().await;
    let (url, other) = (server.new_database(), server.new_database());
    let mut first = on(&mock, &url).await;
    let (code, said) = Second::following(&url).refused().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("in use by process {}", first.process.id())), "{said}");
    assert!(said.contains("store.url") && !said.contains("sproxy@"), "{said}");
    let neighbour = on(&mock, &other).await;
    ready(&neighbour).await;
    first.kill().await;
    first.restart().await;
    ready(&first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_postgresql_takes_no_node_down_and_leaves_the_database_to_it() {
    let Some(server) = Postgres::start() else { return };
    let mock = Mock::start().await;
    let url = server.new_database();
    let first = on(&mock, &url).await;
    let retaken = || first.log().matches("the lock on the database is held again").count();
    for times in 1..=2 {
        tokio::task::block_in_place(|| {
            server.crash();
            server.resume();
        });
        until("the lock is held again", async || (retaken() == times).then_some(())).await;
        ready(&first).await;
    }
    let (code, said) = Second::following(&url).refused().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("in use by process {}", first.process.id())), "{said}");
    assert_eq!(first.call(Method::GET, "/admin/v1/users", None).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_process_is_gone_is_waited_for() {
    let Some(server) = Postgres::start() else { return };
    let mock = Mock::start().await;
    let (url, switch) = (server.new_database(), Switch::to(&server.socket()).await);
    let mut first = on(&mock, &switch.url_of(&url)).await;
    switch.keep_half_open();
    first.kill().await;
    let starting = tokio::spawn(following(&mock, &url).start());
    until("it is waited for", async || {
        let waiting = server.query(
            "postgres",
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'sproxy lock %'",
        );
        (waiting.trim() == "2").then_some(())
    })
    .await;
    switch.turn(Some(&server.socket()));
    alive(&starting.await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_a_node_itself_that_the_server_does_not_know_to_be_dead_keeps_it_out_no_longer() {
    let Some(server) = Postgres::start() else { return };
    let mock = Mock::start().await;
    let (url, switch) = (server.new_database(), Switch::to(&server.socket()).await);
    let first = on(&mock, &switch.url_of(&url)).await;
    switch.keep_half_open();
    switch.turn(Some(&server.socket()));
    until("the lock is held again", async || {
        first.log().contains("the lock on the database is held again").then_some(())
    })
    .await;
    ready(&first).await;
}

/// Two that write into one database, each by its own memory, are worse than one that stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_database_another_has_taken_meanwhile_ends_and_says_who() {
    let Some(server) = Postgres::start() else { return };
    let mock = Mock::start().await;
    let (url, switch) = (server.new_database(), Switch::to(&server.socket()).await);
    let mut first = on(&mock, &switch.url_of(&url)).await;
    switch.turn(None);
    let second = following(&mock, &url).start().await;
    switch.turn(Some(&server.socket()));
    assert_eq!(first.process.ended().await, Some(1), "{}", first.log());
    let said = first.log();
    assert!(said.contains(&format!("in use by process {}", second.process.id())), "{said}");
    alive(&second).await;
}
