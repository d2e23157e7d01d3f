//! What can go wrong with the database, sorted by what can be done about it.

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

use crate::domain::failure::{Failure, Kind};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name or id that has to be unique is taken, or something is still referred to.
    #[error("{0}")]
    Conflict(String),
    /// The database cannot do it now: locked, out of space, unreachable, shutting down. Trying again can help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// There is no such database, or it does not let this node in: somebody has to change something.
    #[error("the database refuses this node: {0}")]
    Refused(String),
    /// The database rolled the transaction back in favour of another: nothing of it holds, and it can be repeated.
    #[error("the database gave way to another transaction: {0}")]
    RolledBack(String),
    /// The file or the data in it is damaged.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// The database belongs to another program, or to a newer sproxy.
    #[error("{0}")]
    Foreign(String),
    #[error("{0}")]
    InUse(String),
    /// This database cannot do what was asked at all.
    #[error("{0}")]
    Unsupported(String),
    /// A value cannot be stored, or a stored value cannot be read back.
    #[error("{what}: {reason}")]
    Value {
        /// Table and column, or record.
        what: String,
        reason: String,
    },
    /// The database holds fewer batches of a node than were acknowledged to it: it has fallen back.
    #[error("the database holds {held} batches of a node that was acknowledged more")]
    Behind {
        /// The number of batches it holds.
        held: u64,
    },
    /// The node has registered again since, with this leader or another one.
    #[error("what was said belongs to an earlier registration of the node: register")]
    SessionOver,
    /// Anything else the database said: a defect of ours.
    #[error("the database failed: {0}")]
    Failed(String),
}

impl Error {
    /// True when the same call can succeed later: nothing is wrong with the call itself.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Refused(_) | Self::RolledBack(_))
    }

    /// The error for a user or group whose name has to be unique.
    pub(super) fn unless_taken(error: DbErr, kind: &str, name: &str) -> Self {
        match Self::from(error) {
            Self::Conflict(_) => Self::Conflict(format!("a {kind} named {name} exists already")),
            other => other,
        }
    }

    pub(super) fn unreadable(what: &str, reason: impl std::fmt::Display) -> Self {
        Self::Value { what: what.to_owned(), reason: reason.to_string() }
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(what)) => {
                return Self::Conflict(format!("already exists: {what}"));
            }
            Some(SqlErr::ForeignKeyConstraintViolation(what)) => {
                return Self::Conflict(format!("still in use: {what}"));
            }
            _ => {}
        }
        match &error {
            DbErr::Conn(RuntimeErr::SqlxError(inner))
            | DbErr::Exec(RuntimeErr::SqlxError(inner))
            | DbErr::Query(RuntimeErr::SqlxError(inner)) => Self::of_driver(inner),
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Self::Unavailable(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<migrations::Error> for Error {
    fn from(error: migrations::Error) -> Self {
        match error {
            migrations::Error::Database(error) => error.into(),
            migrations::Error::Newer(migration) => Self::Foreign(format!(
                "the database was written by a newer sproxy (it has {migration}): use that version"
            )),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::of_driver(&error)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(failure, _) => {
                Self::of_sqlite(failure.extended_code.cast_unsigned() & 0xff, error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl Error {
    fn of_driver(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                let said = database.message().to_owned();
                if database.is_unique_violation() {
                    return Self::Conflict(format!("already exists: {said}"));
                }
                // SQLite's codes are numbers with at most four digits, PostgreSQL's always have five characters.
                match code.parse::<u32>() {
                    Ok(number) if code.len() < 5 => Self::of_sqlite(number & 0xff, said),
                    _ => Self::of_postgres(&code, said),
                }
            }
            sqlx::Error::ColumnDecode { index, source } => Self::unreadable(index, source),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }

    /// Primary result codes, <https://www.sqlite.org/rescode.html>.
    fn of_sqlite(code: u32, said: String) -> Self {
        match code {
            // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL
            5 | 6 | 7 | 8 | 9 | 10 | 13 | 14 | 15 => Self::Unavailable(said),
            // CORRUPT, NOTADB
            11 | 26 => Self::Damaged(said),
            _ => Self::Failed(said),
        }
    }

    /// Classes of SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    fn of_postgres(code: &str, said: String) -> Self {
        // serialization failure, deadlock
        if matches!(code, "40001" | "40P01") {
            return Self::RolledBack(said);
        }
        // a table, or the type that comes with it: made by somebody else at this very moment
        if matches!(code, "42P07" | "42710") {
            return Self::Conflict(said);
        }
        match code.get(..2).unwrap_or_default() {
            // wrong password, no such database
            "28" | "3D" => Self::Refused(said),
            // connection, rolled back, resources, wrong state, operator, I/O
            "08" | "40" | "53" | "55" | "57" | "58" => Self::Unavailable(said),
            "XX" => Self::Damaged(said),
            _ => Self::Failed(said),
        }
    }
}

impl From<Error> for Failure {
    /// What the database said stays in the log; a caller only learns what kind of failure it is.
    fn from(error: Error) -> Self {
        if !matches!(
            error,
            Error::Conflict(_)
                | Error::InUse(_)
                | Error::Unsupported(_)
                | Error::Behind { .. }
                | Error::SessionOver
        ) {
            tracing::error!(%error, "the database could not do what was asked");
        }
        match error {
            Error::Conflict(message) | Error::InUse(message) | Error::Unsupported(message) => {
                Self::new(Kind::Conflict, message)
            }
            Error::Behind { held } => Self::behind(held),
            Error::SessionOver => Self::new(Kind::NotFound, error.to_string()),
            Error::Value { .. } => {
                Self::new(Kind::Internal, "a stored value cannot be read; see the node's log")
            }
            Error::Unavailable(_) | Error::Refused(_) | Error::RolledBack(_) => {
                Self::new(Kind::Unavailable, "the database is not available; try again")
                    .retry_after(std::time::Duration::from_secs(1))
            }
            Error::Damaged(_) | Error::Foreign(_) | Error::Failed(_) => {
                Self::new(Kind::Internal, "the database failed; see the node's log")
            }
        }
    }
}
