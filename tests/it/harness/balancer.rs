//! `HAProxy` in front of nodes, as operators run it: it asks each for `/readyz` and sends calls to those that are ready.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::{Node, until};

/// Set, a machine without `HAProxy` fails the tests that need it instead of leaving them out.
const REQUIRED: &str = "SPROXY_REQUIRE_HAPROXY";

/// A running balancer. Dropping it kills it.
pub struct Balancer {
    pub address: SocketAddr,
    directory: TempDir,
    _child: Child,
}

impl Balancer {
    /// In front of `nodes`, which it calls sp-1, sp-2, …, with `server` said of each. None, with a note, on a machine
    /// without `HAProxy`.
    pub fn before(nodes: &[&Node], server: &str) -> Option<Self> {
        // The socket is bound here and handed on, so that nobody else takes its port.
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().display();
        let mut config = format!(
            "global\n  stats socket {here}/control level admin\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout check 5s\n\
             frontend callers\n  bind fd@0\n  default_backend nodes\n\
             backend nodes\n  option httpchk GET /readyz\n  http-check expect status 200\n  option redispatch 1\n\
             \x20 default-server check inter 50ms fall 1 rise 1\n"
        );
        for (number, node) in nodes.iter().enumerate() {
            writeln!(config, "  server sp-{} {} {server}", number + 1, node.address).unwrap();
        }
        let file = directory.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        // Where Debian puts it, which is not in everybody's path.
        let debian = Path::new("/usr/sbin/haproxy");
        let mut command = Command::new(if debian.exists() { debian } else { Path::new("haproxy") });
        command.arg("-db").arg("-f").arg(&file).kill_on_drop(true);
        command.stdin(Stdio::from(OwnedFd::from(socket))).stdout(Stdio::null()).stderr(Stdio::from(log));
        let Ok(child) = command.spawn() else {
            assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, but there is no HAProxy here");
            eprintln!("left out: no HAProxy on this machine");
            return None;
        };
        Some(Self { address, directory, _child: child })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits until it sends calls to `server`, or until it does not any more.
    pub async fn sees(&self, server: &str, up: bool) {
        let word = if up { "UP" } else { "DOWN" };
        until(&format!("the balancer sees that {server} is {word}"), async || {
            let status = self.status(server).await?;
            status.starts_with(word).then_some(())
        })
        .await;
    }

    /// What it thinks of `server`.
    async fn status(&self, server: &str) -> Option<String> {
        let mut control = UnixStream::connect(self.directory.path().join("control")).await.ok()?;
        control.write_all(b"show stat\n").await.ok()?;
        let mut table = String::new();
        control.read_to_string(&mut table).await.ok()?;
        let mut rows = table.lines().map(|line| line.trim_start_matches("# ").split(',').collect::<Vec<_>>());
        let names = rows.next()?;
        let column = |name: &str| names.iter().position(|have| *have == name);
        let (backend, name, status) = (column("pxname")?, column("svname")?, column("status")?);
        let row = rows.find(|row| row.get(backend) == Some(&"nodes") && row.get(name) == Some(&server))?;
        row.get(status).map(|status| (*status).to_owned())
    }
}

/// Says what it has said when a test fails.
impl Drop for Balancer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default());
        }
    }
}
