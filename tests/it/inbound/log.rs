//! A log that cannot be written harms neither a caller nor the node.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::json;
use tokio::process::{Child, Command};

use crate::harness::{Mock, SPROXY, until};

struct Quiet {
    child: Child,
    directory: tempfile::TempDir,
    address: SocketAddr,
    http: reqwest::Client,
}

impl Quiet {
    /// Starts a node whose log goes to `stderr`, and says nothing of where it listens.
    async fn start(mock: &Mock, stderr: Stdio, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = free();
        let config = format!(
            "[node]\ndata_dir = \"{}\"\n[http]\nlisten = \"{address}\"\n[cluster]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nlevel = \"debug\"\n{more}[[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"{}\"\n\
             api_key = \"secret\"\n",
            directory.path().join("data").display(),
            mock.url(),
        );
        let path = directory.path().join("sproxy.toml");
        std::fs::write(&path, config).unwrap();
        let child = Command::new(SPROXY)
            .args(["serve", "--config"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut quiet = Self { child, directory, address, http: reqwest::Client::new() };
        until("it serves", async || {
            assert_eq!(quiet.child.try_wait().unwrap(), None, "it has ended");
            quiet.http.get(quiet.url("/readyz")).send().await.ok().filter(|ready| ready.status() == 200)
        })
        .await;
        quiet
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn key(&self) -> String {
        let token = std::fs::read_to_string(self.directory.path().join("data/admin.token")).unwrap();
        let post =
            |path: &str, body| self.http.post(self.url(path)).bearer_auth(token.trim()).json(&body).send();
        assert_eq!(post("/admin/v1/users", json!({ "name": "alice" })).await.unwrap().status(), 201);
        let made = post("/admin/v1/keys", json!({ "user": "alice", "name": "test" })).await.unwrap();
        made.json::<serde_json::Value>().await.unwrap()["key"].as_str().unwrap().to_owned()
    }

    /// Calls of every kind, of which each logs something.
    async fn works(&mut self) {
        let key = self.key().await;
        let body = json!({ "model": "claude", "max_tokens": 9, "messages": [] });
        for (key, fail, status) in
            [(key.as_str(), "", 200), ("wrong", "", 401), (&key, "before-headers", 502), (&key, "", 200)]
        {
            let call =
                self.http.post(self.url("/v1/messages")).header("x-api-key", key).header("mock-fail", fail);
            let answer = call.json(&body).send().await.expect("an answer");
            assert_eq!(answer.status(), status);
        }
        let metrics = self.http.get(self.url("/metrics")).send().await.unwrap().text().await.unwrap();
        let failures = metrics.lines().find_map(|line| line.strip_prefix("sproxy_log_failures_total "));
        assert!(failures.unwrap().parse::<u64>().unwrap() > 0, "{failures:?}");
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        assert_eq!(self.child.wait().await.unwrap().code(), Some(0));
    }
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_the_node_starts_serves_and_leaves() {
    let mock = Mock::start().await;
    for more in ["format = \"text\"\n", "format = \"json\"\n"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        Quiet::start(&mock, full.into(), more).await.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_takes_nothing_with_it() {
    let mock = Mock::start().await;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut node = Quiet::start(&mock, writer.into(), "").await;
    let mut byte = [0];
    reader.read_exact(&mut byte).unwrap();
    drop(reader);
    node.works().await;
}
