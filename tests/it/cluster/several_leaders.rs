//! Several leaders on one PostgreSQL: each takes everything, none is missed.

use std::collections::{BTreeSet, HashMap};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Traffic, ask, booked, compare_books, follower, leader_setup, ready};
use crate::harness::postgres::Postgres;
use crate::harness::switch::Switch;
use crate::harness::{Mock, Node, SPROXY, Setup, until};

fn setup(mock: &Mock, url: &str) -> Setup {
    leader_setup(mock).section("store", &format!("url = \"{url}\""))
}

async fn ids(node: &Node) -> BTreeSet<String> {
    let peers = node.get("/admin/v1/peers").await;
    peers["items"].as_array().unwrap().iter().map(|peer| peer["id"].as_str().unwrap().to_owned()).collect()
}

async fn all_know_each_other(leaders: &[&Node], names: &[&str]) {
    let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    for node in leaders {
        until("the leaders know each other", async || (ids(node).await == names).then_some(())).await;
    }
}

/// Two leaders on one database, sp-1 and sp-2.
async fn two(mock: &Mock, url: &str) -> (Node, Node) {
    let one = setup(mock, url).start().await;
    let two = setup(mock, url).start().await;
    for node in [&one, &two] {
        ready(node).await;
    }
    (one, two)
}

