//! A private PostgreSQL server: `initdb` and `pg_ctl` in a temporary directory, one server per test process, one
//! database per test. PostgreSQL refuses to run as root, so root gives the server to another user.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

/// Set, a machine without PostgreSQL fails the tests that need it instead of leaving them out.
const REQUIRED: &str = "SPROXY_REQUIRE_POSTGRES";

/// A running server. Dropping it kills it.
pub struct Postgres {
    bin: PathBuf,
    dir: TempDir,
    owner: Option<(u32, u32)>,
    databases: AtomicU32,
}

impl Postgres {
    /// The server that the tests of this process share; it lives as long as one of them holds it. None, with a note,
    /// on a machine without PostgreSQL.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return Some(running);
        }
        let started = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&started);
        Some(started)
    }

    /// A server of one's own, to be stopped and started.
    pub fn start() -> Option<Self> {
        let Some(bin) = binaries() else {
            assert!(
                std::env::var_os(REQUIRED).is_none(),
                "{REQUIRED} is set, but there is no PostgreSQL here"
            );
            eprintln!("left out: no PostgreSQL on this machine");
            return None;
        };
        let owner = unprivileged();
        let dir = directory_of(owner);
        let server = Self { bin, dir, owner, databases: AtomicU32::new(0) };
        let data = server.data();
        let data = data.to_str().expect("UTF-8");
        server.run(
            "initdb",
            &["-D", data, "-U", "sproxy", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        );
        server.resume();
        Some(server)
    }

    /// A server like this one as it is now, made while this one works, and not started yet: a standby that is going to
    /// fall behind.
    pub fn copy(&self) -> Self {
        let dir = directory_of(self.owner);
        let copy = Self { bin: self.bin.clone(), dir, owner: self.owner, databases: AtomicU32::new(0) };
        let (data, socket) = (copy.data(), self.dir.path().to_str().expect("UTF-8"));
        let data = data.to_str().expect("UTF-8");
        self.run(
            "pg_basebackup",
            &["-D", data, "-h", socket, "-U", "sproxy", "-X", "stream", "--checkpoint=fast", "--no-sync"],
        );
        copy
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join(".s.PGSQL.5432")
    }

    /// The address of a new, empty database.
    pub fn new_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run("createdb", &["-h", self.dir.path().to_str().expect("UTF-8"), "-U", "sproxy", &name]);
        self.url(&name)
    }

    /// The address of a new, empty database whose transactions are serializable.
    pub fn new_serializable_database(&self) -> String {
        let url = self.new_database();
        let name = url.rsplit('/').next().expect("a name");
        let set = "SET default_transaction_isolation = 'serializable'";
        self.execute("postgres", &format!("ALTER DATABASE {name} {set}"));
        url
    }

    /// The address of a database of this server.
    pub fn url(&self, database: &str) -> String {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://sproxy@{socket}/{database}")
    }

    /// Kills the server as a crash would, without letting it finish anything.
    pub fn crash(&self) {
        self.run("pg_ctl", &["-D", self.data().to_str().expect("UTF-8"), "-m", "immediate", "-w", "stop"]);
    }

    /// Starts a server that was stopped, on the data that is there.
    pub fn resume(&self) {
        let (data, log) = (self.data(), self.dir.path().join("log"));
        let options = format!(
            "-k {} -c listen_addresses= -c max_connections=400 -c fsync=off",
            self.dir.path().display()
        );
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        self.run("pg_ctl", &["-D", &text(&data), "-l", &text(&log), "-o", &options, "-w", "start"]);
    }

    /// Runs a statement as the server's owner.
    pub fn execute(&self, database: &str, sql: &str) {
        let host = self.dir.path().to_str().expect("UTF-8");
        self.run(
            "psql",
            &["-h", host, "-U", "sproxy", "-d", database, "-q", "-v", "ON_ERROR_STOP=1", "-c", sql],
        );
    }

    /// Asks something as the server's owner; the answer as text.
    pub fn query(&self, database: &str, sql: &str) -> String {
        let mut command = Command::new(self.bin.join("psql"));
        command
            .arg("-h")
            .arg(self.dir.path())
            .args(["-U", "sproxy", "-d", database, "-q", "-A", "-t", "-c", sql]);
        let answer = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("psql: {error}"));
        assert!(answer.status.success(), "psql {sql}: {}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8_lossy(&answer.stdout).into_owned()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.bin.join(program));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        let status = command.status().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(status.success(), "{program} {arguments:?}: {status}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut stop = Command::new(self.bin.join("pg_ctl"));
        stop.arg("-D").arg(self.data()).args(["-m", "immediate", "-w", "stop"]);
        stop.current_dir(self.dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = self.owner {
            stop.uid(uid).gid(gid);
        }
        let _already_stopped = stop.status();
    }
}

/// A directory that a server of `owner` can work in.
fn directory_of(owner: Option<(u32, u32)>) -> TempDir {
    let dir = tempfile::Builder::new().prefix("sproxy-pg-").tempdir().expect("a temporary directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
    if let Some((uid, gid)) = owner {
        chown(dir.path(), Some(uid), Some(gid)).expect("chown");
    }
    dir
}

/// The newest PostgreSQL on this machine.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.ok()?;
            let number = version.file_name().to_str()?.parse().ok()?;
            let bin = version.path().join("bin");
            bin.join("initdb").exists().then_some((number, bin))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

/// A user that is not root, if this process is: the ids of `postgres`, else of `nobody`.
fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let ids_of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(ids_of("postgres").or_else(|| ids_of("nobody")).expect("a user that is not root"))
}
