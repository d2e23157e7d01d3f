//! The processes of the demo: the mock provider, sp-1 and its followers, in a directory that is removed with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::relay::Relay;
use crate::cli::local_cluster::directory::Directory;
use crate::cli::local_cluster::error::Error;
#[cfg(unix)]
use crate::cli::local_cluster::postgres::{Postgres, Programs};
use crate::cli::local_cluster::process::{Listening, Process, START_MAX};

const RETRY: Duration = Duration::from_millis(20);
/// At most what a cluster of loopback nodes needs; the secret is needed only beyond loopback, but shows how it is set.
const SECRET: &str = "a-secret-of-the-demo-that-nobody-needs";

/// The running processes of a demo.
pub(super) struct DemoCluster {
    directory: Directory,
    mock: Running,
    nodes: Vec<Node>,
    relay: Option<Relay>,
    http: reqwest::Client,
    /// The first so many nodes lead.
    leaders: usize,
    /// Where several lead, on what; it ends after the nodes.
    #[cfg(unix)]
    database: Option<Postgres>,
}

struct Node {
    name: String,
    config: PathBuf,
    running: Running,
}

/// A child process and where it listens.
type Running = (Process, Listening);

impl DemoCluster {
    pub(super) async fn start(nodes: u8, leaders: u8) -> Result<Self, Error> {
        #[cfg(not(unix))]
        if leaders > 1 {
            return Err(Error::Node("several leaders are played on Unix only".to_owned()));
        }
        let directory = Directory::new("demo")?;
        #[cfg(unix)]
        let database = match leaders {
            0 | 1 => None,
            _ => Some(Postgres::create(&Programs::find()?, &directory.path().join("postgres")).await?),
        };
        let log = directory.path().join("mock.log");
        let mock = Process::start(&["mock-provider", "--listen", "127.0.0.1:0"], &log).await?;
        let mut cluster = Self {
            directory,
            mock,
            nodes: Vec::new(),
            relay: None,
            http: reqwest::Client::new(),
            leaders: usize::from(leaders),
            #[cfg(unix)]
            database,
        };
        for at in 1..=nodes {
            cluster.add_node(at).await?;
        }
        Ok(cluster)
    }

    async fn add_node(&mut self, at: u8) -> Result<(), Error> {
        let name = format!("sp-{at}");
        let config = self.directory.path().join(format!("{name}.toml"));
        let follows = usize::from(at) > self.leaders;
        let leader = self.relay.as_ref().filter(|_| follows).map(|relay| format!("http://{}", relay.address));
        self.write_config(&config, &name, leader.as_deref(), ("127.0.0.1:0", "127.0.0.1:0"))?;
        let running = self.start_node(&config, &name).await?;
        if at == 1 {
            let grpc = running.1.grpc.ok_or_else(|| Error::Node("sp-1 has no gRPC address".to_owned()))?;
            // Followers and clients must find sp-1 again after its death, so it gets the ports it has for good.
            let (http, own) = (running.1.http.to_string(), grpc.to_string());
            self.write_config(&config, &name, None, (&http, &own))?;
            self.relay = Some(Relay::to(grpc).await.map_err(Error::io("opening the link"))?);
        }
        self.nodes.push(Node { name, config, running });
        Ok(())
    }

    fn write_config(
        &self,
        path: &Path,
        name: &str,
        leader: Option<&str>,
        listen: (&str, &str),
    ) -> Result<(), Error> {
        let target = |provider: &str| json!({ "name": provider, "provider": provider, "url": format!("http://{}", self.mock.1.http), "api_key": "held-by-the-gateway" });
        let targets = ["anthropic", "openai", "gemini", "ollama"].map(target);
        #[allow(unused_mut, reason = "only where there is a PostgreSQL")]
        let mut config = json!({
            "node": { "id": name, "data_dir": self.directory.path().join(name) },
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
        #[cfg(unix)]
        if let Some(database) = self.database.as_ref().filter(|_| leader.is_none()) {
            config["store"] = json!({ "url": database.url() });
        }
        let text = toml::to_string(&config)
            .map_err(|e| Error::Node(format!("writing {name}'s configuration: {e}")))?;
        fs::write(path, text).map_err(Error::io("writing a configuration"))
    }

    async fn start_node(&self, config: &Path, name: &str) -> Result<Running, Error> {
        let config = config.to_string_lossy();
        let log = self.directory.path().join(format!("{name}.log"));
        Process::start(&["serve", "--config", &config], &log).await
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
        let failed = || Error::call("setting up users");
        let request =
            self.http.post(format!("{}{path}", self.leader_url())).bearer_auth(self.admin_token("sp-1")?);
        let answer = request.json(body).send().await.and_then(reqwest::Response::error_for_status);
        answer.map_err(failed())?.json().await.map_err(failed())
    }

    /// Asks sp-1's control plane.
    pub(super) async fn get(&self, path: &str) -> Result<reqwest::Response, Error> {
        self.get_from("sp-1", path).await
    }

    /// Asks a leader's control plane.
    pub(super) async fn get_from(&self, name: &str, path: &str) -> Result<reqwest::Response, Error> {
        let url = self.urls().into_iter().find_map(|(node, url)| (node == name).then_some(url));
        let request = self.http.get(format!("{}{path}", url.unwrap_or_default()));
        let request = request.bearer_auth(self.admin_token(name)?).timeout(START_MAX);
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        answer.map_err(Error::call(format!("asking {name}")))
    }

    /// The names of those that lead.
    pub(super) fn leaders(&self) -> Vec<String> {
        self.nodes.iter().take(self.leaders).map(|node| node.name.clone()).collect()
    }

    fn admin_token(&self, name: &str) -> Result<String, Error> {
        let path = self.directory.path().join(name).join("admin.token");
        let token = fs::read_to_string(path).map_err(Error::io("reading admin.token"))?;
        Ok(token.trim().to_owned())
    }

    pub(super) fn leader_url(&self) -> String {
        self.nodes.first().map(|node| format!("http://{}", node.running.1.http)).unwrap_or_default()
    }

    /// Every node's name and address.
    pub(super) fn urls(&self) -> Vec<(String, String)> {
        self.nodes.iter().map(|node| (node.name.clone(), format!("http://{}", node.running.1.http))).collect()
    }

    pub(super) fn last(&self) -> usize {
        self.nodes.len().saturating_sub(1)
    }

    /// Kills a node with SIGKILL and starts it again on its own data; its name.
    pub(super) async fn kill_and_restart(&mut self, at: usize) -> Result<String, Error> {
        let missing = || Error::Node(format!("there is no node {at}"));
        let node = self.nodes.get_mut(at).ok_or_else(missing)?;
        node.running.0.kill().await?;
        let (name, config) = (node.name.clone(), node.config.clone());
        let running = self.start_node(&config, &name).await?;
        self.nodes.get_mut(at).ok_or_else(missing)?.running = running;
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
            let _ = node.running.0.kill().await;
        }
        let _ = self.mock.0.kill().await;
    }
}
