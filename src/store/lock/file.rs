//! A file that one process at a time holds, and that says which.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use super::holder::host_name;

/// A file that is this process's until it is dropped.
#[derive(Debug)]
pub struct FileLock(#[allow(dead_code, reason = "the lock goes with it")] File);

/// Why a file is not this process's.
#[derive(Debug)]
pub enum Taken {
    By(String),
    /// The system does not let it be opened or locked.
    Failed(String),
}

impl FileLock {
    /// Takes the file at `path`, which is made where it is missing.
    pub fn acquire(path: &Path) -> Result<Self, Taken> {
        let failed = |error: io::Error| Taken::Failed(format!("{}: {error}", path.display()));
        let mut options = File::options();
        let mut file =
            options.create(true).truncate(false).read(true).write(true).open(path).map_err(failed)?;
        match lock_with_retries(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                return Err(Taken::By(if known {
                    format!("process {}", holder.trim())
                } else {
                    "another process".to_owned()
                }));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // For people, and for the message above.
        let holder = format!("{} on {}", std::process::id(), host_name());
        let noted = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{holder}"));
        noted.map_err(failed)?;
        Ok(Self(file))
    }

    /// Whether a process holds the file at `path`.
    #[must_use]
    pub fn is_held(path: &Path) -> bool {
        let Ok(file) = File::open(path) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

/// Retries: a command that only checks whether a node runs holds the lock for a moment.
fn lock_with_retries(file: &File) -> Result<(), TryLockError> {
    for _ in 0..10 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            other => return other,
        }
    }
    file.try_lock()
}
