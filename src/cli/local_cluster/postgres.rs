//! A private PostgreSQL server in a directory of one's own: `initdb` and `pg_ctl`, reached by its Unix socket alone.
//! PostgreSQL refuses to run as root, so root gives the server to another user.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::error::Error;

/// Who has the server's data and all databases on it.
const USER: &str = "sproxy";
/// The one database.
const DATABASE: &str = "sproxy";

/// PostgreSQL's programs on this machine, and who runs them.
#[derive(Clone, Debug)]
pub struct Programs {
    bin: PathBuf,
    owner: Option<(u32, u32)>,
}

/// A server. Dropping it stops it.
pub struct Postgres {
    programs: Programs,
    directory: PathBuf,
}

impl Programs {
    /// The newest on this machine: where Debian and its kin put them, else whatever `PATH` leads to.
    pub fn find() -> Result<Self, Error> {
        let missing = "there is no PostgreSQL server on this machine (no initdb below /usr/lib/postgresql nor in PATH): install it, such as with `apt install postgresql`";
        let bin = newest_of_debian().or_else(in_path).ok_or_else(|| Error::Node(missing.to_owned()))?;
        let owner = if rustix::process::getuid().is_root() { Some(unprivileged()?) } else { None };
        Ok(Self { bin, owner })
    }

    /// Such as `postgres (PostgreSQL) 17.2`.
    pub async fn version(&self) -> Result<String, Error> {
        let said = self.output("postgres", Path::new("/"), &["--version"]).await?;
        Ok(said.trim().to_owned())
    }

    /// Runs one to its end; what it said.
    async fn output(&self, program: &str, directory: &Path, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(self.bin.join(program));
        command.args(arguments).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
        // A server keeps the handles of whoever starts it, so that a pipe would not end with pg_ctl.
        let is_heard = program != "pg_ctl";
        if is_heard {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        } else {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        let child = command.spawn().map_err(Error::io(format!("starting {program}")))?;
        let ended = child.wait_with_output().await.map_err(Error::io(format!("running {program}")))?;
        if ended.status.success() {
            return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        let hint =
            if is_heard { String::new() } else { format!("; see {}", directory.join("log").display()) };
        Err(Error::Node(format!("{program} {}: {}{hint} {said}", arguments.join(" "), ended.status)))
    }
}

impl Postgres {
    /// A new server in `directory`, with an empty database; it runs.
    pub async fn create(programs: &Programs, directory: &Path) -> Result<Self, Error> {
        let server = Self::in_directory(programs, directory)?;
        let data = server.data();
        let initdb = ["-D", &data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        server.run("initdb", &initdb).await?;
        server.start(None).await?;
        let host = server.host();
        server.run("createdb", &["-h", &host, "-U", USER, DATABASE]).await?;
        Ok(server)
    }

    /// A standby of this server as it is now, made while this one works. It runs, and hears of what this one commits by
    /// way of `port` on this machine.
    pub async fn standby(&self, directory: &Path, port: u16) -> Result<Self, Error> {
        let standby = Self::in_directory(&self.programs, directory)?;
        let (data, host) = (standby.data(), self.host());
        let copy =
            ["-D", &data, "-h", &host, "-U", USER, "-X", "stream", "-R", "--checkpoint=fast", "--no-sync"];
        self.run("pg_basebackup", &copy).await?;
        standby.start(Some(port)).await?;
        Ok(standby)
    }

    fn in_directory(programs: &Programs, directory: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(directory).map_err(Error::io("making a directory for PostgreSQL"))?;
        let permissions = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory, permissions).map_err(Error::io("setting permissions"))?;
        if let Some((uid, gid)) = programs.owner {
            chown(directory, Some(uid), Some(gid)).map_err(Error::io("giving away a directory"))?;
        }
        Ok(Self { programs: programs.clone(), directory: directory.to_owned() })
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join(".s.PGSQL.5432")
    }

    /// How a node on this machine reaches the database by the server's own socket.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}@{}/{DATABASE}", self.host().replace('/', "%2F"))
    }

    /// How a node reaches the database by a port of this machine that leads to the server's socket.
    #[must_use]
    pub fn url_by(port: u16) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/{DATABASE}")
    }

