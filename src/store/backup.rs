//! A consistent copy of a database in use.

use std::path::Path;

use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};

use crate::store::{Embedded, Error, MetaKey, Store, open};

impl Store {
    /// Writes a consistent copy of a SQLite database to `path`, which must not exist, while everything keeps running:
    /// what was committed before the call is in it, what is committed meanwhile is not. Cost grows with the size of
    /// the database. The copy is compact, a node can be started on it, and it is marked as one ([`MetaKey::IsCopy`]).
    ///
    /// # Errors
    /// [`Error::Unsupported`] on PostgreSQL, [`Error::Conflict`] when `path` exists, [`Error::Unavailable`] when it
    /// cannot be written.
    pub async fn backup(&self, path: &Path) -> Result<(), Error> {
        let Some(Embedded { file: database, .. }) = &self.embedded else {
            let message =
                "this node's database is PostgreSQL: back it up with pg_dump, which is consistent as well";
            return Err(Error::Unsupported(message.to_owned()));
        };
        let target = path.to_str().ok_or_else(|| Error::Unavailable("the path is not UTF-8".to_owned()))?;
        // Claims the name, with the same privacy as the database; SQLite takes an empty file for a missing one.
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Conflict(format!("{target} exists already")),
            _ => Error::Unavailable(format!("{target}: {error}")),
        })?;
        let copied = vacuum_into(database, target).await;
        if copied.is_err()
            && let Err(leftover) = std::fs::remove_file(path)
        {
            tracing::warn!(%leftover, path = target, "an unfinished backup could not be removed");
        }
        copied
    }
}

/// On a connection of its own: the writer stays free, and readers may write nowhere. The copy says that it is one.
async fn vacuum_into(database: &Path, target: &str) -> Result<(), Error> {
    let mut connection = open::plain(database).connect().await?;
    sqlx::query("VACUUM INTO $1").bind(target).execute(&mut connection).await?;
    connection.close().await?;
    let mut copy = open::plain(Path::new(target)).connect().await?;
    let mark = "INSERT INTO meta (key, value) VALUES ($1, 'yes') ON CONFLICT (key) DO NOTHING";
    sqlx::query(mark).bind(MetaKey::IsCopy.as_str()).execute(&mut copy).await?;
    Ok(copy.close().await?)
}
