//! The processes of the torture and the links between them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::process::Command;

use super::database::Database;
use super::event::Shape;
use super::link::{End, Link, Mode};
use super::node::{Change, Node};
use crate::cli::local_cluster::directory::Directory;
use crate::cli::local_cluster::error::Error;
use crate::cli::local_cluster::postgres::Postgres;
use crate::cli::local_cluster::process::{Listening, Process};

const SECRET: &str = "a-secret-of-the-torture-that-nobody-needs";
/// The longest that an admin's question may take.
const ASK_MAX: Duration = Duration::from_secs(30);

/// A link, and what it is between.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) link: Link,
    to: To,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Leader(usize),
    Database,
}

/// All of it.
pub(super) struct Cluster {
    // Fields are dropped in order: nodes before what they stand on.
    pub(super) nodes: Vec<Node>,
    pub(super) lines: Vec<Line>,
    mock: (Process, Listening),
    pub(super) database: Option<Database>,
    http: reqwest::Client,
    pub(super) directory: Directory,
}

impl Cluster {
    /// `leaders` nodes lead and `followers` follow; several leaders are on PostgreSQL. Nodes are not started yet.
    pub(super) async fn prepare(
        leaders: usize,
        followers: usize,
        is_on_postgres: bool,
    ) -> Result<Self, Error> {
        let directory = Directory::new("torture")?;
        let log = directory.path().join("mock.log");
        let mock = Process::start(&["mock-provider", "--listen", "127.0.0.1:0"], &log).await?;
        let database = if is_on_postgres { Some(Database::create(directory.path()).await?) } else { None };
        let http = reqwest::Client::builder().no_proxy().timeout(ASK_MAX).build();
        let http = http.map_err(Error::call("making a client"))?;
        let mut cluster = Self { nodes: Vec::new(), lines: Vec::new(), mock, database, http, directory };
        for number in 1..=leaders + followers {
            cluster.add_node(number, leaders).await?;
        }
        Ok(cluster)
    }

    async fn add_node(&mut self, number: usize, leaders: usize) -> Result<(), Error> {
        let name = format!("sp-{number}");
        let node = Node::new(name.clone(), number <= leaders, self.directory.path());
        let mut config = self.config_of(&node);
        if !node.leads {
            let mut addresses = Vec::new();
            for leader in 0..leaders {
                let address =
                    self.add_line(format!("{name} to sp-{}", leader + 1), To::Leader(leader)).await?;
                addresses.push(format!("http://{address}"));
            }
            config["cluster"]["leader"] = json!(addresses);
        } else if let Some(end) = self.database.as_ref().map(Database::end) {
            // The address that others learn leads over a link too.
            let address = self.add_line(format!("others to {name}"), To::Leader(number - 1)).await?;
            config["cluster"]["advertise_grpc"] = json!(format!("http://{address}"));
            let address = self.add_line(format!("{name} to PostgreSQL"), To::Database).await?;
            config["store"] = json!({ "url": Postgres::url_by(address.port()) });
            if let Some(line) = self.lines.last() {
                line.link.lead_to(end);
            }
        }
        let text =
            toml::to_string(&config).map_err(|e| Error::Node(format!("{name}'s configuration: {e}")))?;
        fs::write(&node.config, text).map_err(Error::io("writing a configuration"))?;
        self.nodes.push(node);
        Ok(())
    }

    async fn add_line(&mut self, name: String, to: To) -> Result<std::net::SocketAddr, Error> {
        let link = Link::open().await?;
        let address = link.address;
        self.lines.push(Line { name, link, to });
        Ok(address)
    }

    fn config_of(&self, node: &Node) -> Value {
        let url = format!("http://{}", self.mock.1.http);
        let target = |provider: &str| json!({ "name": provider, "provider": provider, "url": url, "api_key": "held-by-the-gateway" });
        let targets = ["anthropic", "openai", "gemini", "ollama"].map(target);
        json!({
            "node": { "id": node.name, "data_dir": node.data_dir },
            "http": { "listen": "127.0.0.1:0", "shutdown_timeout": "5s" },
            "cluster": {
                "listen": "127.0.0.1:0",
                "secret": SECRET,
                "heartbeat_interval": "500ms",
                "sync_interval": "200ms",
            },
            "log": { "format": "json", "level": "warn,sproxy=info" },
            "targets": targets,
        })
    }

    pub(super) fn shape(&self) -> Shape {
        Shape {
            nodes: self.nodes.len(),
            leaders: self.nodes.iter().filter(|node| node.leads).count(),
            links: self.lines.iter().map(|line| line.to == To::Database).collect(),
            is_on_postgres: self.database.is_some(),
        }
    }

