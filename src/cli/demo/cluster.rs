//! The processes of the demo: the mock provider, sp-1 and its followers, in a directory that is removed with them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::error::Error;
use super::relay::Relay;

const START_MAX: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(20);
/// At most what a cluster of loopback nodes needs; the secret is needed only beyond loopback, but shows how it is set.
const SECRET: &str = "a-secret-of-the-demo-that-nobody-needs";

/// The running processes of a demo.
pub(super) struct DemoCluster {
    directory: Directory,
    mock: Process,
    nodes: Vec<Node>,
    relay: Option<Relay>,
    http: reqwest::Client,
}

struct Node {
    name: String,
    config: PathBuf,
    process: Process,
}

/// A child process and where it listens.
struct Process {
    child: Child,
    http: SocketAddr,
    grpc: Option<SocketAddr>,
}

/// A directory that is removed with this value.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, directory = %self.0.display(), "the demo's directory is left behind");
        }
    }
}

impl DemoCluster {
    pub(super) async fn start(nodes: u8) -> Result<Self, Error> {
        let directory = std::env::temp_dir().join(format!("sproxy-demo-{}", std::process::id()));
        fs::create_dir_all(&directory).map_err(|source| Error::Io { what: "making a directory", source })?;
        let directory = Directory(directory);
        let mock =
            start_process(&["mock-provider", "--listen", "127.0.0.1:0"], &directory.0.join("mock.log"))
                .await?;
        let mut cluster =
            Self { directory, mock, nodes: Vec::new(), relay: None, http: reqwest::Client::new() };
        for at in 1..=nodes {
            cluster.add_node(at).await?;
        }
        Ok(cluster)
    }

    async fn add_node(&mut self, at: u8) -> Result<(), Error> {
        let name = format!("sp-{at}");
        let config = self.directory.0.join(format!("{name}.toml"));
        let leader = self.relay.as_ref().map(|relay| format!("http://{}", relay.address));
        self.write_config(&config, &name, leader.as_deref(), ("127.0.0.1:0", "127.0.0.1:0"))?;
        let process = self.start_node(&config, &name).await?;
        if at == 1 {
            let grpc = process.grpc.ok_or_else(|| Error::Node("sp-1 has no gRPC address".to_owned()))?;
            // Followers and clients must find sp-1 again after its death, so it gets the ports it has for good.
            let (http, own) = (process.http.to_string(), grpc.to_string());
            self.write_config(&config, &name, None, (&http, &own))?;
            let relay =
                Relay::to(grpc).await.map_err(|source| Error::Io { what: "opening the link", source })?;
            self.relay = Some(relay);
        }
        self.nodes.push(Node { name, config, process });
        Ok(())
    }

    fn write_config(
        &self,
        path: &Path,
        name: &str,
        leader: Option<&str>,
        listen: (&str, &str),
    ) -> Result<(), Error> {
        let target = |provider: &str| json!({ "name": provider, "provider": provider, "url": format!("http://{}", self.mock.http), "api_key": "held-by-the-gateway" });
        let targets = ["anthropic", "openai", "gemini", "ollama"].map(target);
        let config = json!({
            "node": { "id": name, "data_dir": self.directory.0.join(name) },
            "http": { "listen": listen.0 },
            "cluster": {
                "listen": listen.1,
                "leader": leader.unwrap_or_default(),
                "secret": SECRET,
                "heartbeat_interval": "1s",
                "sync_interval": "200ms",
            },
            "log": { "format": "json" },
            "targets": targets,
        });
        let text = toml::to_string(&config)
            .map_err(|e| Error::Node(format!("writing {name}'s configuration: {e}")))?;
        fs::write(path, text).map_err(|source| Error::Io { what: "writing a configuration", source })
    }

    async fn start_node(&self, config: &Path, name: &str) -> Result<Process, Error> {
        let config = config.to_string_lossy();
        start_process(&["serve", "--config", &config], &self.directory.0.join(format!("{name}.log"))).await
    }

    /// Makes two groups with three people, and returns their keys.
    pub(super) async fn create_users(&self) -> Result<Vec<String>, Error> {
        for group in ["research", "support"] {
            self.post("/admin/v1/groups", &json!({ "name": group })).await?;
        }
        let mut keys = Vec::new();
        for (user, group) in [("alice", "research"), ("bob", "research"), ("carol", "support")] {
            self.post("/admin/v1/users", &json!({ "name": user, "group": group })).await?;
            let made = self.post("/admin/v1/keys", &json!({ "user": user, "name": "demo" })).await?;
            let key = made["key"].as_str().ok_or_else(|| Error::Node("sp-1 made no key".to_owned()))?;
            keys.push(key.to_owned());
        }
        self.wait_until_known_everywhere(&keys).await?;
        Ok(keys)
    }

