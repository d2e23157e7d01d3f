//! Real processes for tests: nodes, the mock provider, and a client that speaks to both. Everything ends, and its
//! directory goes, with the value that stands for it.

#![allow(dead_code, reason = "each test uses a part")]

pub mod auth;
pub mod balancer;
pub mod databases;
mod dice;
pub mod frames;
mod link;
pub mod postgres;
mod process;
mod provider;
pub mod proxy;
mod python;
mod receiver;
pub mod records;
pub mod switch;
mod websocket;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use dice::Dice;
pub use link::{Link, Mode, Speaker};
pub use process::{Process, SPROXY};
pub use provider::Scripted;
pub use python::{python_with, run_script};
pub use receiver::{Delivery, Receiver, Reply};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sproxy::domain::clock::Timestamp;
use tempfile::TempDir;
use tokio::time::{Instant, interval};
pub use websocket::Socket;

/// How long a condition may take to come true; long, because machines are slow and a true test does not wait.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Waits until `condition` gives a value. One that takes long to look at, as large books do, is looked at three times at
/// least.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    let mut tick = interval(Duration::from_millis(20));
    let mut looks = 0;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        looks += 1;
        assert!(looks < 3 || Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tick.tick().await;
    }
}

/// A time in an answer; none: there is none. As texts times do not compare, for they end where their zeros begin.
pub fn time(value: &Value) -> Option<Timestamp> {
    value.as_str().map(|text| text.parse().unwrap())
}

/// A fake provider that keeps count.
pub struct Mock {
    pub process: Process,
    pub address: SocketAddr,
    http: reqwest::Client,
}

impl Mock {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments, such as the credentials that it demands.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let all = [&["mock-provider", "--listen", "127.0.0.1:0"], arguments].concat();
        let (process, said) = Process::start(&all, &[]).await;
        let address = said.http.expect("the mock's address");
        Self { process, address, http: reqwest::Client::new() }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Says what happens to its next calls, step by step.
    pub async fn script(&self, steps: &[Value]) {
        let set = self.http.post(format!("{}/mock/script", self.url())).json(steps).send().await.unwrap();
        assert!(set.status().is_success(), "{}", set.text().await.unwrap());
    }

    /// How often each step was played.
    pub async fn played(&self) -> Vec<u64> {
        let steps = self.http.get(format!("{}/mock/script", self.url())).send().await.unwrap();
        let steps: Vec<Value> = steps.json().await.unwrap();
        steps.iter().map(|step| step["played"].as_u64().unwrap()).collect()
    }

    /// What it has answered completely, per model: requests, input, output.
    pub async fn served(&self) -> Value {
        self.http.get(format!("{}/mock/served", self.url())).send().await.unwrap().json().await.unwrap()
    }
}

/// How a node is set up; plain TOML on top of what every test needs.
pub struct Setup {
    directory: TempDir,
    targets: String,
    more: BTreeMap<String, String>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// A node alone, with a target of every dialect at `provider`.
    pub fn with_targets_at(provider: &str) -> Self {
        let mut targets = String::new();
        for dialect in ["anthropic", "openai", "gemini", "ollama"] {
            writeln!(
                targets,
                "[[targets]]\nname = \"{dialect}\"\nprovider = \"{dialect}\"\nurl = \"{provider}\"\napi_key = \"upstream-secret-{dialect}\""
            )
            .unwrap();
        }
        Self::with_targets(&targets)
    }

