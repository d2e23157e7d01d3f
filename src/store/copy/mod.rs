//! A leader's whole database moves to the other engine: SQLite to PostgreSQL, or back.
//!
//! Which tables there are, and which columns they have, is what both schemas say, so that no table can be forgotten. Rows
//! go over in the order of their primary keys, a chunk in a transaction; nobody else writes into either database
//! meanwhile. So the rows that the target has of a table are the first ones of the source, and a copy that was broken off
//! goes on behind them. What a database is in a copy stands in its own `meta` ([`marks`]), in an order that lets at most one
//! of the two be served at any moment.

mod chunk;
mod marks;
mod schema;
mod sums;

use futures_util::TryStreamExt;
use sea_orm::sqlx::{self, AssertSqlSafe};
use sea_orm::{ConnectionTrait as _, Statement};
use uuid::Uuid;

use crate::domain::ids::NodeId;
use crate::store::{Error, MetaKey, MetaRepo, Store, columns};
use chunk::Chunk;
use marks::CopyMark;
use schema::Table;
pub use schema::table_names;
pub use sums::TableSums;

/// Rows in a transaction of the target.
const CHUNK_ROWS: usize = 2_000;

/// A copy at work. Both databases are this process's alone as long as it is.
#[derive(Debug)]
pub struct DatabaseCopy<'s> {
    from: &'s Store,
    to: &'s Store,
    tables: Vec<Table>,
    is_resumed: bool,
}

#[derive(Debug)]
pub enum CopyStart<'s> {
    Begun(DatabaseCopy<'s>),
    /// All of it was moved to this very target before.
    Done,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug)]
pub struct CopyProgress<'t> {
    pub table: &'t str,
    /// Rows of that table.
    pub copied: u64,
    pub rows: u64,
    /// Rows of all tables.
    pub all_copied: u64,
    pub all_rows: u64,
}

