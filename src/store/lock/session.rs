//! A lock of PostgreSQL that a session holds, alone or with others of its kind, on a connection kept for it. It goes with the session: when the process
//! ends, and when the server is restarted or the line breaks. Then it is taken again.
//!
//! Nothing else that is portable goes with a session: a row would stay when a process dies, and one that expires would end
//! nodes whose database was slow. So on an engine without these locks (`CockroachDB`, `YugabyteDB` before 2.25) there is none,
//! and a warning says so. Leaders that share a database do not need it, for no statement of theirs relies on being alone;
//! what it keeps apart are those who do not share: a follower on the database of another, or `sproxy migrate`.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgRow};
use sea_orm::sqlx::{self, ConnectOptions as _, PgConnection, Row as _};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::holder::{host_name, in_use};
use crate::store::Error;
use crate::store::write_lock::BUSY_TIMEOUT;

/// The first half of the lock's key: "sprx". The second half is the schema: each has tables of its own.
const CLASS: i32 = 0x7370_7278;
/// Whose session a lock is, among others of one server: this, the run, the process and its host.
const NAME: &str = "sproxy lock ";
/// The longest `application_name` that PostgreSQL keeps, bytes.
const NAME_BYTES_MAX: usize = 63;
/// So often the session is used. Whoever waits for the lock sees by it that this process lives.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Between two attempts to take the lock.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// How long to wait for a session that shows no activity. The server finds out within [`SERVER_KEEPALIVES`] that the host of
/// its process is gone.
const STALE_MAX: Duration = Duration::from_secs(20);
/// When the server looks whether this process's host is still there: after 5 s of silence, then every 2 s, three times.
const SERVER_KEEPALIVES: [(&str, &str); 3] =
    [("tcp_keepalives_idle", "5"), ("tcp_keepalives_interval", "2"), ("tcp_keepalives_count", "3")];

/// Who else may have the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody.
    Alone,
    /// Others that share it, too.
    Shared,
}

/// The session that holds the lock.
#[derive(Debug)]
pub(super) struct Session {
    options: PgConnectOptions,
    /// Marks the sessions of this process.
    run: String,
    sharing: Sharing,
    connection: tokio::sync::Mutex<Option<PgConnection>>,
    rival: Mutex<Option<String>>,
    /// The server has no such locks.
    is_without: AtomicBool,
}

enum Attempt {
    Taken,
    /// Nobody had it any more when it was looked up, or an earlier session of this process, which is being ended.
    Soon,
    Held(Holder),
}

/// The session that has the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    pid: i32,
    /// When it was last active; `None` if this role may not see that.
    active_at: Option<String>,
    name: String,
}

/// The holder as first observed, and when.
#[derive(Default)]
struct FirstObserved(Option<(Holder, Instant)>);

impl Session {
    pub(super) async fn acquire(url: &str, sharing: Sharing) -> Result<Self, Error> {
        let session = Self::new(url, sharing)?;
        let mut seen = FirstObserved::default();
        loop {
            match session.attempt().await? {
                Attempt::Taken => return Ok(session),
                Attempt::Soon => {}
                Attempt::Held(holder) => {
                    let sentence = session.sentence(&holder);
                    if seen.is_new(&holder) {
                        tracing::warn!("{sentence}; waiting in case that it is gone already");
                    }
                    if seen.is_alive(holder) {
                        return Err(Error::InUse(sentence));
                    }
                }
            }
            sleep(RETRY_EVERY).await;
        }
    }

