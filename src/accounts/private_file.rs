//! Files with secrets in the data directory: readable by their owner alone, whole or not there.

#[cfg(unix)]
use std::fs::File;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// Writes `text` beside the file and moves it there, so that nobody ever reads half of it. It survives the death of the
/// machine.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    match std::fs::remove_file(&aside) {
        Err(reason) if reason.kind() != io::ErrorKind::NotFound => return Err(reason),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(aside, path)?;
    sync_directory(path)
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

/// Makes a file that others can read or write its owner's alone; true if it was not.
#[cfg(unix)]
pub fn make_private(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let was_open = std::fs::metadata(path)?.permissions().mode() & 0o077 != 0;
    if was_open {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(was_open)
}

#[cfg(not(unix))]
pub fn make_private(_: &Path) -> io::Result<bool> {
    Ok(false)
}