/// A leader owes nothing, has booked every answer once, and its sums are those of its logs.
async fn agree(leader: &Node, received: &HashMap<String, (u64, u64)>) {
    until("no peer owes anything", async || {
        let peers = leader.get("/admin/v1/peers").await;
        let owes = |peer: &Value| peer["is_active"] != json!(true) || peer["unsynced"] != json!(0);
        (!peers["items"].as_array().unwrap().iter().any(owes)).then_some(())
    })
    .await;
    compare_books(leader, received).await;
    let (rows, stats) = (leader.usage().await, leader.get("/admin/v1/stats").await);
    let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(stats["request_count"], json!(rows.len()));
    assert_eq!(stats["total_tokens"], json!(sum("total_tokens")));
    assert_eq!(stats["cost_nanousd"], json!(sum("cost_nanousd")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_that_start_at_once_are_one_cluster_and_each_serves_all_of_it() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let one = setup(&mock, &url).start().await;
    let (two, three) = tokio::join!(setup(&mock, &url).start(), setup(&mock, &url).start());
    let leaders = [&one, &two, &three];
    for node in leaders {
        ready(node).await;
    }
    all_know_each_other(&leaders, &["sp-1", "sp-2", "sp-3"]).await;
    // A key that is made at one holds at all, and so does its end.
    let key = one.user_with_key("alice").await;
    for node in leaders {
        until("the key holds", async || (ask(node, &key).await.status == 200).then_some(())).await;
    }
    for node in leaders {
        booked(node, 3).await;
    }
    let follower = follower(&mock, &two, "sp-9").await;
    assert_eq!(ask(&follower, &key).await.status, 200);
    for node in leaders {
        booked(node, 4).await;
        let by_node = node.get("/admin/v1/stats/nodes").await;
        assert_eq!(by_node["items"].as_array().unwrap().len(), 4, "{by_node}");
    }
    let disable = json!({ "active": false });
    assert_eq!(three.call(Method::PATCH, "/admin/v1/users/alice", Some(disable)).await.status(), 200);
    for node in [&one, &two, &three, &follower] {
        until("the end of the key holds", async || (ask(node, &key).await.status == 403).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_in_at_one_leader_is_known_at_all_nodes_and_who_signs_out_is_gone_from_all() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let (one, two) = two(&mock, &url).await;
    all_know_each_other(&[&one, &two], &["sp-1", "sp-2"]).await;
    let follower = follower(&mock, &two, "sp-9").await;
    let all = [&one, &two, &follower];
    let me = async |node: &Node, token: &str| {
        node.http.get(node.url("/me")).bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    for (begins, ends) in [(&one, &two), (&two, &follower), (&follower, &one)] {
        let body = json!({ "username": "admin", "password": "correct horse battery" });
        let answer = begins.http.post(begins.url("/auth/login")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let session: Value = answer.json().await.unwrap();
        let token = session["access_token"].as_str().unwrap();
        for node in all {
            until("the session holds", async || (me(node, token).await == 200).then_some(())).await;
        }
        let logout = ends.http.post(ends.url("/auth/logout"));
        let logout = logout.json(&json!({ "refresh_token": session["refresh_token"] })).send().await.unwrap();
        assert_eq!(logout.status(), 204);
        for node in all {
            until("its end holds", async || (me(node, token).await == 401).then_some(())).await;
        }
    }
    let keys = one.get("/admin/v1/signing-keys").await;
    let mut signing: Vec<_> =
        keys["items"].as_array().unwrap().iter().map(|key| key["node"].clone()).collect();
    signing.sort_by_key(Value::to_string);
    assert_eq!(signing, [json!("sp-1"), json!("sp-2")]);
}

/// What one leader takes is known to the limits of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_is_spent_at_one_leader_is_spent_at_all() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let (one, two) = two(&mock, &url).await;
    all_know_each_other(&[&one, &two], &["sp-1", "sp-2"]).await;
    let follower = follower(&mock, &one, "sp-9").await;
    let key = one.user_with_key("alice").await;
    let limits = json!({ "daily_tokens": 250 });
    assert_eq!(one.call(Method::PATCH, "/admin/v1/users/alice", Some(limits)).await.status(), 200);
    until("the quota is spent", async || (ask(&one, &key).await.status == 429).then_some(())).await;
    for node in [&two, &follower] {
        until("it is known to be spent", async || (used_of(node, &key, 250).await? >= 250).then_some(()))
            .await;
        assert_eq!(ask(node, &key).await.status, 429);
    }
    // And what is taken by another leader counts at the first.
    let more = json!({ "daily_tokens": 1_000 });
    assert_eq!(two.call(Method::PATCH, "/admin/v1/users/alice", Some(more)).await.status(), 200);
    until("the quota is spent", async || (ask(&two, &key).await.status == 429).then_some(())).await;
    until("it is known to be spent", async || (used_of(&one, &key, 1_000).await? >= 1_000).then_some(()))
        .await;
    assert_eq!(ask(&one, &key).await.status, 429);
}

/// What a node counts against a user's limit of the day, once it knows that limit.
async fn used_of(node: &Node, key: &str, limit: u64) -> Option<u64> {
    let quota = node.http.get(node.url("/me/quota")).bearer_auth(key).send().await.ok()?;
    let user = &quota.json::<Value>().await.ok()?["user"];
    user["used"]["daily_tokens"].as_u64().filter(|_| user["limits"]["daily_tokens"] == json!(limit))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_that_are_killed_in_turn_under_load_lose_nothing_and_book_nothing_twice() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let (mut one, mut two) = two(&mock, &url).await;
    let key = one.user_with_key("alice").await;
    let follower = follower(&mock, &two, "sp-9").await;
    until("the key holds", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    let mut traffic = Traffic::on(&[&one, &two, &follower], &key, 8);
    for _ in 0..2 {
        for node in [&mut one, &mut two] {
            traffic.more(60).await;
            node.kill().await;
            traffic.more(60).await;
            node.restart().await;
            ready(node).await;
        }
    }
    traffic.more(60).await;
    let received = traffic.end().await;
    for node in [&one, &two] {
        agree(node, &received).await;
    }
    all_know_each_other(&[&one, &two], &["sp-1", "sp-2", "sp-9"]).await;
}

/// Also what leaders answered themselves is on their own disks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_falls_back_to_an_older_copy_loses_nothing_that_leaders_answered() {
    let Some(server) = Postgres::start() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let switch = Switch::to(&server.socket()).await;
    let line = switch.url_of(&url);
    let (one, two) = two(&mock, &line).await;
    let key = one.user_with_key("alice").await;
    until("the key holds", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    let mut traffic = Traffic::on(&[&one, &two], &key, 8);
    traffic.more(60).await;
    let copy = tokio::task::block_in_place(|| server.copy());
    traffic.more(200).await;
    switch.turn(None);
    traffic.more(60).await;
    tokio::task::block_in_place(|| {
        server.crash();
        copy.resume();
    });
    switch.turn(Some(&copy.socket()));
    traffic.more(60).await;
    let received = traffic.end().await;
    for node in [&one, &two] {
        agree(node, &received).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_on_one_database_are_told_apart_by_their_secrets() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let secret = |letter: &str| format!("secret = \"{}\"", letter.repeat(32));
    let one = setup(&mock, &url).section("cluster", &secret("a")).start().await;
    ready(&one).await;
    until("it is a peer", async || (!ids(&one).await.is_empty()).then_some(())).await;
    let written = one.get("/admin/v1/peers").await;
    assert!(written["items"][0]["is_active"] == json!(true), "{written}");
    let directory = tempfile::tempdir().unwrap();
    let start = Command::new(SPROXY)
        .args(["serve", "--data-dir", &directory.path().display().to_string()])
        .env("SPROXY_HTTP__LISTEN", "127.0.0.1:0")
        .env("SPROXY_CLUSTER__LISTEN", "127.0.0.1:0")
        .env("SPROXY_STORE__URL", &url)
        .env("SPROXY_CLUSTER__SECRET", "b".repeat(32))
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(crate::harness::DEADLINE, start).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("another cluster.secret") && said.contains("sp-1"), "{said}");
    assert!(!said.contains(&"b".repeat(32)) && !said.contains(&"a".repeat(32)), "{said}");
}

/// A node that followed owes its leader what it has not pushed: that must not be forgotten beside a spool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_owes_something_does_not_become_a_leader_elsewhere() {
    let Some(server) = Postgres::shared() else { return };
    let mock = Mock::start().await;
    let mut one = super::leader(&mock).await;
    let mut two = follower(&mock, &one, "sp-2").await;
    let key = one.user_with_key("alice").await;
    until("the key holds", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    one.kill().await;
    assert_eq!(ask(&two, &key).await.status, 200);
    two.kill().await;
    let answer = Command::new(SPROXY)
        .args(["serve", "--data-dir", &two.data_dir().display().to_string()])
        .env("SPROXY_HTTP__LISTEN", "127.0.0.1:0")
        .env("SPROXY_CLUSTER__LISTEN", "127.0.0.1:0")
        .env("SPROXY_STORE__URL", server.new_database())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(crate::harness::DEADLINE, answer).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("its leader has not taken") && said.contains("cluster.leader"), "{said}");
}

/// A drained leader says so to the balancer; another leader may be asked for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_drained_by_way_of_another_and_stays_so_over_a_restart() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let (one, mut two) = two(&mock, &url).await;
    all_know_each_other(&[&one, &two], &["sp-1", "sp-2"]).await;
    let readiness = async |node: &Node| node.http.get(node.url("/readyz")).send().await.unwrap().status();
    let drained = one.call(Method::POST, "/admin/v1/peers/sp-2/drain", None).await;
    assert_eq!(drained.status(), 200);
    until("sp-2 is not ready", async || (readiness(&two).await == 503).then_some(())).await;
    assert_eq!(readiness(&one).await, 200);
    two.kill().await;
    two.restart().await;
    until("it knows after a restart", async || (readiness(&two).await == 503).then_some(())).await;
    let back: Value =
        two.call(Method::POST, "/admin/v1/peers/sp-2/undrain", None).await.json().await.unwrap();
    assert_eq!(back["draining"], json!(false), "{back}");
    ready(&two).await;
}

/// Cut off from the database it serves by what it knows, for as long as that may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_has_not_heard_of_its_database_for_too_long_is_not_ready_and_refuses() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let switch = Switch::to(&server.socket()).await;
    let line = format!("url = \"{}\"", switch.url_of(&url));
    let stale = "max_staleness = \"1s\"\nrefuse_when_stale = true";
    let one = leader_setup(&mock).section("store", &line).section("cluster", stale).start().await;
    ready(&one).await;
    let key = one.user_with_key("alice").await;
    assert_eq!(ask(&one, &key).await.status, 200);
    switch.turn(None);
    assert_eq!(ask(&one, &key).await.status, 200, "it knows who that is");
    until("it says that it is stale", async || {
        let answer = one.http.get(one.url("/readyz")).send().await.unwrap();
        (answer.status() == 503 && answer.text().await.unwrap().contains("the database has been silent"))
            .then_some(())
    })
    .await;
    until("it refuses", async || (ask(&one, &key).await.status == 503).then_some(())).await;
    switch.turn(Some(&server.socket()));
    ready(&one).await;
    until("it serves", async || (ask(&one, &key).await.status == 200).then_some(())).await;
    until("what it answered meanwhile is in the books", async || {
        let rows = one.usage().await;
        (rows.iter().filter(|row| row["status_code"] == json!(200)).count() >= 3).then_some(())
    })
    .await;
}

/// As `CockroachDB` is, as far as PostgreSQL can be made so: no advisory locks, and transactions that meet are rolled back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_need_no_advisory_locks_and_bear_that_transactions_are_rolled_back() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_serializable_database());
    let name = url.rsplit('/').next().unwrap();
    // What is found first is what is called.
    server.execute("postgres", &format!("ALTER DATABASE {name} SET search_path = public, pg_catalog"));
    for (function, arguments) in [
        ("pg_advisory_lock", "bigint"),
        ("pg_advisory_xact_lock", "bigint"),
        ("pg_try_advisory_lock", "int, int"),
        ("pg_try_advisory_lock_shared", "int, int"),
        ("pg_try_advisory_xact_lock", "bigint"),
    ] {
        let body = "BEGIN RAISE EXCEPTION 'advisory locks are not supported' USING ERRCODE = '0A000'; END";
        let head = format!("CREATE FUNCTION public.{function}({arguments}) RETURNS boolean LANGUAGE plpgsql");
        server.execute(name, &format!("{head} AS $$ {body} $$"));
    }
    let (mut one, two) = two(&mock, &url).await;
    assert!(one.log().contains("no locks that a session holds"), "{}", one.log());
    let key = one.user_with_key("alice").await;
    let follower = follower(&mock, &two, "sp-9").await;
    until("the key holds", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    let mut traffic = Traffic::on(&[&one, &two, &follower], &key, 8);
    traffic.more(60).await;
    // Both change accounts at once, and nobody is told to try again.
    for round in 0..10 {
        let user = |node: &str| json!({ "name": format!("{node}-{round}") });
        tokio::join!(one.post("/admin/v1/users", user("a")), two.post("/admin/v1/users", user("b")));
    }
    one.kill().await;
    traffic.more(60).await;
    one.restart().await;
    ready(&one).await;
    traffic.more(60).await;
    let received = traffic.end().await;
    for node in [&one, &two] {
        agree(node, &received).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_confirms_what_it_may_lose_is_warned_of() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let one = setup(&mock, &url).start().await;
    assert!(!one.log().contains("synchronous_commit"), "{}", one.log());
    let name = url.rsplit('/').next().unwrap();
    server.query("postgres", &format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    let two = setup(&mock, &url).start().await;
    assert!(two.log().contains("synchronous_commit is off"), "{}", two.log());
}
