//! One process for a data directory: a second one would go by its own memory of keys, limits and quotas.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

const FILE: &str = "sproxy.lock";

/// Takes a data directory for this process, until the file is dropped or the process ends, in whatever way.
///
/// # Errors
/// Which process has it, or why it cannot be taken, as a sentence.
pub fn take(data_dir: &Path) -> Result<File, String> {
    let path = data_dir.join(FILE);
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let mut options = File::options();
    let mut file = options.create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
    match patiently(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder =
                if known { format!("process {}", holder.trim()) } else { "another process".to_owned() };
            return Err(format!(
                "node.data_dir {} is in use by {holder}: stop that, or give this node a directory of its own",
                data_dir.display()
            ));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // For people, and for the message above.
    let noted =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(failed)?;
    Ok(file)
}

/// A command that only looks whether a node runs here holds the lock for a moment.
fn patiently(file: &File) -> Result<(), TryLockError> {
    for _ in 0..10 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            other => return other,
        }
    }
    file.try_lock()
}

/// Whether a process has taken a data directory.
#[must_use]
pub fn is_taken(data_dir: &Path) -> bool {
    let Ok(file) = File::open(data_dir.join(FILE)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}