    /// Looks after every node; the ones that came up or went down since. Links lead to where leaders are now.
    pub(super) async fn tend(&mut self) -> Result<Vec<usize>, Error> {
        let mut changed = Vec::new();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let end = match node.tend().await? {
                None => continue,
                Some(Change::Down) => End::Nowhere,
                Some(Change::Up(listening)) => listening.grpc.map_or(End::Nowhere, End::Tcp),
            };
            changed.push(at);
            self.lines
                .iter()
                .filter(|line| line.to == To::Leader(at))
                .for_each(|line| line.link.lead_to(end.clone()));
        }
        Ok(changed)
    }

    /// Nobody is where a node was: its port may be another's soon.
    pub(super) fn is_gone(&self, node: usize) {
        let to_it = self.lines.iter().filter(|line| line.to == To::Leader(node));
        to_it.for_each(|line| line.link.lead_to(End::Nowhere));
    }

    /// Links to the database lead to where it is now.
    pub(super) fn follow_database(&self) {
        let Some(end) = self.database.as_ref().map(Database::end) else { return };
        let to_it = self.lines.iter().filter(|line| line.to == To::Database);
        to_it.for_each(|line| line.link.lead_to(end.clone()));
    }

    pub(super) fn cut_database_off(&self) {
        let to_it = self.lines.iter().filter(|line| line.to == To::Database);
        to_it.for_each(|line| line.link.lead_to(End::Nowhere));
    }

    pub(super) fn open_all(&self) {
        self.lines.iter().for_each(|line| line.link.set(Mode::Open));
    }

    /// Opens the links that a node's own usage takes.
    pub(super) fn open_those_of(&self, node: &str) {
        let begin = format!("{node} to ");
        let own = self.lines.iter().filter(|line| line.name.starts_with(&begin));
        own.for_each(|line| line.link.set(Mode::Open));
    }

    /// Whether a node may take traffic.
    pub(super) async fn is_ready(&self, node: usize) -> bool {
        let Some(url) = self.nodes.get(node).and_then(Node::url) else { return false };
        self.http.get(format!("{url}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Asks a node's control plane.
    pub(super) async fn get(&self, node: usize, path: &str) -> Result<String, Error> {
        let (name, request) = self.request(node, reqwest::Method::GET, path)?;
        answer(&name, path, request).await
    }

    pub(super) async fn json<T: DeserializeOwned>(&self, node: usize, path: &str) -> Result<T, Error> {
        let text = self.get(node, path).await?;
        serde_json::from_str(&text).map_err(|e| Error::Node(format!("{path}: {e}: {text}")))
    }

    pub(super) async fn post(&self, node: usize, path: &str, body: &Value) -> Result<Value, Error> {
        let (name, request) = self.request(node, reqwest::Method::POST, path)?;
        let text = answer(&name, path, request.json(body)).await?;
        serde_json::from_str(&text).map_err(|e| Error::Node(format!("{path}: {e}: {text}")))
    }

    fn request(
        &self,
        node: usize,
        method: reqwest::Method,
        path: &str,
    ) -> Result<(String, reqwest::RequestBuilder), Error> {
        let node = self.nodes.get(node).ok_or_else(|| Error::Node(format!("there is no node {node}")))?;
        let url = node.url().ok_or_else(|| Error::Node(format!("{} is down", node.name)))?;
        let token = fs::read_to_string(node.data_dir.join("admin.token"));
        let token = token.map_err(Error::io(format!("reading {}'s admin.token", node.name)))?;
        let request = self.http.request(method, format!("{url}{path}")).bearer_auth(token.trim());
        Ok((node.name.clone(), request))
    }

    /// A copy of a node's database, made by `sproxy backup`.
    pub(super) async fn back_up(&self, node: usize, file: &Path) -> Result<(), Error> {
        let node = self.nodes.get(node).ok_or_else(|| Error::Node(format!("there is no node {node}")))?;
        let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
        let mut command = Command::new(program);
        command.arg("backup").arg(file).arg("--data-dir").arg(&node.data_dir);
        command.args(["--server", &node.url().unwrap_or_default()]).kill_on_drop(true);
        let ended = command.output().await.map_err(Error::io("running `sproxy backup`"))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        if ended.status.success() { Ok(()) } else { Err(Error::Node(format!("`sproxy backup`: {said}"))) }
    }
}

async fn answer(name: &str, path: &str, request: reqwest::RequestBuilder) -> Result<String, Error> {
    let failed = || Error::call(format!("asking {name} for {path}"));
    let answer = request.send().await.and_then(reqwest::Response::error_for_status).map_err(failed())?;
    answer.text().await.map_err(failed())
}