    fn new(url: &str, sharing: Sharing) -> Result<Self, Error> {
        let run = Uuid::new_v4().simple().to_string()[..8].to_owned();
        let mut name = format!("{NAME}{run} process {} on {}", std::process::id(), host_name());
        name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
        // The driver's own message could repeat the address, password included.
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| Error::Refused("store.url is not a postgres:// address".to_owned()))?
            .application_name(&name)
            .disable_statement_logging();
        let (connection, rival, is_without) = Default::default();
        Ok(Self { options, run, sharing, connection, rival, is_without })
    }

    pub(super) fn rival(&self) -> Option<String> {
        self.rival.lock().clone()
    }

    pub(super) async fn keep(&self) -> Error {
        loop {
            sleep(KEEP_EVERY).await;
            let Err(error) = self.keep_alive().await else { continue };
            tracing::warn!(%error, "the session that holds the lock on the database is gone: taking it again");
            if let Err(lost) = self.reacquire().await {
                return lost;
            }
            tracing::info!("the lock on the database is held again");
        }
    }

    /// Takes the lock again as soon as the server can be reached. Until then this process goes on: nobody can check.
    async fn reacquire(&self) -> Result<(), Error> {
        let mut seen = FirstObserved::default();
        loop {
            match self.attempt().await {
                Ok(Attempt::Taken) => {
                    *self.rival.lock() = None;
                    return Ok(());
                }
                Ok(Attempt::Soon) => {}
                Ok(Attempt::Held(holder)) => {
                    let sentence = self.sentence(&holder);
                    if seen.is_new(&holder) {
                        tracing::error!("{sentence}");
                    }
                    *self.rival.lock() = Some(sentence.clone());
                    if seen.is_alive(holder) {
                        return Err(Error::InUse(sentence));
                    }
                }
                Err(error) => tracing::debug!(%error, "the lock on the database cannot be asked for yet"),
            }
            sleep(RETRY_EVERY).await;
        }
    }

    async fn keep_alive(&self) -> Result<(), Error> {
        let mut connection = self.connection.lock().await;
        let Some(open) = connection.as_mut() else {
            return Err(Error::Unavailable("there is no session".to_owned()));
        };
        let used = within(sqlx::query("SELECT 1").execute(open)).await;
        if used.is_err() {
            *connection = None;
        }
        used.map(drop)
    }

    /// Asks once for the lock. Not while this process has it: a session can have it several times.
    async fn attempt(&self) -> Result<Attempt, Error> {
        let mut connection = self.connection.lock().await;
        let attempt = self.attempt_on(&mut connection).await;
        if attempt.is_err() {
            *connection = None;
        }
        attempt
    }

    async fn attempt_on(&self, connection: &mut Option<PgConnection>) -> Result<Attempt, Error> {
        let open = match connection {
            Some(open) => open,
            None => connection.insert(self.connect().await?),
        };
        if self.is_without.load(Ordering::Relaxed) {
            return Ok(Attempt::Taken);
        }
        let ask = match self.sharing {
            Sharing::Alone => "SELECT pg_try_advisory_lock($1, hashtext(coalesce(current_schema(), '')))",
            Sharing::Shared => {
                "SELECT pg_try_advisory_lock_shared($1, hashtext(coalesce(current_schema(), '')))"
            }
        };
        let asked = match timeout(BUSY_TIMEOUT, sqlx::query(ask).bind(CLASS).fetch_one(&mut *open)).await {
            Ok(Err(sqlx::Error::Database(said))) if lacks_locks(said.code().as_deref()) => {
                if !self.is_without.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "this database has no locks that a session holds: nothing keeps a second sproxy from it that does not \
                         share it (a follower, or sproxy migrate). See to that yourself"
                    );
                }
                return Ok(Attempt::Taken);
            }
            Ok(asked) => asked?,
            Err(_) => return Err(Error::Unavailable("PostgreSQL does not answer".to_owned())),
        };
        if asked.try_get(0)? {
            return Ok(Attempt::Taken);
        }
        let look = "SELECT l.pid, a.state_change::text, a.application_name FROM pg_locks l \
                    LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
                    JOIN pg_database d ON d.oid = l.database AND d.datname = current_database() \
                    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = $1::int4::oid \
                    AND l.objid = hashtext(coalesce(current_schema(), ''))::oid \
                    AND ($2 OR l.mode = 'ExclusiveLock')";
        let row = within(
            sqlx::query(look).bind(CLASS).bind(self.sharing == Sharing::Alone).fetch_optional(&mut *open),
        )
        .await?;
        let Some(holder) = row.map(|row| Holder::of(&row)).transpose()? else { return Ok(Attempt::Soon) };
        if holder.is_run(&self.run) {
            // The server has not noticed yet that the line to it broke.
            let end = sqlx::query("SELECT pg_terminate_backend($1)").bind(holder.pid);
            within(end.execute(&mut *open)).await?;
            return Ok(Attempt::Soon);
        }
        Ok(Attempt::Held(holder))
    }

    async fn connect(&self) -> Result<PgConnection, Error> {
        let mut connection = within(self.options.connect()).await?;
        for (setting, value) in SERVER_KEEPALIVES {
            let set = sqlx::query("SELECT set_config($1, $2, false)").bind(setting).bind(value);
            match timeout(BUSY_TIMEOUT, set.execute(&mut connection)).await {
                // A server that has no such setting notices later that a host is gone.
                Ok(Ok(_) | Err(sqlx::Error::Database(_))) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(Error::Unavailable("PostgreSQL does not answer".to_owned())),
            }
        }
        Ok(connection)
    }

    fn sentence(&self, holder: &Holder) -> String {
        in_use(self.options.get_database().unwrap_or("of PostgreSQL"), &holder.describe())
    }
}

impl Holder {
    fn of(row: &PgRow) -> Result<Self, Error> {
        let name = row.try_get::<Option<String>, _>(2)?.unwrap_or_default();
        Ok(Self { pid: row.try_get(0)?, active_at: row.try_get(1)?, name })
    }

    /// The run, and the process with its host.
    fn marks(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix(NAME)?.split_once(' ')
    }

    fn is_run(&self, run: &str) -> bool {
        self.marks().is_some_and(|(marked, _)| marked == run)
    }

    fn describe(&self) -> String {
        match self.marks() {
            Some((_, process)) => process.to_owned(),
            None => format!("another program (the server's process {})", self.pid),
        }
    }
}

impl FirstObserved {
    fn is_new(&self, holder: &Holder) -> bool {
        self.0.as_ref().is_none_or(|(first, _)| first.pid != holder.pid)
    }

    /// Whether the holder has been active since it was first seen, or has held the lock for so long that it counts as
    /// alive.
    fn is_alive(&mut self, holder: Holder) -> bool {
        match &self.0 {
            Some((first, since)) if first.pid == holder.pid => {
                first.active_at != holder.active_at || since.elapsed() > STALE_MAX
            }
            _ => {
                self.0 = Some((holder, Instant::now()));
                false
            }
        }
    }
}

/// Whether a server says that there is no such function, or that it does not support it: `CockroachDB`'s locks of this form,
/// and those of `YugabyteDB` before 2.25.
fn lacks_locks(code: Option<&str>) -> bool {
    matches!(code, Some("42883" | "0A000"))
}

async fn within<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    let answered = timeout(BUSY_TIMEOUT, asked).await;
    Ok(answered.map_err(|_| Error::Unavailable("PostgreSQL does not answer".to_owned()))??)
}
