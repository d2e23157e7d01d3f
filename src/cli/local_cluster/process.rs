//! Child processes of this very program. Each writes its log into a file, which also says where it listens.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::error::Error;

/// The longest that a process may take to listen.
pub const START_MAX: Duration = Duration::from_mins(1);
const RETRY: Duration = Duration::from_millis(20);

/// A running child; it is killed with this value.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Where in its log it began.
    begin: u64,
}

/// Where a process listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    pub http: SocketAddr,
    pub grpc: Option<SocketAddr>,
}

impl Process {
    /// Starts this program with `arguments`. Nothing of sproxy in the environment is passed on.
    pub fn spawn(arguments: &[&str], log: &Path) -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
        Self::spawn_program(&program, arguments, log)
    }

    /// The same with another build of it.
    pub fn spawn_program(program: &Path, arguments: &[&str], log: &Path) -> Result<Self, Error> {
        let opened = OpenOptions::new().create(true).append(true).open(log);
        let file = opened.map_err(Error::io(format!("opening {}", log.display())))?;
        let begin = file.metadata().map_err(Error::io("reading a log's length"))?.len();
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SPROXY_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).env("SPROXY_ADMIN_PASSWORD", "only-for-this-cluster");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).kill_on_drop(true);
        // Ctrl-C is for whoever started this process, which ends its children itself.
        #[cfg(unix)]
        command.process_group(0);
        let child = command.spawn().map_err(Error::io("starting a process"))?;
        Ok(Self { child, log: log.to_owned(), begin })
    }

    /// Starts and waits until it is ready, and says where it listens.
    pub async fn start(arguments: &[&str], log: &Path) -> Result<(Self, Listening), Error> {
        let mut process = Self::spawn(arguments, log)?;
        let listening = process.until_ready(arguments).await?;
        Ok((process, listening))
    }

    /// Waits until it says that it is ready, and where it listens.
    pub async fn until_ready(&mut self, arguments: &[&str]) -> Result<Listening, Error> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Some(listening) = self.said().lines().find_map(|line| listening(line, true)) {
                return Ok(listening);
            }
            if self.ended().is_some() || Instant::now() > deadline {
                let said = self.said();
                return Err(Error::Node(format!("`sproxy {}` did not start:\n{said}", arguments.join(" "))));
            }
            sleep(RETRY).await;
        }
    }

    /// Where it listens, once it has said so; it may turn calls away at first.
    pub fn listening(&self) -> Option<Listening> {
        self.said().lines().find_map(|line| listening(line, false))
    }

    /// What it has logged.
    fn said(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = std::fs::File::open(&self.log)?;
            file.seek(SeekFrom::Start(self.begin))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_else(|error| format!("{}: {error}", self.log.display()))
    }

    /// The number of the process while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.child.kill().await.map_err(Error::io("killing a process"))
    }

    /// Sends a signal; to a process that has ended it makes no difference.
    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        if let Some(id) = id {
            let _ended_meanwhile = rustix::process::kill_process(id, signal);
        }
    }
}

/// The addresses in the line that says that a process listens, or that it is ready.
fn listening(line: &str, is_ready: bool) -> Option<Listening> {
    let line: Value = serde_json::from_str(line).ok()?;
    if is_ready && line["fields"]["message"] != "ready" {
        return None;
    }
    let address = |name: &str| line["fields"][name].as_str()?.parse().ok();
    Some(Listening { http: address("http")?, grpc: address("grpc") })
}
