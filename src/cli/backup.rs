//! `sproxy backup`: a consistent copy of a running node's database.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tokio::fs::{self, OpenOptions};
use tokio::io::AsyncWriteExt;

use super::client::{Query, Stream};
use super::error::Error;
use super::output::note;
use super::session::Session;

/// A consistent copy of a running node's database, taken while it works
#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(flatten)]
    session: Session,
    /// Where to put it; a file that is there is replaced once the copy is complete
    file: PathBuf,
}

/// Bytes between two signs of progress.
const PROGRESS_STEP: u64 = 16 << 20;

///
/// # Errors
/// The node's refusal, or a file that cannot be written. What was at the place of the file is then still there.
pub async fn run(args: BackupArgs) -> Result<(), Error> {
    let (client, output) = (args.session.client()?, args.session.output());
    let stream = client.stream(&["admin", "v1", "backup"], &Query::new()).await?;
    let mut name = args.file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = args.file.with_file_name(name);
    let written = match write(&part, stream).await {
        Ok(written) => written,
        Err(reason) => {
            // Half a database is worse than none.
            let _ = fs::remove_file(&part).await;
            return Err(reason);
        }
    };
    fs::rename(&part, &args.file).await.map_err(Error::io(args.file.display().to_string()))?;
    let file = args.file.display().to_string();
    output.done(&json!({ "file": file, "bytes": written }), &format!("{file}: {written} bytes"))
}

async fn write(path: &Path, mut stream: Stream) -> Result<u64, Error> {
    let wrong = |reason| Error::io(path.display().to_string())(reason);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    // Digests and usage are nobody else's business.
    #[cfg(unix)]
    options.mode(0o600);
    let mut file = options.open(path).await.map_err(wrong)?;
    let progress = std::io::stderr().is_terminal();
    let mut written = 0;
    while let Some(piece) = stream.piece().await? {
        file.write_all(&piece).await.map_err(wrong)?;
        let before = written / PROGRESS_STEP;
        written += piece.len() as u64;
        if progress && written / PROGRESS_STEP > before {
            note(&format!("{} MiB", written >> 20));
        }
    }
    file.flush().await.map_err(wrong)?;
    file.sync_all().await.map_err(wrong)?;
    Ok(written)
}