    /// A node alone, with these `[[targets]]`.
    pub fn with_targets(targets: &str) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            targets: targets.to_owned(),
            more: BTreeMap::new(),
            environment: Vec::new(),
        }
    }

    /// Replaces the `[[targets]]`.
    pub fn targets(mut self, targets: &str) -> Self {
        targets.clone_into(&mut self.targets);
        self
    }

    /// Adds lines behind the `[[targets]]`, such as another list.
    pub fn and_file(mut self, lines: &str) -> Self {
        self.targets.push('\n');
        self.targets.push_str(lines);
        self
    }

    /// Adds lines to a section, such as `("usage", "queue = 1")`.
    pub fn section(mut self, name: &str, lines: &str) -> Self {
        let section = self.more.entry(name.to_owned()).or_default();
        section.push_str(lines);
        section.push('\n');
        self
    }

    /// Replaces what a section has.
    pub fn only(mut self, name: &str, lines: &str) -> Self {
        self.more.insert(name.to_owned(), format!("{lines}\n"));
        self
    }

    /// Sets an environment variable of the node.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the node.
    pub async fn start(self) -> Node {
        Node::start(self).await
    }

    fn write(&self, listen: Option<(SocketAddr, Option<SocketAddr>)>) -> PathBuf {
        let (http, grpc) = listen
            .map_or(("127.0.0.1:0".to_owned(), "127.0.0.1:0".to_owned()), |(http, grpc)| {
                (http.to_string(), grpc.map_or("127.0.0.1:0".to_owned(), |grpc| grpc.to_string()))
            });
        let mut sections = self.more.clone();
        let mut add = |name: &str, line: String| {
            let section = sections.entry(name.to_owned()).or_default();
            if !section.lines().any(|have| have.split('=').next() == line.split('=').next()) {
                writeln!(section, "{line}").unwrap();
            }
        };
        add("node", format!("data_dir = \"{}\"", self.data_dir().display()));
        add("http", format!("listen = \"{http}\""));
        add("cluster", format!("listen = \"{grpc}\""));
        add("log", "format = \"json\"".to_owned());
        add("log", "level = \"debug\"".to_owned());
        let mut text = String::new();
        for (name, lines) in sections {
            writeln!(text, "[{name}]\n{lines}").unwrap();
        }
        text.push_str(&self.targets);
        let path = self.directory.path().join("sproxy.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

/// A running node.
pub struct Node {
    setup: Setup,
    pub process: Process,
    pub address: SocketAddr,
    pub grpc: Option<SocketAddr>,
    pub http: reqwest::Client,
    /// What it logged in earlier lives.
    before: String,
}

impl Node {
    async fn start(setup: Setup) -> Self {
        let (process, address, grpc) = launch(&setup, None).await;
        Self { setup, process, address, grpc, http: reqwest::Client::new(), before: String::new() }
    }

    /// Kills it with SIGKILL.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts it again after its death, on the same ports and data.
    pub async fn restart(&mut self) {
        self.before.push_str(&self.process.log());
        let (process, address, grpc) = launch(&self.setup, Some((self.address, self.grpc))).await;
        (self.process, self.address, self.grpc) = (process, address, grpc);
        // On a busy machine a connection may still seem to be open that died with the process before.
        self.http = reqwest::Client::new();
    }

    /// Changes a section before a restart.
    pub fn set(&mut self, name: &str, lines: &str) {
        self.setup.more.insert(name.to_owned(), format!("{lines}\n"));
    }

    /// Everything it has logged, in all its lives.
    pub fn log(&self) -> String {
        format!("{}{}", self.before, self.process.log())
    }

    pub fn data_dir(&self) -> PathBuf {
        self.setup.data_dir()
    }

    pub fn directory(&self) -> &Path {
        self.setup.directory.path()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn admin_token(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("admin.token")).unwrap().trim().to_owned()
    }

    /// Calls the control plane as the local admin.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self.http.request(method, self.url(path)).bearer_auth(self.admin_token());
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    /// Gets JSON from the control plane.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.call(Method::GET, path, None).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "GET {path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Posts JSON to the control plane, which must accept it.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.call(Method::POST, path, Some(body)).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "POST {path}: {status} {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// Makes a user and a key for it.
    pub async fn user_with_key(&self, name: &str) -> String {
        self.post("/admin/v1/users", json!({ "name": name })).await;
        self.key_of(name).await
    }

    /// Makes a key for a user.
    pub async fn key_of(&self, user: &str) -> String {
        let made = self.post("/admin/v1/keys", json!({ "user": user, "name": "test" })).await;
        made["key"].as_str().expect("a key").to_owned()
    }

    /// Every usage log, oldest first.
    pub async fn usage(&self) -> Vec<Value> {
        let export = self.call(Method::GET, "/admin/v1/usage?format=jsonl", None).await.text().await.unwrap();
        let mut rows: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        rows.reverse();
        rows
    }

    /// The usage log of an answer.
    pub async fn usage_of(&self, answer: &Answer) -> Value {
        until("the usage log of the answer", async || {
            self.usage().await.into_iter().find(|row| row["request_id"] == json!(answer.id))
        })
        .await
    }

    /// Calls the data plane with JSON, and reads the answer to its end.
    pub async fn ask(&self, key: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut request = self.http.post(self.url(path)).header("x-api-key", key).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::read(request.send().await.unwrap()).await
    }
}

async fn launch(
    setup: &Setup,
    listen: Option<(SocketAddr, Option<SocketAddr>)>,
) -> (Process, SocketAddr, Option<SocketAddr>) {
    let config = setup.write(listen);
    let mut environment = setup.environment.clone();
    environment.push(("SPROXY_ADMIN_PASSWORD".to_owned(), "correct horse battery".to_owned()));
    let (process, said) =
        Process::start(&["serve", "--config", &config.to_string_lossy()], &environment).await;
    (process, said.http.expect("the node's address"), said.grpc)
}

/// An answer of the data plane, read to its end or to where it broke off.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    /// `x-sproxy-request-id`.
    pub id: String,
    pub body: Vec<u8>,
    /// Whether the body came to its proper end.
    pub complete: bool,
}

impl Answer {
    pub async fn read(mut response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let id = headers.get("x-sproxy-request-id").map_or("", |id| id.to_str().unwrap()).to_owned();
        let mut body = Vec::new();
        let complete = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        Self { status, headers, id, body, complete }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
