//! A leader's data moves from SQLite to PostgreSQL and back, by `sproxy migrate`: keys, sessions and totals stay, followers
//! go on, and nothing is counted twice, whenever the move is broken off.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use reqwest::Method;
use rusqlite::Connection;
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection};
use serde_json::{Value, json};
use sproxy::store::{Location, Store};
use tokio::process::{Child, Command};

use super::{ask, booked, follower, leader, metric, peer, ready, settled};
use crate::harness::postgres::Postgres;
use crate::harness::{DEADLINE, Mock, Node, SPROXY, until};

/// What a command said, and with which exit code.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn moved(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        serde_json::from_str(&self.out).unwrap()
    }

    /// It did nothing, and says this.
    fn refused(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part} is not in: {}", self.err);
        }
    }
}

fn command(node: &Node, arguments: &[&str]) -> Command {
    let mut command = Command::new(SPROXY);
    command.args(["migrate", "--json", "--config"]).arg(node.directory().join("sproxy.toml")).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn ended(command: &mut Command) -> Ended {
    let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

async fn migrate(node: &Node, arguments: &[&str]) -> Ended {
    ended(&mut command(node, arguments)).await
}

async fn serve(data_dir: &Path, url: Option<&str>) -> Ended {
    let mut command = Command::new(SPROXY);
    command.args(["serve", "--data-dir", &data_dir.display().to_string()]);
    command.env("SPROXY_HTTP__LISTEN", "127.0.0.1:0").env("SPROXY_CLUSTER__LISTEN", "127.0.0.1:0");
    if let Some(url) = url {
        command.env("SPROXY_STORE__URL", url);
    }
    ended(command.kill_on_drop(true)).await
}

async fn stop(node: &mut Node) {
    node.process.ask_to_leave().await;
    assert_eq!(node.process.ended().await, Some(0));
}

fn files(directory: &Path, beginning: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with(beginning))
        .map(|entry| entry.path())
        .collect()
}

/// What has to be the same on whatever database.
async fn accounts(node: &Node) -> [Value; 4] {
    let [users, keys] = [node.get("/admin/v1/users").await, node.get("/admin/v1/keys").await];
    let [groups, signing] = [node.get("/admin/v1/groups").await, node.get("/admin/v1/signing-keys").await];
    [users, keys, groups, signing]
}

async fn ids(node: &Node) -> BTreeSet<String> {
    let rows = node.usage().await;
    let ids: BTreeSet<_> = rows.iter().map(|row| row["request_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), rows.len(), "each once");
    ids
}

async fn me(node: &Node, token: &str) -> u16 {
    node.http.get(node.url("/me")).bearer_auth(token).send().await.unwrap().status().as_u16()
}

/// Calls at both nodes are answered by the same key, and are counted once, beside `before`.
async fn go_on(one: &Node, two: &Node, key: &str, before: usize) -> usize {
    assert_eq!((ask(one, key).await.status, ask(two, key).await.status), (200, 200));
    booked(one, before + 2).await;
    settled(one, &[one, two]).await;
    assert_eq!(metric(one, "sproxy_cluster_usage_duplicates_total").await, 0, "nothing is pushed again");
    let names: Vec<_> = one.get("/admin/v1/peers").await["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| peer["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["sp-1", "sp-2"]);
    before + 2
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_moves_to_postgresql_and_back_and_its_cluster_goes_on() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let mut one = leader(&mock).await;
    let two = follower(&mock, &one, "sp-2").await;
    one.post("/admin/v1/groups", json!({ "name": "team", "monthly_tokens": 1_000_000 })).await;
    one.post("/admin/v1/users", json!({ "name": "alice", "group": "team" })).await;
    let key = one.key_of("alice").await;
    until("the key holds", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    let mut requests = go_on(&one, &two, &key, 1).await;
    let body = json!({ "username": "admin", "password": "correct horse battery" });
    let session = one.http.post(one.url("/auth/login")).json(&body).send().await.unwrap();
    let session: Value = session.json().await.unwrap();
    let token = session["access_token"].as_str().unwrap();

    stop(&mut one).await;
    one.restart().await;
    ready(&one).await;
    let (before, booked_before, stats) =
        (accounts(&one).await, ids(&one).await, one.get("/admin/v1/stats").await);
    stop(&mut one).await;
    // Owed to whichever database comes next.
    assert_eq!(ask(&two, &key).await.status, 200);
    requests += 1;

    let moved = migrate(&one, &["--to", &url]).await.moved();
    assert_eq!(moved["sums"]["requests"], stats["request_count"], "{moved}");
    assert_eq!(moved["sums"]["tokens"], stats["total_tokens"], "{moved}");
    assert_eq!(moved["sums"]["cost_nanousd"], stats["cost_nanousd"], "{moved}");
    assert_eq!((&moved["sums"]["users"], &moved["sums"]["keys"]), (&json!(2), &json!(1)), "{moved}");
    let data = one.data_dir();
    assert!(!data.join("sproxy.db").exists());
    let kept = files(&data, "sproxy.db.moved-");
    assert_eq!(moved["kept"], json!(kept), "the old one is kept");
    // Also under its old name nobody serves it any more.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::copy(&kept[0], elsewhere.path().join("sproxy.db")).unwrap();
    serve(elsewhere.path(), None)
        .await
        .refused(&["was moved to the PostgreSQL database test_", "set store.url"]);

    one.set("store", &format!("url = \"{url}\""));
    one.restart().await;
    ready(&one).await;
    booked(&one, requests).await;
    assert!(ids(&one).await.is_superset(&booked_before));
    assert_eq!(accounts(&one).await, before);
    assert_eq!(me(&one, token).await, 200, "sessions stay good");
    requests = go_on(&one, &two, &key, requests).await;

    let (before, booked_before) = (accounts(&one).await, ids(&one).await);
    let target = format!("sqlite:{}", data.join("sproxy.db").display());
    migrate(&one, &["--to", &target]).await.refused(&["in use by process"]);
    stop(&mut one).await;
    assert_eq!(ask(&two, &key).await.status, 200);
    requests += 1;
    let moved = migrate(&one, &["--to", &target]).await.moved();
    assert_eq!(moved["kept"], json!(files(&data, "spool.db.moved-")), "{moved}");
    serve(tempfile::tempdir().unwrap().path(), Some(&url))
        .await
        .refused(&["was moved to the SQLite database"]);
    one.set("store", "");
    one.restart().await;
    ready(&one).await;
    booked(&one, requests).await;
    assert!(ids(&one).await.is_superset(&booked_before));
    assert_eq!(accounts(&one).await, before);
    assert_eq!(me(&one, token).await, 200);
    go_on(&one, &two, &key, requests).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_moved_is_refused_with_what_to_do() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let mut one = leader(&mock).await;
    let mut two = follower(&mock, &one, "sp-2").await;
    migrate(&one, &["--to", &url]).await.refused(&["in use by process", "stop that"]);
    stop(&mut two).await;
    migrate(&two, &["--to", &url]).await.refused(&["cluster.leader", "move the leader's"]);
    stop(&mut one).await;
    migrate(&one, &["--from", "sqlite:/nowhere/x.db", "--to", &url])
        .await
        .refused(&["/nowhere/x.db", "--from"]);
    migrate(&one, &["--to", "sqlite:other.db"]).await.refused(&["both are SQLite", "--from"]);
    assert!(one.data_dir().join("sproxy.db").exists());

    // Another cluster's database: first while it lives, then for what is in it.
    let theirs = server.new_database();
    let mut other = super::leader_setup(&mock).section("store", &format!("url = \"{theirs}\"")).start().await;
    ready(&other).await;
    migrate(&one, &["--to", &theirs]).await.refused(&["in use by process"]);
    stop(&mut other).await;
    migrate(&one, &["--to", &theirs]).await.refused(&["the ledger", "an empty database"]);
    other.restart().await;
    ready(&other).await;
    one.restart().await;
    ready(&one).await;
}

/// Leaders that share its ledger know nothing of terms; they are followed all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_promoted_moves_too_and_more_may_lead_beside_it() {
    let Some(server) = Postgres::shared() else { return };
    let (mock, url) = (Mock::start().await, server.new_database());
    let mut one = leader(&mock).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = format!("listen = \"{free}\"");
    let two = super::follower_setup(&mock, &one).section("node", "id = \"sp-2\"").section("cluster", &listen);
    let mut two = two.start().await;
    let three = follower(&mock, &one, "sp-3").await;
    let key = one.user_with_key("alice").await;
    for node in [&two, &three] {
        until("the key holds", async || (ask(node, &key).await.status == 200).then_some(())).await;
    }
    booked(&one, 2).await;
    one.kill().await;
    two.post("/admin/v1/promote?force=true", Value::Null).await;
    until("it leads", async || {
        let asked = two.http.get(two.url("/admin/v1/leadership")).bearer_auth(two.admin_token());
        let said: Value = asked.send().await.ok()?.json().await.ok()?;
        (said["leads"] == json!(true)).then_some(())
    })
    .await;
    booked(&two, 2).await;
    stop(&mut two).await;
    migrate(&two, &["--to", &url]).await.refused(&["promoted", "no cluster.leader"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = Command::new(SPROXY);
    command.args(["migrate", "--json", "--to", &url, "--data-dir"]).arg(two.data_dir());
    ended(command.current_dir(elsewhere.path()).kill_on_drop(true)).await.moved();
    two.set("cluster", &format!("{}\n{listen}", super::PACE));
    two.set("store", &format!("url = \"{url}\""));
    two.restart().await;
    ready(&two).await;
    assert_eq!(ask(&three, &key).await.status, 200);
    booked(&two, 3).await;
    let four = super::leader_setup(&mock).section("store", &format!("url = \"{url}\"")).start().await;
    ready(&four).await;
    let at = format!("http://{}", four.grpc.unwrap());
    until("the follower knows the other", async || three.log().contains(&at).then_some(())).await;
    two.kill().await;
    assert_eq!(ask(&three, &key).await.status, 200);
    booked(&four, 4).await;
    assert_eq!(ids(&four).await.len(), 4);
}

/// Logs of the leader in the middle of which the copy is held.
const LOGS: usize = 5_000;

/// A leader that is stopped, with many logs, and a copy of it that was killed on the way.
struct Broken {
    one: Node,
    two: Node,
    key: String,
    url: String,
    before: Value,
    _server: Arc<Postgres>,
    _mock: Mock,
}

impl Broken {
    async fn make() -> Option<Self> {
        let server = tokio::task::spawn_blocking(Postgres::shared).await.unwrap()?;
        let (mock, url) = (Mock::start().await, server.new_database());
        let mut one = leader(&mock).await;
        let two = follower(&mock, &one, "sp-2").await;
        let key = one.user_with_key("alice").await;
        until("the key holds", async || (ask(&two, &key).await.status == 200).then_some(())).await;
        assert_eq!(ask(&one, &key).await.status, 200);
        booked(&one, 2).await;
        let before = one.get("/admin/v1/stats").await;
        stop(&mut one).await;
        multiply(&one.data_dir().join("sproxy.db"));
        Store::open(&Location::Postgres { url: url.clone() }).await.unwrap().close().await;
        let gate = gate(&url).await;
        let mut copying: Child = command(&one, &["--to", &url]).spawn().unwrap();
        until("it is in the middle of the logs", async || {
            let row = gate.query_one_raw(sea_orm::Statement::from_string(
                sea_orm::DbBackend::Postgres,
                "SELECT count(*) FROM usage_logs",
            ));
            let held: i64 = row.await.unwrap().unwrap().try_get_by_index(0).unwrap();
            (held > 0).then_some(())
        })
        .await;
        copying.kill().await.unwrap();
        gate.close().await.unwrap();
        Some(Self { one, two, key, url, before, _server: server, _mock: mock })
    }

    /// The copy is served, and has everything once.
    async fn serve_copy(mut self, requests: usize) {
        self.one.set("store", &format!("url = \"{}\"", self.url));
        self.one.restart().await;
        ready(&self.one).await;
        booked(&self.one, requests).await;
        assert_eq!(ids(&self.one).await.len(), LOGS + requests);
        assert_eq!(ask(&self.two, &self.key).await.status, 200);
        booked(&self.one, requests + 1).await;
        assert_eq!(ids(&self.one).await.len(), LOGS + requests + 1);
        assert!(peer(&self.one, "sp-2").await.is_some());
    }
}

/// Copies of a usage log, without their sums: only the rows count here.
fn multiply(file: &Path) {
    let database = Connection::open(file).unwrap();
    let columns: Vec<String> = database
        .prepare("SELECT name FROM pragma_table_info('usage_logs') WHERE name <> 'request_id'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let columns = columns.join(", ");
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {LOGS}) \
         INSERT INTO usage_logs (request_id, {columns}) SELECT randomblob(16), {columns} \
         FROM n, (SELECT * FROM usage_logs LIMIT 1)"
    );
    assert_eq!(database.execute(&sql, []).unwrap(), LOGS);
    let stop = format!(
        "UPDATE usage_logs SET client_request_id = 'stop' WHERE request_id = \
                (SELECT request_id FROM usage_logs ORDER BY request_id LIMIT 1 OFFSET {})",
        LOGS * 3 / 5
    );
    assert_eq!(database.execute(&stop, []).unwrap(), 1);
}

/// Whoever writes the log that is marked waits until the connection is closed that comes back.
async fn gate(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1);
    let gate = Database::connect(options).await.unwrap();
    for sql in [
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.client_request_id = 'stop' THEN PERFORM pg_advisory_xact_lock(42); END IF; RETURN NEW; END $$",
        "CREATE TRIGGER wait BEFORE INSERT ON usage_logs FOR EACH ROW EXECUTE FUNCTION wait()",
        "SELECT pg_advisory_lock(42)",
    ] {
        gate.execute_unprepared(sql).await.unwrap();
    }
    gate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_was_killed_goes_on_where_it_was_and_doubles_nothing() {
    let Some(broken) = Broken::make().await else { return };
    // What is half copied is not served.
    let fresh = tempfile::tempdir().unwrap();
    serve(fresh.path(), Some(&broken.url)).await.refused(&["not complete", "run `sproxy migrate` again"]);
    let moved = migrate(&broken.one, &["--to", &broken.url]).await.moved();
    assert_eq!(moved["resumed"], json!(true), "{moved}");
    assert_eq!(moved["sums"]["tokens"], broken.before["total_tokens"], "{moved}");
    // Nothing is left to do, and it says so.
    broken.serve_copy(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_given_up_and_is_begun_again_has_what_came_in_between() {
    let Some(mut broken) = Broken::make().await else { return };
    broken.one.restart().await;
    ready(&broken.one).await;
    let disabled = broken.one.call(Method::PATCH, "/admin/v1/users/alice", Some(json!({ "rpm": 600 }))).await;
    assert_eq!(disabled.status(), 200);
    assert_eq!(ask(&broken.one, &broken.key).await.status, 200);
    booked(&broken.one, 3).await;
    stop(&mut broken.one).await;
    let moved = migrate(&broken.one, &["--to", &broken.url]).await.moved();
    assert_eq!(moved["resumed"], json!(false), "{moved}");
    let again = migrate(&broken.one, &["--to", &broken.url]).await;
    again.refused(&["there is no SQLite database at"]);
    broken.serve_copy(3).await;
}
