//! A directory for the files of a cluster that lives as long as a command.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::Error;

/// Removed with this value, unless it is to be kept.
pub struct Directory {
    path: PathBuf,
    is_kept: bool,
}

impl Directory {
    /// Below the system's directory for temporary files.
    pub fn new(command: &str) -> Result<Self, Error> {
        let path = std::env::temp_dir().join(format!("sproxy-{command}-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(Error::io(format!("making {}", path.display())))?;
        Ok(Self { path, is_kept: false })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It stays when this value goes.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, directory = %self.path.display(), "a temporary directory is left behind");
        }
    }
}
