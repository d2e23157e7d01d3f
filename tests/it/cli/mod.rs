//! The command line as people and scripts meet it: what it prints, where, and with which exit code.

mod agent;
mod connect;
mod demo;
mod desktop;
mod doctor;
mod keychain;
mod login;
mod people;
pub mod person;
mod prices;
mod torture;

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::harness::{Mock, Node, Setup};

const SPROXY: &str = env!("CARGO_BIN_EXE_sproxy");

/// A command that has ended.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// What it printed, if it did what it was asked to.
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    pub fn json(self) -> Value {
        serde_json::from_str(&self.done()).expect("JSON")
    }

    /// What it complained about, with this exit code.
    pub fn refused(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self.err
    }
}

/// Runs a command in an empty directory, with nothing of sproxy in its environment but what is given.
async fn sproxy(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Ended {
    let directory = tempfile::tempdir().expect("a directory");
    let inherited =
        std::env::vars().filter(|(name, _)| name.starts_with("SPROXY_") || name.ends_with("_API_KEY"));
    let mut command = Command::new(SPROXY);
    for (name, _) in inherited {
        command.env_remove(name);
    }
    command.args(arguments).envs(environment.iter().copied()).current_dir(directory.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut stdin = child.stdin.take().expect("a standard input");
    // Most commands read nothing and may have ended before.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().await.expect("ended");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended { code: status.code(), out: text(stdout), err: text(stderr) }
}

pub async fn plain(arguments: &[&str]) -> Ended {
    sproxy(arguments, &[], "").await
}

/// Runs an admin command against `node`, found through its data directory.
pub async fn on(node: &Node, arguments: &[&str]) -> Ended {
    on_with_input(node, arguments, "").await
}

async fn on_with_input(node: &Node, arguments: &[&str], input: &str) -> Ended {
    let (server, data_dir) = (node.url(""), node.data_dir());
    let address = ["--server", &server, "--data-dir", data_dir.to_str().expect("a path")];
    sproxy(&[arguments, &address].concat(), &[], input).await
}

pub async fn node_and_mock() -> (Node, Mock) {
    let mock = Mock::start().await;
    (Setup::with_targets_at(&mock.url()).start().await, mock)
}

#[tokio::test]
async fn exit_codes_tell_answers_failures_and_wrong_usage_apart() {
    for arguments in [&["--help"][..], &["--version"], &["user", "set", "--help"], &["completions", "bash"]] {
        assert!(!plain(arguments).await.done().is_empty(), "{arguments:?}");
    }
    let version = plain(&["--version"]).await.done();
    let begins = concat!("sproxy ", env!("CARGO_PKG_VERSION"), " (");
    assert!(version.starts_with(begins) && version.trim_end().ends_with(')'), "{version}");
    let wrong = [
        &[][..],
        &["no-such-command"],
        &["user", "add"],
        &["stats", "--from", "someday"],
        &["group", "set", "g", "--monthly-usd", "-5", "--token", "x"],
        &["group", "set", "g", "--rpm", "many", "--token", "x"],
        &["user", "set", "someone", "--token", "x"],
        &["user", "list", "--token", "x", "--server", "nonsense"],
    ];
    for arguments in wrong {
        assert!(!plain(arguments).await.refused(64).is_empty(), "{arguments:?}");
    }
    // Nothing listens on port 1.
    let refused = plain(&["user", "list", "--token", "x", "--server", "http://127.0.0.1:1"]).await.refused(1);
    assert!(
        refused.contains("http://127.0.0.1:1 (Connection refused") && refused.contains("--server"),
        "{refused}"
    );
}

#[tokio::test]
async fn every_problem_of_a_configuration_is_listed_with_key_and_origin() {
    let environment = [("SPROXY_HTTP__LISTEN", "nowhere"), ("SPROXY_USAGE__QUEU", "5")];
    for arguments in [&["config", "check"][..], &["config", "show"], &["serve"]] {
        let listed = sproxy(arguments, &environment, "").await.refused(64);
        for part in ["http.listen (SPROXY_HTTP__LISTEN)", "usage.queu (SPROXY_USAGE__QUEU)", "usage.queue"] {
            assert!(listed.contains(part), "{arguments:?}: {part} is not in {listed}");
        }
    }
    let checked = sproxy(&["config", "check", "--json"], &environment, "").await;
    let answer: Value = serde_json::from_str(&checked.out).expect("JSON");
    assert_eq!((answer["ok"].clone(), answer["problems"].as_array().map(Vec::len)), (json!(false), Some(2)));
    let refused = plain(&["config", "check", "--config", "/no/such/file"]).await.refused(64);
    assert!(refused.contains("/no/such/file"), "{refused}");
    assert!(plain(&["serve", "--listen", "nowhere"]).await.refused(64).contains("--listen"));
}

#[tokio::test]
async fn a_configuration_is_shown_without_its_secrets() {
    let environment = [
        ("OPENAI_API_KEY", "canary-provider-key"),
        ("SPROXY_CLUSTER__SECRET", "canary-cluster-secret-0123456789abcdef"),
        ("SPROXY_STORE__URL", "postgres://sproxy:canary-password@db/sproxy"),
        ("SPROXY_HTTP__MAX_CONNECTIONS", "77"),
    ];
    let text = sproxy(&["config", "show"], &environment, "").await.done();
    assert!(text.contains("max_connections = 77") && text.contains("api_key = \"***\""), "{text}");
    let shown = sproxy(&["config", "show", "--json"], &environment, "").await.json();
    assert_eq!(shown["cluster"]["secret"], "***");
    for text in [text.clone(), shown.to_string()] {
        assert!(!text.contains("canary"), "{text}");
    }
    for written in ["retention = \"90d\"", "refresh_token_ttl = \"7d\"", "heartbeat_interval = \"5s\""] {
        assert!(text.contains(written), "{written}: {text}");
    }
    let mistaken = sproxy(&["config", "check"], &[("SPROXY_HTTP_LISTEN", "127.0.0.1:1")], "").await;
    assert!(mistaken.err.contains("SPROXY_HTTP__LISTEN"), "{}", mistaken.err);
    mistaken.done();
    assert!(plain(&["config", "defaults"]).await.done().contains("# "));
    assert_eq!(plain(&["config", "defaults", "--json"]).await.json()["usage"]["queue"], 10_000);
}

#[tokio::test]
async fn people_groups_and_keys_are_administered_without_a_login() {
    let (node, _mock) = node_and_mock().await;
    on(&node, &["group", "add", "devs", "--daily-tokens", "1_000_000", "--rpm", "60"]).await.done();
    on(&node, &["user", "add", "alice", "--group", "devs"]).await.done();
    on(&node, &["group", "set", "devs", "--rpm", "none", "--monthly-usd", "12.5"]).await.done();
    let group = on(&node, &["group", "show", "devs", "--json"]).await.json();
    let limits = ["daily_tokens", "rpm", "monthly_usd"].map(|field| group[field].clone());
    assert_eq!(limits, [json!(1_000_000), Value::Null, json!(12.5)]);

    let made =
        on(&node, &["key", "create", "--user", "alice", "--name", "laptop", "--expires", "90d"]).await.done();
    let key = made.trim();
    assert!(key.starts_with("sk-sp-") && !key.contains(char::is_whitespace), "{key}");
    let body = json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "hi" }] });
    assert_eq!(node.ask(key, "/v1/chat/completions", &[], &body).await.status, 200);

    on(&node, &["user", "disable", "alice"]).await.done();
    assert_eq!(node.ask(key, "/v1/chat/completions", &[], &body).await.status, 403);
    on(&node, &["user", "enable", "alice"]).await.done();
    let keys = on(&node, &["key", "list", "--user", "alice", "--json"]).await.json();
    assert_eq!((keys[0]["name"].clone(), keys.to_string().contains(key)), (json!("laptop"), false));
    on(&node, &["key", "revoke", keys[0]["id"].as_str().expect("an id")]).await.done();
    assert_eq!(node.ask(key, "/v1/chat/completions", &[], &body).await.status, 401);

    on(&node, &["user", "set", "alice", "--no-group", "--admin", "--daily-tokens", "0"]).await.done();
    let alice = on(&node, &["user", "show", "alice", "--json"]).await.json();
    let changed = ["group", "role", "daily_tokens"].map(|field| alice[field].clone());
    assert_eq!(changed, [Value::Null, json!("admin"), json!(0)]);
    let shown = on(&node, &["user", "list"]).await.done();
    assert!(shown.contains("alice") && shown.contains("admin"), "{shown}");
    on(&node, &["group", "remove", "devs"]).await.done();
    for group in ["old team", "new team"] {
        on(&node, &["group", "add", group, "--daily-tokens", "2M"]).await.done();
    }
    for name in ["b b", "eve"] {
        let hint = on(&node, &["user", "add", name, "--group", "old team"]).await.done();
        assert!(
            hint.trim_end().ends_with(if name == "eve" { "--user eve" } else { "--user 'b b'" }),
            "{hint}"
        );
    }
    let refused = on(&node, &["group", "remove", "old team"]).await.refused(1);
    assert!(refused.contains("sproxy group remove 'old team' --move-to GROUP, or --force"), "{refused}");
    let moved = on(&node, &["group", "remove", "old team", "--move-to", "new team"]).await.done();
    assert!(moved.contains("2 moved to new team"), "{moved}");
    let eve = on(&node, &["user", "show", "eve", "--json"]).await.json();
    assert_eq!(eve["group"], json!("new team"));
    let shown = on(&node, &["group", "show", "new team"]).await.done();
    assert!(shown.contains("2,000,000"), "{shown}");
    on(&node, &["group", "remove", "new team"]).await.refused(1);
    on(&node, &["group", "remove", "new team", "--force"]).await.done();
    assert_eq!(on(&node, &["group", "list", "--json"]).await.json(), json!([]));
}

