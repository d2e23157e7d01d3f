//! What a node says that cannot start, or cannot work yet.

use std::net::SocketAddr;
use std::process::{Output, Stdio};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::harness::postgres::Postgres;
use crate::harness::switch::Switch;
use crate::harness::{Mock, Node, SPROXY, Setup, until};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn following(mock: &Mock, leader: SocketAddr) -> Setup {
    Setup::with_targets_at(&mock.url())
        .section("log", "level = \"info\"")
        .section("cluster", &format!("leader = \"http://{leader}\""))
}

async fn get(node: &Node, path: &str) -> (u16, Value) {
    let answer = node.http.get(node.url(path)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Nobody can be told that a credential is wrong, and whoever asks is told to come again.
async fn turns_away(node: &Node, leader: SocketAddr) {
    let body = json!({ "model": "claude", "max_tokens": 9, "messages": [] });
    let refused = node.ask("sk-sp-any", "/v1/messages", &[], &body).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "2"), "{}", refused.text());
    assert_eq!(refused.json()["error"]["type"], json!("overloaded_error"));
    assert!(refused.text().contains(&leader.to_string()), "{}", refused.text());
    let refused = node.http.get(node.url("/me")).bearer_auth("sk-sp-any").send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"2".parse().unwrap()));
    assert_eq!(get(node, "/healthz").await.0, 200);
    let (status, readiness) = get(node, "/readyz").await;
    assert_eq!((status, &readiness["status"]), (503, &json!("not ready")));
    assert!(readiness["reasons"][0].as_str().unwrap().contains(&leader.to_string()), "{readiness}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_follower_whose_leader_is_away_is_alive_and_says_what_it_waits_for() {
    let mock = Mock::start().await;
    let address = free();
    let follower = following(&mock, address).start().await;
    turns_away(&follower, address).await;
    let log = follower.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("has no id yet, and waits")).collect();
    assert!(told.len() == 1 && told[0].contains(&address.to_string()), "{log}");
    assert!(!log.contains("\"level\":\"WARN\""), "it may come a moment later: {log}");
    let _leader = Setup::with_targets_at(&mock.url())
        .section("cluster", &format!("listen = \"{address}\""))
        .start()
        .await;
    until("it is ready", async || (get(&follower, "/readyz").await.0 == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_knows_no_users_does_not_say_that_a_key_is_wrong() {
    let mock = Mock::start().await;
    let address = free();
    let follower = following(&mock, address).section("node", "id = \"sp-2\"").start().await;
    turns_away(&follower, address).await;
    until("its log names the leader", async || {
        follower
            .log()
            .lines()
            .any(|line| line.contains("cannot push") && line.contains(&address.to_string()))
            .then_some(())
    })
    .await;
}

/// Runs a node that is expected to give up.
async fn fails(directory: &tempfile::TempDir, sections: &str) -> String {
    let path = directory.path().join("sproxy.toml");
    let text = format!("[node]\ndata_dir = \"{}\"\n{sections}", directory.path().join("data").display());
    std::fs::write(&path, text).unwrap();
    let mut serve = Command::new(SPROXY);
    serve.args(["serve", "--config"]).arg(&path).stdin(Stdio::null()).kill_on_drop(true);
    let Output { status, stderr, .. } = serve.output().await.unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_named_by_its_setting_and_a_directory_before_it() {
    let mock = Mock::start().await;
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap();
    let said =
        fails(&directory, &format!("[http]\nlisten = \"127.0.0.1:0\"\n[cluster]\nlisten = \"{taken}\""))
            .await;
    assert!(said.contains("set cluster.listen to another address"), "{said}");
    let said = fails(&directory, &format!("[http]\nlisten = \"{taken}\"")).await;
    assert!(said.contains("set http.listen to another address"), "{said}");
    let running = Setup::with_targets_at(&mock.url()).start().await;
    let sections = format!("[http]\nlisten = \"{}\"", running.address);
    let inside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(running.data_dir(), inside.path().join("data")).unwrap();
    let said = fails(&inside, &sections).await;
    assert!(said.contains("node.data_dir") && !said.contains("http.listen"), "{said}");
}

/// As where both are started at once, and PostgreSQL takes longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_postgresql_is_away_waits_for_it_and_says_so() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let switch = Switch::to(&server.socket()).await;
    switch.turn(None);
    let setup = Setup::with_targets_at(&mock.url()).section("log", "level = \"info\"");
    let leader = setup.section("store", &format!("url = \"{}\"", switch.url_of(&url))).start().await;
    assert_eq!(get(&leader, "/healthz").await.0, 200);
    until("it says what it waits for", async || {
        let (status, readiness) = get(&leader, "/readyz").await;
        assert_eq!(status, 503, "{readiness}");
        let reason = readiness["reasons"][0].as_str().unwrap();
        (reason.starts_with("the database is not available") && reason.ends_with("waiting for it"))
            .then_some(())
    })
    .await;
    let said = leader.log().lines().filter(|line| line.contains("waiting for it")).count();
    assert!(said <= 2, "once, and as the reason of not being ready: {}", leader.log());
    switch.turn(Some(&server.socket()));
    until("it is ready", async || (get(&leader, "/readyz").await.0 == 200).then_some(())).await;
    let key = leader.user_with_key("alice").await;
    let body = json!({ "model": "claude", "max_tokens": 9, "messages": [] });
    assert_eq!(leader.ask(&key, "/v1/messages", &[], &body).await.status, 200);
}

/// Whenever that is: while it waits, takes its lock, reads accounts, registers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_postgresql_goes_away_while_it_starts_starts_again() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let switch = Switch::to(&server.socket()).await;
    let setup = Setup::with_targets_at(&mock.url()).section("log", "level = \"info\"");
    let mut leader = setup.section("store", &format!("url = \"{}\"", switch.url_of(&url))).start().await;
    let key = leader.user_with_key("alice").await;
    // It says so when it opens the database; what it does then takes a moment.
    let opened = |node: &Node| node.log().matches("seaql_migrations").count();
    for life in 0..20 {
        leader.kill().await;
        switch.turn(None);
        leader.restart().await;
        let before = opened(&leader);
        switch.turn(Some(&server.socket()));
        until("it opens the database", async || (opened(&leader) > before).then_some(())).await;
        // While it starts again it may not listen for a moment.
        let ask = async || leader.http.get(leader.url("/healthz")).send().await.ok();
        for _ in 0..life % 4 {
            ask().await;
        }
        switch.turn(None);
        ask().await;
        switch.turn(Some(&server.socket()));
        until("it is ready", async || {
            let answer = leader.http.get(leader.url("/readyz")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        assert!(!leader.log().contains("could not go on"), "life {life}: {}", leader.log());
        if leader.log().contains("it starts again") {
            break;
        }
    }
    let body = json!({ "model": "claude", "max_tokens": 9, "messages": [] });
    assert_eq!(leader.ask(&key, "/v1/messages", &[], &body).await.status, 200);
    assert!(leader.log().contains("it starts again"), "{}", leader.log());
}

/// Waiting would not help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_exist_is_not_waited_for() {
    let Some(server) = Postgres::shared() else { return };
    let (directory, url) = (tempfile::tempdir().unwrap(), server.new_database());
    let (server_url, _) = url.rsplit_once('/').unwrap();
    let sections = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[cluster]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"{server_url}/typo\""
    );
    let said = fails(&directory, &sections).await;
    assert!(said.contains("the database refuses this node") && said.contains("typo"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_called_that() {
    let mock = Mock::start().await;
    let secret = format!("secret = \"{SECRET}\"");
    let leader = Setup::with_targets_at(&mock.url()).section("cluster", &secret).start().await;
    let directory = tempfile::tempdir().unwrap();
    let wrong = SECRET.replace('0', "9");
    let sections = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[cluster]\nleader = \"http://{}\"\nsecret = \"{wrong}\"",
        leader.grpc.unwrap()
    );
    let said = fails(&directory, &sections).await;
    assert!(said.contains("the secret is not the leader's (cluster.secret)"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_with_20000_descriptors_shouts_only_what_is_to_be_done() {
    let directory = tempfile::tempdir().unwrap();
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let address = free();
    let mut node = Command::new("sh")
        .args(["-c", "ulimit -n 20000; exec \"$@\"", "sh", SPROXY, "serve", "--listen", &address.to_string()])
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .env("SPROXY_CLUSTER__LISTEN", "127.0.0.1:0")
        .current_dir(directory.path())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("it serves", async || Client::new().get(format!("http://{address}/healthz")).send().await.ok())
        .await;
    node.kill().await.unwrap();
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(log.contains("connections=9250"), "{log}");
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("ANTHROPIC_API_KEY"), "{warnings:?}");
}
