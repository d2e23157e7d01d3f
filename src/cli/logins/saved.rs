//! What is kept of a login in a file per server, in the person's own configuration, readable by them alone.
//!
//! A refresh token is replaced at every use, by several processes at once. That takes a lock, and a replacement that is
//! whole or not there; a file has both on every system. So it is the file that says what the session is, also where the
//! refresh token itself is in a keychain: the file names it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::cli::error::Error;
use crate::cli::whole_file;
use crate::crypto::secret_text::sha256;
use crate::domain::clock::Timestamp;

/// The largest file that is read.
const BYTES_MAX: u64 = 1 << 20;
/// How often a lock is looked at that another process has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where a refresh token is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Here.
    RefreshToken(String),
    /// In the keychain, under this id.
    InKeychain(String),
}

impl Kept {
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::RefreshToken(_) => None,
            Self::InKeychain(id) => Some(id),
        }
    }
}

/// Where a refresh token shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum KeepIn {
    /// In the keychain where there is one and it is unlocked, else in a file
    #[default]
    Auto,
    /// In a file that only you can read
    File,
    /// In the keychain, and nowhere else
    Keychain,
}

/// A session at a server.
#[derive(Clone, Serialize, Deserialize)]
pub struct Saved {
    pub server: String,
    /// Who has signed in.
    pub user: String,
    pub access_token: String,
    #[serde(flatten)]
    pub kept: Kept,
    /// Where the person wants it.
    #[serde(default)]
    pub keep_in: KeepIn,
    /// When the access token came, and when it expires, by this machine's clock.
    pub received_at: Timestamp,
    pub expires_at: Timestamp,
    /// Authorities to trust besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The key of a refresh that has begun. Where it is found, the process that began died, or its answer was lost: the
    /// same refresh is repeated, which a server takes from whoever has this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshing: Option<String>,
}

impl Saved {
    /// What is left of the access token's life; nothing if the clock was set to before it came.
    pub fn left(&self, now: Timestamp) -> Duration {
        if now < self.received_at { Duration::ZERO } else { self.expires_at.since(now) }
    }

    /// Whether the token will do for a while: clients keep what they were given for minutes.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        let life = self.expires_at.since(self.received_at);
        self.left(now) > (life / 3).min(MARGIN)
    }
}

/// An access token with less to live is replaced. Claude Code and Codex ask for a token every five minutes.
const MARGIN: Duration = Duration::from_mins(10);

/// The person's own configuration of sproxy: `$XDG_CONFIG_HOME/sproxy`, else `~/.config/sproxy`.
pub fn config_dir() -> Result<PathBuf, Error> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || path("HOME").map(|home| home.join(".config"));
    let base = path("XDG_CONFIG_HOME").or_else(home).or_else(|| path("APPDATA"));
    let base = base.ok_or_else(|| {
        Error::Usage(
            "there is no place to keep a login: set HOME or XDG_CONFIG_HOME to a directory".to_owned(),
        )
    })?;
    Ok(base.join("sproxy"))
}

/// The file of one server's session.
#[derive(Clone, Debug)]
pub struct SessionFile {
    path: PathBuf,
}

impl SessionFile {
    pub fn of(server: &str) -> Result<Self, Error> {
        let host = server.split_once("://").map_or(server, |(_, host)| host);
        let name: String =
            host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
        let [a, b, c, d, ..] = sha256(server.as_bytes());
        let digest = u32::from_be_bytes([a, b, c, d]);
        Ok(Self { path: config_dir()?.join("sessions").join(format!("{name}-{digest:08x}.json")) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it; none if nobody is signed in.
    pub fn read(&self) -> Result<Option<Saved>, Error> {
        let failed = |reason: String| {
            let path = self.path.display();
            Error::Refused(format!("the login in {path} cannot be read ({reason}): run `sproxy login` again"))
        };
        match read(&self.path) {
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(failed(reason.to_string())),
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).map_err(|reason| failed(reason.to_string()))
            }
        }
    }

    pub fn write(&self, saved: &Saved) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(saved).map_err(io::Error::other);
        let written = text.and_then(|text| {
            self.make_directory()?;
            whole_file::write(&self.path, &text, whole_file::PRIVATE)
        });
        written.map_err(Error::io(format!("keeping the login in {}", self.path.display())))
    }

    pub fn remove(&self) -> Result<(), Error> {
        match fs::remove_file(&self.path) {
            Err(reason) if reason.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("removing {}", self.path.display()))(reason))
            }
            _ => Ok(()),
        }
    }

    /// Keeps other processes from replacing the session as long as the lock is held; none if another has it all the time.
    /// The system takes it from a process that dies.
    pub async fn lock(&self, within: Duration) -> Result<Option<SessionLock>, Error> {
        let path = self.path.with_extension("lock");
        let failed = || Error::io(format!("locking {}", path.display()));
        self.make_directory().map_err(failed())?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed())?;
        let deadline = Instant::now() + within;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(SessionLock(file))),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(LOOK_EVERY).await,
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(reason)) => return Err(failed()(reason)),
            }
        }
    }

    fn make_directory(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), whole_file::private_directory)
    }
}

/// Released when it is dropped.
pub struct SessionLock(#[allow(dead_code, reason = "holds the lock")] File);

/// The server of the last login; none: nobody has signed in.
pub fn last_server() -> Result<Option<String>, Error> {
    let path = config_dir()?.join("server");
    match read(&path) {
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(Error::io(format!("reading {}", path.display()))(reason)),
        Ok(bytes) => {
            Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()).filter(|text| !text.is_empty()))
        }
    }
}

/// Makes a server the one that is meant where none is named.
pub fn set_last_server(server: &str) -> Result<(), Error> {
    let directory = config_dir()?;
    let path = directory.join("server");
    let text = format!("{server}\n");
    let written = whole_file::private_directory(&directory)
        .and_then(|()| whole_file::write(&path, text.as_bytes(), whole_file::PRIVATE));
    written.map_err(Error::io(format!("writing {}", path.display())))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, BYTES_MAX), &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(life: Duration) -> Saved {
        let received_at = Timestamp::from_micros(1_700_000_000_000_000);
        Saved {
            server: "http://127.0.0.1:9000".to_owned(),
            user: "alice".to_owned(),
            access_token: String::new(),
            kept: Kept::RefreshToken(String::new()),
            keep_in: KeepIn::Auto,
            received_at,
            expires_at: received_at.plus(life),
            ca_file: None,
            refreshing: None,
        }
    }

    #[test]
    fn a_token_is_fresh_while_it_lives_longer_than_clients_keep_it() {
        let hour = session(Duration::from_hours(1));
        let after = |minutes| hour.received_at.plus(Duration::from_mins(minutes));
        assert!(hour.is_fresh(after(0)) && hour.is_fresh(after(49)));
        assert!(!hour.is_fresh(after(51)), "a client would keep it beyond its end");
        assert!(!hour.is_fresh(hour.received_at.minus(Duration::from_mins(1))), "the clock was set back");
        let short = session(Duration::from_secs(6));
        assert!(short.is_fresh(short.received_at.plus(Duration::from_secs(3))));
        assert!(!short.is_fresh(short.received_at.plus(Duration::from_secs(5))));
        assert_eq!(short.left(short.received_at.plus(Duration::from_secs(9))), Duration::ZERO);
    }
}
