//! Usage's own connections to SQLite. A statement through the pool of connections costs two switches of threads, and a
//! row that is read this way one of them: more than SQLite itself needs for a row. Here a whole batch is one visit of
//! one thread to a connection.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use tokio::task::spawn_blocking;

use crate::store::Error;
use crate::store::write_lock::{BUSY_TIMEOUT, WritePermit};

/// What the connections keep of the database in memory: 4 and 1 MB, in SQLite's way to say so. New rows go to the ends
/// of the tables and of the indexes, so that more would hardly be read again.
const WRITER_CACHE: (&str, &str) = ("cache_size", "-4096");
const READER_CACHE: (&str, &str) = ("cache_size", "-1024");

/// One connection that writes, and one that reads meanwhile. Clones share them.
#[derive(Clone, Debug)]
pub struct Connections {
    writer: BlockingConnection,
    reader: BlockingConnection,
}

impl Connections {
    /// Opens the existing database in `file`.
    pub fn open(file: &Path, settings: &[(&str, &str)]) -> Result<Self, Error> {
        let writer = BlockingConnection::open(file, settings.iter().chain(&[WRITER_CACHE]))?;
        let reader =
            BlockingConnection::open(file, settings.iter().chain(&[READER_CACHE, ("query_only", "ON")]))?;
        Ok(Self { writer, reader })
    }

    /// Writes during `permit`. Once begun it is carried out, even when nobody waits for it any more.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        permit: WritePermit,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.writer
            .with(move |connection| {
                let done = work(connection);
                drop(permit);
                done
            })
            .await
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.reader.with(work).await
    }

    /// Closes the connections once they are idle.
    pub async fn close(&self) {
        for connection in [&self.reader, &self.writer] {
            connection.close().await;
        }
    }
}

/// A connection that one thread at a time works on.
#[derive(Clone, Debug)]
struct BlockingConnection(Arc<Mutex<Option<Connection>>>);

impl BlockingConnection {
    fn open<'a>(file: &Path, settings: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        for (name, value) in settings {
            connection.execute_batch(&format!("PRAGMA {name} = {value}"))?;
        }
        Ok(Self(Arc::new(Mutex::new(Some(connection)))))
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = Arc::clone(&self.0);
        let visit = spawn_blocking(move || match connection.lock().as_mut() {
            Some(connection) => work(connection),
            None => Err(Error::Unavailable("it is closed".to_owned())),
        });
        visit.await.unwrap_or_else(|broken| Err(Error::Unavailable(broken.to_string())))
    }

    async fn close(&self) {
        let connection = Arc::clone(&self.0);
        let closing = spawn_blocking(move || drop(connection.lock().take()));
        if let Err(error) = closing.await {
            tracing::warn!(%error, "a connection for usage did not close cleanly");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_is_built_so_that_connections_do_not_take_each_others_cache() {
        let connection = Connection::open_in_memory().expect("opens");
        let mut options = connection.prepare("PRAGMA compile_options").expect("prepared");
        let options: Vec<String> =
            options.query_map((), |row| row.get(0)).and_then(Iterator::collect).expect("options");
        assert!(!options.iter().any(|option| option == "ENABLE_MEMORY_MANAGEMENT"), "see .cargo/config.toml");
    }
}
