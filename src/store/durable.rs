//! A commit that survives the death of the machine.

use sea_orm::sqlx::sqlite::SqliteSynchronous;
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};

use crate::store::{Error, Store, open};

/// Says nothing, but has to change something: SQLite writes and syncs no commit that leaves every page as it was.
const TICK: &str = "INSERT INTO meta (key, value) VALUES ('durable', 'tick') ON CONFLICT (key) DO UPDATE \
    SET value = CASE meta.value WHEN 'tick' THEN 'tock' ELSE 'tick' END";

impl Store {
    /// Takes what was committed so far to the disk with one more commit, so that it survives the death of the machine
    /// as well. With `synchronous = "full"`, and on a server, every commit does so by itself. Costs an `fsync`.
    pub async fn make_durable(&self) -> Result<(), Error> {
        let Some(embedded) = &self.embedded else { return Ok(()) };
        let _permit = embedded.write_lock.next().await?;
        let options = open::plain(&embedded.file).synchronous(SqliteSynchronous::Full);
        let mut connection = options.connect().await?;
        sqlx::query(TICK).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }
}
