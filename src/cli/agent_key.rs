//! What a client needs to use the agent of this machine: where it listens, and the key of its present life.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::error::Error;
use super::logins::config_dir;
use super::whole_file;
use crate::domain::secret::Secret;

/// Where an agent listens that was not told.
pub const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9009));

/// The agent that runs here, or ran last.
pub struct AgentKey {
    pub address: SocketAddr,
    pub key: Secret,
}

/// The file with nothing in it but the key, for clients that read one.
///
/// # Errors
/// [`Error::Usage`] without a home.
pub fn key_file() -> Result<PathBuf, Error> {
    Ok(config_dir()?.join("agent.key"))
}

fn address_file() -> Result<PathBuf, Error> {
    Ok(config_dir()?.join("agent.address"))
}

impl AgentKey {
    /// # Errors
    /// [`Error::Refused`] when no agent has ever been started.
    pub fn read() -> Result<Self, Error> {
        let none = || Error::Refused("no agent was started on this machine: run `sproxy agent`".to_owned());
        let read = |path: PathBuf| match fs::read_to_string(&path) {
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => Err(none()),
            read => read.map_err(Error::io(format!("reading {}", path.display()))),
        };
        let address = read(address_file()?)?.trim().parse().map_err(|_| none())?;
        Ok(Self { address, key: Secret::new(read(key_file()?)?.trim()) })
    }

    /// Tells clients.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self) -> Result<(), Error> {
        let write = |path: PathBuf, text: &str| {
            let written = whole_file::private_directory(path.parent().unwrap_or(&path))
                .and_then(|()| whole_file::write(&path, text.as_bytes(), whole_file::PRIVATE));
            written.map_err(Error::io(format!("writing {}", path.display())))
        };
        // Without an end of line: some clients take the file as it is.
        write(key_file()?, self.key.expose())?;
        write(address_file()?, &format!("{}\n", self.address))
    }
}