    /// Starts it on the data that is there; a standby hears of its primary by `primary`, a port of this machine.
    pub async fn start(&self, primary: Option<u16>) -> Result<(), Error> {
        let replication = primary.map_or_else(String::new, |port| {
            let reached = format!("host=127.0.0.1 port={port} user={USER} application_name=standby");
            format!(" -c primary_conninfo='{reached}' -c wal_retrieve_retry_interval=200ms")
        });
        let options = format!(
            "-k {} -c listen_addresses= -c max_connections=200 -c fsync=off -c wal_keep_size=1GB{replication}",
            self.host()
        );
        let (data, log) = (self.data(), self.directory.join("log").to_string_lossy().into_owned());
        self.run("pg_ctl", &["-D", &data, "-l", &log, "-o", &options, "-w", "start"]).await
    }

    /// Stops it: `fast` ends its sessions in order, `immediate` is as a crash.
    pub async fn stop(&self, mode: &str) -> Result<(), Error> {
        self.run("pg_ctl", &["-D", &self.data(), "-m", mode, "-w", "stop"]).await
    }

    /// Makes a standby a primary.
    pub async fn promote(&self) -> Result<(), Error> {
        let is_done = self.query("SELECT pg_promote(true, 60)").await?;
        if is_done == "t" { Ok(()) } else { Err(Error::Node("the standby was not promoted".to_owned())) }
    }

    /// Asks the server something; the answer as text.
    pub async fn query(&self, sql: &str) -> Result<String, Error> {
        let host = self.host();
        let arguments = ["-h", &host, "-U", USER, "-d", DATABASE, "-q", "-A", "-t", "-c", sql];
        let said = self.programs.output("psql", &self.directory, &arguments).await?;
        Ok(said.trim().to_owned())
    }

    /// The number of the server's first process.
    ///
    /// # Errors
    /// It does not run.
    pub fn id(&self) -> Result<u32, Error> {
        let file = self.directory.join("data/postmaster.pid");
        let text =
            std::fs::read_to_string(&file).map_err(Error::io("reading the server's process number"))?;
        let id = text.lines().next().and_then(|line| line.trim().parse().ok());
        id.ok_or_else(|| Error::Node(format!("{} has no process number", file.display())))
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Result<(), Error> {
        self.programs.output(program, &self.directory, arguments).await.map(drop)
    }

    fn host(&self) -> String {
        self.directory.to_string_lossy().into_owned()
    }

    fn data(&self) -> String {
        self.directory.join("data").to_string_lossy().into_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut stop = std::process::Command::new(self.programs.bin.join("pg_ctl"));
        stop.args(["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
        stop.current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = self.programs.owner {
            std::os::unix::process::CommandExt::uid(&mut stop, uid);
            std::os::unix::process::CommandExt::gid(&mut stop, gid);
        }
        let _already_stopped = stop.status();
    }
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let found = versions.filter_map(|entry| {
        let version = entry.ok()?;
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let bin = version.path().join("bin");
        bin.join("initdb").exists().then_some((number, bin))
    });
    found.max().map(|(_, bin)| bin)
}

fn in_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .find(|bin| ["initdb", "pg_ctl", "psql"].iter().all(|name| bin.join(name).exists()))
}

/// The ids of a user that is not root: `postgres`, else `nobody`.
fn unprivileged() -> Result<(u32, u32), Error> {
    let users = std::fs::read_to_string("/etc/passwd").map_err(Error::io("reading /etc/passwd"))?;
    let ids_of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let missing =
        || Error::Node("PostgreSQL does not run as root, and there is no user postgres or nobody".to_owned());
    ids_of("postgres").or_else(|| ids_of("nobody")).ok_or_else(missing)
}
