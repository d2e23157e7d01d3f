//! Files that are whole or not there: written beside their place and moved into it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::crypto::secret_text;

/// Readable by their owner alone.
pub const PRIVATE: u32 = 0o600;

/// Writes a file that survives the death of the machine. A link stays one: what it points to is written.
pub fn write(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let aside = aside(&path)?;
    let written = write_new(&aside, text, mode).and_then(|()| fs::rename(&aside, &path));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written.and_then(|()| sync_directory(&path))
}

/// Makes a directory, and those above it, that others cannot look into.
pub fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The file's permissions; those of a private file for one that is not there.
#[must_use]
pub fn mode(path: &Path) -> u32 {
    #[cfg(unix)]
    if let Ok(metadata) = fs::metadata(path) {
        return std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
    }
    let _ = path;
    PRIVATE
}

fn aside(path: &Path) -> io::Result<PathBuf> {
    let random = secret_text::random(8).map_err(io::Error::other)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{random}.new"));
    Ok(name.into())
}

fn write_new(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, PRIVATE);
    let mut file = options.open(path)?;
    file.write_all(text)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    #[cfg(not(unix))]
    let _ = mode;
    file.sync_all()
}

/// A name is in its directory for good once that is synced, too.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