    /// Waits until every node lets everyone in: a change takes a moment to reach the followers.
    async fn wait_until_known_everywhere(&self, keys: &[String]) -> Result<(), Error> {
        let deadline = Instant::now() + START_MAX;
        for (name, url) in self.urls() {
            for key in keys {
                let ask =
                    || self.http.get(format!("{url}/v1/models")).bearer_auth(key).timeout(START_MAX).send();
                while !ask().await.is_ok_and(|answer| answer.status().is_success()) {
                    if Instant::now() > deadline {
                        return Err(Error::Node(format!("{name} did not hear of the users in time")));
                    }
                    sleep(RETRY).await;
                }
            }
        }
        Ok(())
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        let failed = |source| Error::Call { what: "setting up users", source };
        let request = self.http.post(format!("{}{path}", self.leader_url())).bearer_auth(self.admin_token()?);
        let answer = request.json(body).send().await.and_then(reqwest::Response::error_for_status);
        answer.map_err(failed)?.json().await.map_err(failed)
    }

    /// Asks sp-1's control plane.
    pub(super) async fn get(&self, path: &str) -> Result<reqwest::Response, Error> {
        let request = self.http.get(format!("{}{path}", self.leader_url())).bearer_auth(self.admin_token()?);
        let answer = request.timeout(START_MAX).send().await.and_then(reqwest::Response::error_for_status);
        answer.map_err(|source| Error::Call { what: "asking sp-1", source })
    }

    fn admin_token(&self) -> Result<String, Error> {
        let path = self.directory.0.join("sp-1").join("admin.token");
        let token =
            fs::read_to_string(path).map_err(|source| Error::Io { what: "reading admin.token", source })?;
        Ok(token.trim().to_owned())
    }

    pub(super) fn leader_url(&self) -> String {
        self.nodes.first().map(|node| format!("http://{}", node.process.http)).unwrap_or_default()
    }

    /// Every node's name and address.
    pub(super) fn urls(&self) -> Vec<(String, String)> {
        self.nodes.iter().map(|node| (node.name.clone(), format!("http://{}", node.process.http))).collect()
    }

    pub(super) fn last(&self) -> usize {
        self.nodes.len().saturating_sub(1)
    }

    /// Kills a node with SIGKILL and starts it again on its own data; its name.
    pub(super) async fn kill_and_restart(&mut self, at: usize) -> Result<String, Error> {
        let missing = || Error::Node(format!("there is no node {at}"));
        let node = self.nodes.get_mut(at).ok_or_else(missing)?;
        node.process.child.kill().await.map_err(|source| Error::Io { what: "killing a node", source })?;
        let (name, config) = (node.name.clone(), node.config.clone());
        let process = self.start_node(&config, &name).await?;
        self.nodes.get_mut(at).ok_or_else(missing)?.process = process;
        Ok(name)
    }

    pub(super) fn cut_leader_off(&self, cut: bool) {
        if let Some(relay) = &self.relay {
            relay.cut(cut);
        }
    }

    /// Ends every process.
    pub(super) async fn shut_down(mut self) {
        for node in &mut self.nodes {
            let _ = node.process.child.kill().await;
        }
        let _ = self.mock.child.kill().await;
    }
}

/// Starts this program with `arguments` and waits until it says where it listens. Its log goes to a file.
async fn start_process(arguments: &[&str], log: &Path) -> Result<Process, Error> {
    let program =
        std::env::current_exe().map_err(|source| Error::Io { what: "finding this program", source })?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("SPROXY_ADMIN_PASSWORD", "only-for-this-demo")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Io { what: "starting a process", source })?;
    let stderr = child.stderr.take().ok_or_else(|| Error::Node("a process without a log".to_owned()))?;
    let mut lines = BufReader::new(stderr).lines();
    let mut said = String::new();
    let listening = timeout(START_MAX, async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(found) = listening(&line) {
                return Some(found);
            }
            said.push_str(&line);
            said.push('\n');
        }
        None
    });
    let Ok(Some((http, grpc))) = listening.await else {
        return Err(Error::Node(format!("`sproxy {}` did not start:\n{said}", arguments.join(" "))));
    };
    let mut file = tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .await
        .map_err(|source| Error::Io { what: "opening a log", source })?;
    // Ends with the process, whose pipe it empties.
    #[allow(clippy::disallowed_methods, reason = "it ends with the process whose pipe it empties")]
    tokio::spawn(async move { tokio::io::copy(&mut lines.into_inner(), &mut file).await });
    Ok(Process { child, http, grpc })
}

/// The addresses in the line that says that a process listens.
fn listening(line: &str) -> Option<(SocketAddr, Option<SocketAddr>)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| line["fields"][name].as_str()?.parse().ok();
    Some((address("http")?, address("grpc")))
}
