//! `/admin/v1/backup`: a consistent copy of this node's database, while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::domain::failure::{Failure, Kind};
use crate::http::input::Admin;
use crate::http::problem::{ApiResult, ReadErrors};
use crate::http::state::ControlState;

const PIECE: usize = 64 * 1024;
const NAME_START: &str = "backup-";
const NAME_END: &str = ".part";

/// Removes the copy when the answer is over, whichever way it ends.
struct BackupFile {
    path: PathBuf,
    _permit: OwnedSemaphorePermit,
}

impl Drop for BackupFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a backup's copy could not be removed");
        }
    }
}

/// Download a consistent copy of this node's database (SQLite). It holds password hashes and the signing key: keep it
/// as safe as the node itself. One at a time.
#[utoipa::path(get, path = "/admin/v1/backup", tag = "backup",
    responses((status = 200, description = "The database, a consistent copy", content_type = "application/vnd.sqlite3", body = Vec<u8>),
        (status = 409, description = "Not with PostgreSQL: use pg_dump", content_type = "application/problem+json",
         body = crate::http::problem::Problem), ReadErrors))]
pub async fn download(
    State(state): State<ControlState>,
    _: Admin,
    one_at_a_time: Arc<Semaphore>,
) -> ApiResult<Response> {
    let permit = one_at_a_time.try_acquire_owned();
    let permit =
        permit.map_err(|_| Failure::new(Kind::Unavailable, "another backup is running: try again later"))?;
    remove_leftovers(&state.data_dir);
    let path = state.data_dir.join(format!("{NAME_START}{}{NAME_END}", Uuid::now_v7()));
    let copy = BackupFile { path, _permit: permit };
    let store = state.store.clone();
    // Once begun the copy is made, even when its caller hangs up meanwhile; it is removed then, and not before: what
    // is removed while SQLite still writes it would come back.
    #[allow(
        clippy::disallowed_methods,
        reason = "waited for below, unless the caller hangs up; then it removes its copy"
    )]
    let made = tokio::spawn(async move { store.backup(&copy.path).await.map(|()| copy) });
    let copy = made.await.map_err(|error| Failure::new(Kind::Internal, format!("backup: {error}")))??;
    let unreadable = |error: std::io::Error| Failure::new(Kind::Internal, format!("backup: {error}"));
    let file = File::open(&copy.path).await.map_err(unreadable)?;
    let length = file.metadata().await.map_err(unreadable)?.len();
    let pieces = stream::try_unfold((file, copy), |(mut file, copy)| async move {
        let mut piece = Vec::with_capacity(PIECE);
        let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece).await?;
        Ok::<_, std::io::Error>((read > 0).then(|| (Bytes::from(piece), (file, copy))))
    });
    let head = [
        (header::CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((head, Body::from_stream(pieces)).into_response())
}

/// A process that was killed during a backup left its copy behind.
fn remove_leftovers(data_dir: &Path) {
    for entry in std::fs::read_dir(data_dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(NAME_START) && name.to_string_lossy().ends_with(NAME_END) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
