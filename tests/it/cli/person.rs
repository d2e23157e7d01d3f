//! Somebody at a laptop: a home directory of their own, and the commands that they run there.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::{Ended, SPROXY};
use crate::harness::Node;

/// What everybody's password is here.
pub const PASSWORD: &str = "correct horse battery staple";

pub struct Person {
    home: TempDir,
    environment: Vec<(String, String)>,
}

impl Person {
    pub fn new() -> Self {
        let mut person = Self { home: tempfile::tempdir().expect("a home"), environment: Vec::new() };
        // Never that of whoever runs the tests.
        person.set("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus");
        person
    }

    /// Somebody whom the node knows as `name`, signed in there.
    pub async fn signed_in(node: &Node, name: &str) -> Self {
        let person = Self::known_to(node, name).await;
        person.sign_in(&node.url(""), name).await.done();
        person
    }

    /// Somebody whom the node knows as `name`.
    pub async fn known_to(node: &Node, name: &str) -> Self {
        node.post("/admin/v1/users", json!({ "name": name, "password": PASSWORD })).await;
        Self::new()
    }

    pub async fn sign_in(&self, server: &str, name: &str) -> Ended {
        let arguments = ["login", "--server", server, "--user", name, "--password-stdin"];
        self.run_with_input(&arguments, &format!("{PASSWORD}\n")).await
    }

    /// Sets an environment variable of everything that they run.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The environment of everything that they run.
    pub fn environment(&self) -> Vec<(String, String)> {
        let own = [("HOME", self.home().display().to_string()), ("USER", "nobody-here".to_owned())];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        own.into_iter().chain(self.environment.iter().cloned()).collect()
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub async fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with_input(arguments, "").await
    }

    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Ended {
        let mut child = self.spawn(arguments);
        let mut stdin = child.stdin.take().expect("a standard input");
        // Most commands read nothing and may have ended before.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let Output { status, stdout, stderr } = child.wait_with_output().await.expect("ended");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Ended { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    /// A command that runs on; it ends with this value.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(SPROXY);
        command.env_clear().envs(std::env::var("PATH").map(|path| ("PATH", path)));
        command.envs(self.environment());
        command.args(arguments).current_dir(self.home()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("started")
    }

    /// The file that keeps the one session.
    pub fn session_file(&self) -> PathBuf {
        let directory = self.home().join(".config/sproxy/sessions");
        let files =
            std::fs::read_dir(directory).expect("sessions").map(|entry| entry.expect("an entry").path());
        let mut files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.next().expect("a session")
    }

    pub fn session(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.session_file()).expect("a session")).expect("JSON")
    }

    /// Changes what is kept of the session.
    pub fn change_session(&self, change: impl FnOnce(&mut Value)) {
        let mut session = self.session();
        change(&mut session);
        std::fs::write(self.session_file(), session.to_string()).expect("written");
    }

    /// As if the access token had come long ago and were at its end.
    pub fn let_token_expire(&self) {
        self.change_session(|session| {
            session["received_at"] = json!("2026-01-01T00:00:00Z");
            session["expires_at"] = json!("2026-01-01T01:00:00Z");
        });
    }
}
