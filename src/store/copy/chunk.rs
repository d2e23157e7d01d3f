//! Rows on their way from one database to the other, column by column.

use sea_orm::sqlx::postgres::{PgArguments, PgRow};
use sea_orm::sqlx::sqlite::{SqliteArguments, SqliteRow};
use sea_orm::sqlx::{self, Arguments as _, AssertSqlSafe, Postgres, Row, Sqlite};
use uuid::Uuid;

use super::schema::{Kind, Table};
use crate::store::{Error, Store};

/// Values in one statement of SQLite, which takes 32,766.
const VALUES_MAX: usize = 16_000;

/// Rows of one table.
pub(super) struct Chunk {
    rows: usize,
    columns: Vec<Cells>,
}

pub(super) enum Cells {
    Uuid(Vec<Option<Uuid>>),
    Integer(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Flag(Vec<Option<bool>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

/// A row of either database.
pub(super) trait Readable {
    fn add_to(&self, at: usize, cells: &mut Cells) -> Result<(), sqlx::Error>;
}

macro_rules! readable {
    ($($row:ty),+) => {
        $(impl Readable for $row {
            fn add_to(&self, at: usize, cells: &mut Cells) -> Result<(), sqlx::Error> {
                match cells {
                    Cells::Uuid(values) => values.push(self.try_get(at)?),
                    Cells::Integer(values) => values.push(self.try_get(at)?),
                    Cells::Text(values) => values.push(self.try_get(at)?),
                    Cells::Flag(values) => values.push(self.try_get(at)?),
                    Cells::Bytes(values) => values.push(self.try_get(at)?),
                }
                Ok(())
            }
        })+
    };
}
readable!(SqliteRow, PgRow);

impl Chunk {
    pub(super) fn of(table: &Table) -> Self {
        let columns = table.columns.iter().map(|column| match column.kind {
            Kind::Uuid => Cells::Uuid(Vec::new()),
            Kind::Integer => Cells::Integer(Vec::new()),
            Kind::Text => Cells::Text(Vec::new()),
            Kind::Flag => Cells::Flag(Vec::new()),
            Kind::Bytes => Cells::Bytes(Vec::new()),
        });
        Self { rows: 0, columns: columns.collect() }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a row that has the table's columns in their order.
    pub(super) fn push(&mut self, row: &impl Readable) -> Result<(), Error> {
        for (at, cells) in self.columns.iter_mut().enumerate() {
            row.add_to(at, cells)?;
        }
        self.rows += 1;
        Ok(())
    }

    /// Each column as an array, which empties the chunk.
    fn take_arrays(&mut self) -> Result<PgArguments, Error> {
        let mut arguments = PgArguments::default();
        for cells in &mut self.columns {
            match cells {
                Cells::Uuid(values) => arguments.add(std::mem::take(values)),
                Cells::Integer(values) => arguments.add(std::mem::take(values)),
                Cells::Text(values) => arguments.add(std::mem::take(values)),
                Cells::Flag(values) => arguments.add(std::mem::take(values)),
                Cells::Bytes(values) => arguments.add(std::mem::take(values)),
            }
            .map_err(unbindable)?;
        }
        self.rows = 0;
        Ok(arguments)
    }

    /// The values of some rows, row by row.
    fn values(&self, rows: std::ops::Range<usize>) -> Result<SqliteArguments, Error> {
        let mut arguments = SqliteArguments::default();
        for row in rows {
            for cells in &self.columns {
                match cells {
                    Cells::Uuid(values) => arguments.add(values[row]),
                    Cells::Integer(values) => arguments.add(values[row]),
                    Cells::Text(values) => arguments.add(values[row].clone()),
                    Cells::Flag(values) => arguments.add(values[row]),
                    Cells::Bytes(values) => arguments.add(values[row].clone()),
                }
                .map_err(unbindable)?;
            }
        }
        Ok(arguments)
    }
}

fn unbindable(error: sqlx::error::BoxDynError) -> Error {
    Error::unreadable("a row that is copied", error)
}

impl Store {
    /// Writes all rows of `chunk` in one transaction, and empties it.
    pub(super) async fn write_chunk(&self, table: &Table, chunk: &mut Chunk) -> Result<(), Error> {
        if !self.is_embedded() {
            let kinds = table.columns.iter().enumerate();
            let arrays = kinds.map(|(at, column)| format!("${}::{}[]", at + 1, column.kind.as_str()));
            let arrays = arrays.collect::<Vec<_>>().join(", ");
            // A process that was killed may have left the server a statement that commits late: the same rows.
            let sql = format!("{} SELECT * FROM UNNEST({arrays}) ON CONFLICT DO NOTHING", table.insert());
            let pool = self.writer.get_postgres_connection_pool();
            let arguments = chunk.take_arrays()?;
            sqlx::query_with::<Postgres, _>(AssertSqlSafe(sql), arguments).execute(pool).await?;
            return Ok(());
        }
        let _permit = self.permit().await?;
        let mut tx = self.writer.get_sqlite_connection_pool().begin().await?;
        let width = table.columns.len();
        let row = format!("({})", vec!["?"; width].join(", "));
        let at_once = (VALUES_MAX / width).max(1);
        for first in (0..chunk.rows).step_by(at_once) {
            let rows = first..chunk.rows.min(first + at_once);
            let sql = format!("{} VALUES {}", table.insert(), vec![row.as_str(); rows.len()].join(", "));
            let arguments = chunk.values(rows)?;
            sqlx::query_with::<Sqlite, _>(AssertSqlSafe(sql), arguments).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        *chunk = Chunk::of(table);
        Ok(())
    }
}