#[tokio::test]
async fn a_password_comes_from_standard_input_and_lets_its_user_in() {
    let (node, _mock) = node_and_mock().await;
    let add = ["user", "add", "bob", "--admin", "--password-stdin"];
    on_with_input(&node, &add, "first password of bob\n").await.done();
    on_with_input(&node, &["user", "passwd", "bob"], "second password of bob\n").await.done();
    let login = json!({ "username": "bob", "password": "second password of bob" });
    let session = node.post("/auth/login", login).await;
    let (token, server) = (session["access_token"].as_str().expect("a token"), node.url(""));
    let environment = [("SPROXY_TOKEN", token), ("SPROXY_SERVER", server.as_str())];
    let users = sproxy(&["user", "list", "--json"], &environment, "").await.json();
    assert!(users.as_array().expect("a list").iter().any(|user| user["name"] == "bob"));
    on(&node, &["user", "revoke", "bob"]).await.done();
    sproxy(&["user", "list"], &environment, "").await.refused(1);
    assert!(on(&node, &["user", "passwd", "bob"]).await.refused(64).contains("no password"));
}

#[tokio::test]
async fn usage_and_totals_come_in_every_format() {
    let (node, _mock) = node_and_mock().await;
    let key = node.user_with_key("carol").await;
    let body = json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "hi" }] });
    let steering = [("mock-input", "100"), ("mock-output", "20")];
    for _ in 0..3 {
        let answer = node.ask(&key, "/v1/chat/completions", &steering, &body).await;
        node.usage_of(&answer).await;
    }
    let rows = on(&node, &["usage", "--user", "carol", "--json"]).await.json();
    let tokens = |row: &Value| (row["input_tokens"].as_u64(), row["output_tokens"].as_u64());
    assert_eq!(
        rows.as_array().expect("a list").iter().map(tokens).collect::<Vec<_>>(),
        [(Some(100), Some(20)); 3]
    );
    let lines = on(&node, &["usage", "--format", "jsonl", "--limit", "2"]).await.done();
    assert_eq!(
        lines.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(),
        2,
        "{lines}"
    );
    let csv = on(&node, &["usage", "--format", "csv", "--model", "gpt-4o"]).await.done();
    assert_eq!((csv.lines().count(), csv.contains("input_tokens")), (4, true), "{csv}");
    assert!(on(&node, &["usage"]).await.done().contains("carol"));
    assert_eq!(on(&node, &["usage", "--model", "another", "--json"]).await.json(), json!([]));

    for from in ["today", "yesterday", "7d"] {
        assert!(on(&node, &["usage", "--from", from]).await.done().contains("carol"), "{from}");
    }
    let totals = on(&node, &["stats", "--json"]).await.json();
    assert_eq!((totals["total_tokens"].clone(), totals["request_count"].clone()), (json!(360), json!(3)));
    for (by, name) in [("user", "carol"), ("model", "gpt-4o"), ("node", "sp-1")] {
        let rows = on(&node, &["stats", "--by", by, "--json"]).await.json();
        assert_eq!(
            (rows[0][by].clone(), rows[0]["total_tokens"].clone()),
            (json!(name), json!(360)),
            "{rows}"
        );
        assert!(on(&node, &["stats", "--by", by]).await.done().contains(name));
    }
}

