//! One process for a data directory: a second one would go by its own memory of keys, limits and quotas.

use std::path::Path;

use crate::store::{FileLock, Taken};

const FILE: &str = "sproxy.lock";

/// Takes a data directory for this process, until the lock is dropped or the process ends, in whatever way.
///
/// # Errors
/// Which process has it, or why it cannot be taken, as a sentence.
pub fn take(data_dir: &Path) -> Result<FileLock, String> {
    FileLock::acquire(&data_dir.join(FILE)).map_err(|taken| match taken {
        Taken::By(holder) => format!(
            "node.data_dir {} is in use by {holder}: stop that, or give this node a directory of its own",
            data_dir.display()
        ),
        Taken::Failed(said) => said,
    })
}

/// Whether a process has taken a data directory.
#[must_use]
pub fn is_taken(data_dir: &Path) -> bool {
    FileLock::is_held(&data_dir.join(FILE))
}
