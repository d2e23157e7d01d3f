//! Files of SQLite that are not used any more: they are kept, under a name that says why and since when.

use std::path::{Path, PathBuf};

use super::error::Error;
use crate::domain::clock::{Clock, SystemClock};

/// Renames a database's file, and what belongs to it, to `FILE.WHY-DAY`. Nothing is there: nothing is to be done.
pub(super) fn keep_aside(path: &Path, why: &str) -> Result<Vec<PathBuf>, Error> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let day = SystemClock.now().to_string().chars().take(10).collect::<String>();
    let names = (1..).map(|number| match number {
        1 => with_suffix(path, &format!(".{why}-{day}")),
        _ => with_suffix(path, &format!(".{why}-{day}-{number}")),
    });
    let Some(kept) = names.into_iter().find(|name| !name.exists()) else { return Ok(Vec::new()) };
    // What closing did not fold into the file. It goes first: a file without it would be older than it is.
    for side in ["-wal", "-shm"] {
        let (side_file, kept_side) = (with_suffix(path, side), with_suffix(&kept, side));
        if side_file.is_file() {
            std::fs::rename(side_file, kept_side)?;
        }
    }
    std::fs::rename(path, &kept)?;
    Ok(vec![kept])
}

/// A path with something behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