impl<'s> DatabaseCopy<'s> {
    /// Begins a copy of `from` into `to`, which is empty, or goes on with one that was broken off. `source` is `from` in
    /// words, without secrets.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when there is nothing to copy, when it was moved elsewhere, or when `to` holds anything else,
    /// and what the databases say.
    pub async fn begin(from: &'s Store, to: &'s Store, source: &str) -> Result<CopyStart<'s>, Error> {
        let ledger = marks::ledger_to_move(from).await?;
        let moved_to = MetaRepo::on(from).get(MetaKey::MovedTo).await?;
        let mark = CopyMark::of(to).await?;
        if let (Some(moved_to), None) = (&moved_to, &mark) {
            let held = MetaRepo::on(to).get(MetaKey::LedgerId).await?;
            if held.as_deref() == Some(ledger.as_str()) {
                return Ok(CopyStart::Done);
            }
            return Err(Error::Unsupported(format!(
                "{source} was moved to {moved_to} already: what has changed since is there"
            )));
        }
        let tables = schema::tables_of_both(from, to).await?;
        let copied_to = MetaRepo::on(from).get(MetaKey::CopiedTo).await?;
        let is_resumed = match mark {
            Some(mark) if mark.ledger != ledger => {
                return Err(Error::Unsupported(format!(
                    "the target holds a part of another database ({}): give it an empty one",
                    mark.from
                )));
            }
            // A node that was started on the source since has removed the mark there: the copy is out of date.
            Some(mark) if copied_to == Some(mark.id.to_string()) => true,
            Some(_) => false,
            None => {
                refuse_rows(to, &tables).await?;
                false
            }
        };
        if !is_resumed {
            begin_anew(from, to, &tables, ledger, source).await?;
        }
        Ok(CopyStart::Begun(Self { from, to, tables, is_resumed }))
    }

    /// Whether it goes on with what an earlier process has copied.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Copies what is missing, and tells how far it is after every chunk.
    ///
    /// # Errors
    /// What the databases say; what was copied stays, and [`Self::begin`] goes on behind it.
    pub async fn run(&self, mut tell: impl FnMut(CopyProgress<'_>)) -> Result<(), Error> {
        let mut plan = Vec::new();
        for table in &self.tables {
            plan.push((table, self.from.count_rows(table).await?, self.to.count_rows(table).await?));
        }
        let all_rows = plan.iter().map(|(_, rows, _)| rows).sum();
        let mut all_copied = plan.iter().map(|(.., copied)| copied).sum();
        for (table, rows, mut copied) in plan {
            let mut told = |copied, all_copied| {
                tell(CopyProgress { table: &table.name, copied, rows, all_copied, all_rows });
            };
            told(copied, all_copied);
            let mut chunk = Chunk::of(table);
            let sql = table.select_after(copied);
            macro_rules! copy_from {
                ($pool:expr) => {{
                    let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch($pool);
                    while let Some(row) = rows.try_next().await? {
                        chunk.push(&row)?;
                        if chunk.rows() == CHUNK_ROWS {
                            self.to.write_chunk(table, &mut chunk).await?;
                            copied += CHUNK_ROWS as u64;
                            all_copied += CHUNK_ROWS as u64;
                            told(copied, all_copied);
                        }
                    }
                }};
            }
            if self.from.is_embedded() {
                copy_from!(self.from.reader.get_sqlite_connection_pool());
            } else {
                copy_from!(self.from.reader.get_postgres_connection_pool());
            }
            let left = chunk.rows() as u64;
            if left > 0 {
                self.to.write_chunk(table, &mut chunk).await?;
                (copied, all_copied) = (copied + left, all_copied + left);
                told(copied, all_copied);
            }
        }
        Ok(())
    }

    /// Counts and adds up every table on both sides; the answer is what both have.
    ///
    /// # Errors
    /// [`Error::Failed`] when they differ, with every table that does: then the next copy begins anew. What the databases
    /// say.
    pub async fn check(&self) -> Result<Vec<TableSums>, Error> {
        let (mut same, mut differ) = (Vec::new(), Vec::new());
        for table in &self.tables {
            let (theirs, ours) = (self.from.sums(table).await?, self.to.sums(table).await?);
            if theirs == ours {
                same.push(ours);
            } else {
                differ.push(theirs.difference(&ours));
            }
        }
        if differ.is_empty() {
            return Ok(same);
        }
        MetaRepo::on(self.from).unset(MetaKey::CopiedTo).await?;
        Err(Error::Failed(format!(
            "the copy is not what it was made of, and is not used: {}. Run it again: it begins anew",
            differ.join("; ")
        )))
    }

    /// The source is served no more: `target` is, in words. To be done when the copy is complete and right.
    ///
    /// # Errors
    /// What the database says; then the source is still what is served.
    pub async fn leave_source(&self, target: &str) -> Result<(), Error> {
        let tx = self.from.begin().await?;
        MetaRepo::on(&tx).set(MetaKey::MovedTo, target).await?;
        tx.commit().await.map(drop)
    }

    /// The target becomes the ledger that the source was, and can be served. On SQLite it is `node`'s alone.
    ///
    /// # Errors
    /// What the databases say; to be repeated.
    pub async fn finish(&self, node: Option<&NodeId>, former: Option<&str>) -> Result<(), Error> {
        if !self.to.is_embedded() {
            // What its planner goes by, after everything was written at once.
            self.to.execute("ANALYZE").await?;
        }
        marks::hand_over(self.from, self.to, node, former).await
    }
}

/// Makes the target as empty as it was, and notes on both sides that a copy has begun. Until both notes are there, the next
/// copy begins anew.
async fn begin_anew(
    from: &Store,
    to: &Store,
    tables: &[Table],
    ledger: String,
    source: &str,
) -> Result<(), Error> {
    let mark = CopyMark { id: Uuid::new_v4(), ledger, from: source.to_owned() };
    mark.write(to).await?;
    for table in tables {
        to.execute(&table.delete_all()).await?;
    }
    MetaRepo::on(from).set(MetaKey::CopiedTo, &mark.id.to_string()).await
}

async fn refuse_rows(to: &Store, tables: &[Table]) -> Result<(), Error> {
    let mut holds = Vec::new();
    if let Some(ledger) = MetaRepo::on(to).get(MetaKey::LedgerId).await? {
        holds.push(format!("the ledger {ledger}"));
    }
    for table in tables {
        match to.count_rows(table).await? {
            0 => {}
            rows => holds.push(format!("{rows} rows of {}", table.name)),
        }
    }
    if holds.is_empty() {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "the target is in use by another sproxy, or was: it holds {}. Give it an empty database",
        holds.join(", ")
    )))
}

impl Store {
    async fn execute(&self, sql: &str) -> Result<(), Error> {
        let _permit = self.permit().await?;
        self.writer.execute_unprepared(sql).await?;
        Ok(())
    }

    async fn count_rows(&self, table: &Table) -> Result<u64, Error> {
        let statement = Statement::from_string(self.backend(), table.count());
        let row = self.writer.query_one_raw(statement).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0))?;
        Ok(columns::counted(count))
    }
}
