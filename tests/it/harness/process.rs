//! A child process of the program under test: starts, says where it listens, can be killed, keeps its log.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The program under test.
pub const SPROXY: &str = env!("CARGO_BIN_EXE_sproxy");

/// A running child.
pub struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
}

/// Where a child says that it listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listening {
    pub http: Option<SocketAddr>,
    pub grpc: Option<SocketAddr>,
}

impl Process {
    /// Starts the program and waits until it listens.
    pub async fn start(arguments: &[&str], environment: &[(String, String)]) -> (Self, Listening) {
        let mut child = Command::new(SPROXY)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, listening) = oneshot::channel();
        let stderr = child.stderr.take().unwrap();
        let kept = Arc::clone(&log);
        tokio::spawn(async move {
            let mut sender = Some(sender);
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(found) = read(&line)
                    && let Some(sender) = sender.take()
                {
                    let _ = sender.send(found);
                }
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        match timeout(Duration::from_mins(1), listening).await {
            Ok(Ok(found)) => (Self { child, log }, found),
            _ => panic!("sproxy {arguments:?} did not start:\n{}", log.lock().unwrap()),
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("a running process")
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM.
    pub async fn ask_to_leave(&self) {
        self.signal("TERM").await;
    }

    /// Any signal, by its name without `SIG`.
    pub async fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().await.unwrap();
        assert!(status.success());
    }

    /// Waits for the end; its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let ended = timeout(super::DEADLINE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.log())).unwrap().code()
    }
}

fn read(line: &str) -> Option<Listening> {
    let line: Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| line["fields"][name].as_str()?.parse().ok();
    let found = Listening { http: address("http"), grpc: address("grpc") };
    found.http.map(|_| found)
}
