//! Where the files of a SQLite database are. A process goes on writing into files that were removed or replaced, says
//! that all is well, and everything is gone when it ends.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::store::Error;

/// The database's file and its write-ahead log, identified when they were first seen. Clones share the identity.
#[derive(Clone, Debug)]
pub(super) struct DatabaseFiles(Arc<[Watched; 2]>);

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// Which file it is; the log is made by the first write.
    seen: OnceLock<Identity>,
}

/// Device and inode.
type Identity = (u64, u64);

impl DatabaseFiles {
    /// The files of the database at `path`, which is open.
    pub(super) fn of(path: &Path) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let place =
            Self(Arc::new([path.to_owned(), log.into()].map(|path| Watched { path, seen: OnceLock::new() })));
        let _missing = place.0[0].check();
        place
    }

    /// Looks at both files: two calls of the system.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with what is wrong.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.0.iter().try_for_each(Watched::check)
    }
}

impl Watched {
    fn check(&self) -> Result<(), Error> {
        let wrong = |how: &str| {
            Err(Error::Unavailable(format!(
                "{} {how} while the node runs: put it back, or restart the node",
                self.path.display()
            )))
        };
        match (identity(&self.path), self.seen.get()) {
            (Ok(there), Some(seen)) if there == *seen => Ok(()),
            (Ok(_), Some(_)) => wrong("was replaced"),
            (Ok(there), None) => {
                self.seen.get_or_init(|| there);
                Ok(())
            }
            (Err(error), Some(_)) if error.kind() == io::ErrorKind::NotFound => wrong("was removed"),
            (Err(error), _) if error.kind() != io::ErrorKind::NotFound => {
                wrong(&format!("cannot be looked at ({error})"))
            }
            (Err(_), _) => Ok(()),
        }
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Identity> {
    std::fs::metadata(path).map(|_| (0, 0))
}
