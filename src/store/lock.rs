//! One process for a database, for as long as it lives: a second one would go by its own memory of keys, limits and
//! quotas. Only leaders on PostgreSQL share theirs, and keep it from those who do not. On SQLite a lock on a file beside the database, on PostgreSQL one that a session holds.

mod file;
mod holder;
mod session;

use std::path::{Path, PathBuf};

pub use file::{FileLock, Taken};
use holder::in_use;
use session::Session;
pub use session::Sharing;

use crate::store::{Error, Location};

/// The right of this process to the database, until it is dropped or the process ends, in whatever way.
#[derive(Debug)]
pub struct DatabaseLock(Held);

#[derive(Debug)]
enum Held {
    File(#[allow(dead_code, reason = "held, and given back by its drop")] FileLock),
    Session(Box<Session>),
}

impl DatabaseLock {
    /// Takes the database at `location`; a file is never shared. A session of PostgreSQL whose process may be gone is waited for: a server does
    /// not always notice at once.
    ///
    /// # Errors
    /// [`Error::InUse`] with who has it, [`Error::Unavailable`] when it cannot be reached.
    pub async fn acquire(location: &Location, sharing: Sharing) -> Result<Self, Error> {
        match location {
            Location::Sqlite { path, .. } => acquire_file(path).map(Held::File).map(Self),
            Location::Postgres { url } => {
                Ok(Self(Held::Session(Box::new(Session::acquire(url, sharing).await?))))
            }
        }
    }

    /// Keeps the lock, also after the server was away. Returns only when another process has the database, and says which.
    pub async fn keep(&self) -> Error {
        match &self.0 {
            Held::File(_) => std::future::pending().await,
            Held::Session(session) => session.keep().await,
        }
    }

    /// Who else may have the database now; `None` if this process has it or the server is away.
    #[must_use]
    pub fn rival(&self) -> Option<String> {
        match &self.0 {
            Held::File(_) => None,
            Held::Session(session) => session.rival(),
        }
    }
}

/// Beside the database's file, which SQLite itself locks: closing it here would give up the locks of SQLite there.
fn acquire_file(path: &Path) -> Result<FileLock, Error> {
    // A database that is yet to be made has no other name. Its directory is missing: what opens it says so.
    let file = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut lock = file.into_os_string();
    lock.push(".lock");
    FileLock::acquire(&PathBuf::from(lock)).map_err(|taken| match taken {
        Taken::By(holder) => Error::InUse(in_use(&path.display().to_string(), &holder)),
        Taken::Failed(said) => Error::Unavailable(said),
    })
}
