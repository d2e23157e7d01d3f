//! What a database holds, in numbers, and whether it is whole: for whoever is about to put a copy in its place.

use sea_orm::{ConnectionTrait as _, Statement};

use crate::domain::clock::Timestamp;
use crate::store::usage::SUMS;
use crate::store::{Error, MetaKey, MetaRepo, Store, UsageRepo};

/// What a database holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its ledger; none: it never led.
    pub ledger: Option<String>,
    /// Whose it is.
    pub node: Option<String>,
    pub users: u64,
    pub groups: u64,
    pub keys: u64,
    pub usage_logs: u64,
    /// When the newest usage log was made.
    pub newest_log: Option<Timestamp>,
    /// In the totals, which outlive usage logs.
    pub requests: u64,
    pub cost_nanousd: i64,
}

impl Store {
    /// Counts what is there. Grows with it.
    ///
    /// # Errors
    /// [`Error`] of the database.
    pub async fn contents(&self) -> Result<Contents, Error> {
        let meta = MetaRepo::on(self);
        let totals = UsageRepo::on(self).global_sum_tokens(Timestamp::MIN, Timestamp::MAX).await?;
        Ok(Contents {
            ledger: meta.get(MetaKey::LedgerId).await?,
            node: meta.get(MetaKey::NodeId).await?,
            users: self.count_of("users").await?,
            groups: self.count_of("groups").await?,
            keys: self.count_of("api_keys").await?,
            usage_logs: self.count_of("usage_logs").await?,
            newest_log: UsageRepo::on(self).newest_time().await?,
            requests: totals.request_count,
            cost_nanousd: totals.cost_nanousd,
        })
    }

    async fn count_of(&self, table: &str) -> Result<u64, Error> {
        let count = self.integer(&format!("SELECT COUNT(*) FROM {table}")).await?;
        u64::try_from(count).map_err(|error| Error::unreadable(table, error))
    }

    async fn integer(&self, sql: &str) -> Result<i64, Error> {
        let row = self.reader.query_one_raw(Statement::from_string(self.backend(), sql)).await?;
        let row = row.ok_or_else(|| Error::Failed(format!("no answer to {sql}")))?;
        Ok(row.try_get_by_index(0)?)
    }

    /// Whether a SQLite database is whole: its pages and indexes, the rows that others refer to, and its two sums of the
    /// same usage. Reads all of it.
    ///
    /// # Errors
    /// [`Error::Damaged`] with what is wrong.
    pub async fn check(&self) -> Result<(), Error> {
        for (sql, sound) in [("PRAGMA integrity_check(3)", Some("ok")), ("PRAGMA foreign_key_check", None)] {
            let rows = self.reader.query_all_raw(Statement::from_string(self.backend(), sql)).await?;
            let said: Vec<String> =
                rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
            let is_sound = match sound {
                Some(sound) => said == [sound],
                None => said.is_empty(),
            };
            if !is_sound {
                return Err(Error::Damaged(format!("{sql}: {}", said.join("; "))));
            }
        }
        for column in SUMS {
            let of = |table: &str| format!("SELECT COALESCE(SUM({column}), 0) FROM {table}");
            let (by_user, by_node) =
                (self.integer(&of("usage_rollups")).await?, self.integer(&of("usage_totals")).await?);
            if by_user != by_node {
                return Err(Error::Damaged(format!(
                    "its two sums of {column} differ: {by_user} by user, {by_node} by node"
                )));
            }
        }
        Ok(())
    }
}