#[tokio::test]
async fn no_list_ends_without_saying_that_it_goes_on() {
    let (node, _mock) = node_and_mock().await;
    let key = node.user_with_key("carol").await;
    for n in 0..105 {
        let body =
            json!({ "model": format!("model-{n}"), "messages": [{ "role": "user", "content": "hi" }] });
        assert_eq!(node.ask(&key, "/v1/chat/completions", &[], &body).await.status, 200);
    }
    let by_model = ["stats", "--by", "model"];
    let rows = on(&node, &[&by_model[..], &["--json"]].concat()).await.json();
    assert_eq!(rows.as_array().map(Vec::len), Some(105));
    let lines = |ended: Ended| (ended.out.lines().filter(|line| line.contains("model-")).count(), ended.err);
    assert_eq!(lines(on(&node, &by_model).await), (105, String::new()));
    for (arguments, shown) in [
        (&["stats", "--by", "model", "--limit", "7"][..], 7),
        (&["usage"], 50),
        (&["usage", "--limit", "3"], 3),
        (&["usage", "--limit", "4", "--format", "csv"], 4),
        (&["usage", "--limit", "5", "--format", "jsonl"], 5),
    ] {
        let (rows, said) = lines(on(&node, arguments).await);
        assert_eq!(rows, shown, "{arguments:?}");
        assert!(said.contains(&format!("the first {shown}; there are more")), "{arguments:?}: {said}");
        assert!(said.contains("--limit"), "{said}");
    }
    for arguments in [&["usage", "--limit", "200"][..], &["usage", "--format", "csv", "--limit", "105"]] {
        assert_eq!(lines(on(&node, arguments).await), (105, String::new()), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_leader_signs_with_another_key_on_demand() {
    let (node, _mock) = node_and_mock().await;
    let list = async || {
        on(&node, &["signing-key", "list", "--json"]).await.json().as_array().expect("a list").clone()
    };
    let before = list().await;
    let said = on(&node, &["signing-key", "rotate"]).await.done();
    let after = list().await;
    assert_eq!((before.len(), after.len()), (1, 2), "{after:?}");
    let (new, old) = (after[0]["id"].as_str().expect("an id"), &after[1]);
    assert_eq!(
        said.trim(),
        format!(
            "sp-1 signs with {new} from now on; access tokens of the key before are good until they expire"
        )
    );
    assert_eq!(old["id"], before[0]["id"]);
    assert!(old["retired_at"].is_string(), "{old}");
    assert!(old["fingerprint"].as_str().expect("one").starts_with("SHA256:"), "{old}");
    on(&node, &["signing-key", "rotate", "--at-once"]).await.done();
    let left = list().await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_ne!(left[0]["id"].as_str(), Some(new));
}

#[tokio::test]
async fn nodes_targets_and_backups() {
    let (node, _mock) = node_and_mock().await;
    let peers = on(&node, &["peer", "list", "--json"]).await.json();
    assert!(peers.as_array().is_some(), "{peers}");
    on(&node, &["target", "drain", "openai"]).await.done();
    let targets = on(&node, &["target", "list", "--json"]).await.json();
    let drained = |row: &&Value| row["draining"] == json!(true);
    let drained: Vec<_> = targets.as_array().expect("a list").iter().filter(drained).collect();
    assert_eq!((drained.len(), drained[0]["name"].clone()), (1, json!("openai")));
    assert!(!targets.to_string().contains("upstream-secret"));
    on(&node, &["target", "undrain", "openai"]).await.done();

    let file = node.directory().join("copy.db");
    on(&node, &["backup", file.to_str().expect("a path")]).await.done();
    assert!(std::fs::read(&file).expect("a copy").starts_with(b"SQLite format 3\0"));
    assert!(!file.with_file_name("copy.db.part").exists());
}

#[tokio::test]
async fn a_refusal_is_one_sentence_that_says_what_to_do() {
    let (node, _mock) = node_and_mock().await;
    let refused = on(&node, &["user", "show", "nobody"]).await.refused(1);
    assert!(refused.contains("nobody") && refused.lines().count() == 1, "{refused}");
    let key = node.user_with_key("dave").await;
    let server = node.url("");
    let refused = plain(&["user", "list", "--server", &server, "--token", &key]).await.refused(1);
    assert!(refused.contains("admin") && !refused.contains(&key), "{refused}");
    let refused = plain(&["user", "list", "--server", &server, "--token", "wrong"]).await.refused(1);
    assert!(refused.contains("--token"), "{refused}");
}

#[tokio::test]
async fn the_local_admin_token_is_never_sent_where_nobody_asked_it_to_go() {
    let missing = plain(&["user", "list"]).await.refused(64);
    assert!(missing.contains("admin.token") && missing.contains("--data-dir"), "{missing}");
    let elsewhere = plain(&["user", "list", "--server", "http://sp-1.invalid:9000"]).await.refused(64);
    assert!(elsewhere.contains("SPROXY_TOKEN"), "{elsewhere}");

    let (mut node, _mock) = node_and_mock().await;
    let data_dir = node.data_dir().display().to_string();
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", other.local_addr().expect("an address"));
    for server in [url.as_str(), "http://sp-1.invalid:9000"] {
        let refused = plain(&["user", "list", "--data-dir", &data_dir, "--server", server]).await.refused(64);
        assert!(refused.contains(&data_dir) && refused.contains(&node.url("")), "{refused}");
    }
    // A node that has died leaves its address to whoever comes next.
    node.kill().await;
    let taken_over = tokio::net::TcpListener::bind(node.address).await.expect("its port");
    let refused = plain(&["user", "list", "--data-dir", &data_dir]).await.refused(1);
    assert!(refused.contains("no node runs on"), "{refused}");
    for listener in [other, taken_over] {
        let listener = listener.into_std().expect("a socket");
        listener.set_nonblocking(true).expect("set");
        assert_eq!(listener.accept().expect_err("nobody came").kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[tokio::test]
async fn a_command_finds_the_node_that_the_configuration_here_describes() {
    let mock = Mock::start().await;
    let pki = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");
    let tls = format!("tls_cert = \"{pki}/node.pem\"\ntls_key = \"{pki}/node.key\"");
    for setup in
        [Setup::with_targets_at(&mock.url()), Setup::with_targets_at(&mock.url()).section("http", &tls)]
    {
        // Its configuration says port 0.
        let node = setup.start().await;
        let here = Command::new(SPROXY).args(["user", "list"]).current_dir(node.directory()).output();
        let here = here.await.expect("ended");
        let (out, err) = (String::from_utf8_lossy(&here.stdout), String::from_utf8_lossy(&here.stderr));
        assert!(here.status.success() && out.contains("admin"), "{out}{err}");
    }
}
