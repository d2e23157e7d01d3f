//! Parameters of a statement: on SQLite one by one, on PostgreSQL each a whole column.

use rusqlite::{Statement, ToSql};
use sea_orm::sqlx::postgres::PgArguments;
use sea_orm::sqlx::{self, Arguments as _, Postgres};
use uuid::Uuid;

use crate::store::Error;
use crate::store::usage::rollup::Sums;

/// The parameters of a statement, filled from the first on, by the types that PostgreSQL has for them.
pub(super) struct Values<'s, 'c> {
    statement: &'s mut Statement<'c>,
    filled: usize,
}

impl<'s, 'c> Values<'s, 'c> {
    pub(super) fn of(statement: &'s mut Statement<'c>) -> Self {
        Self { statement, filled: 0 }
    }

    fn add(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.filled += 1;
        self.statement.raw_bind_parameter(self.filled, value)
    }

    pub(super) fn uuid(&mut self, id: impl Into<Option<Uuid>>) -> rusqlite::Result<()> {
        self.add(id.into().as_ref().map(|id| id.as_bytes().as_slice()))
    }

    pub(super) fn text<'v>(&mut self, text: impl Into<Option<&'v str>>) -> rusqlite::Result<()> {
        self.add(text.into())
    }

    pub(super) fn bigint(&mut self, number: impl Into<Option<i64>>) -> rusqlite::Result<()> {
        self.add(number.into())
    }

    pub(super) fn boolean(&mut self, is: bool) -> rusqlite::Result<()> {
        self.add(is)
    }

    pub(super) fn sums(&mut self, sums: &Sums) -> rusqlite::Result<()> {
        sums.values().into_iter().try_for_each(|sum| self.bigint(sum))
    }
}

/// Arguments of which each is a whole column.
#[derive(Default)]
pub(super) struct Arrays(PgArguments);

impl Arrays {
    pub(super) fn add<'r, R, V>(&mut self, rows: &'r [R], value: impl Fn(&'r R) -> V) -> Result<(), Error>
    where
        Vec<V>: sqlx::Encode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        self.0.add(rows.iter().map(value).collect::<Vec<_>>()).map_err(unbindable)
    }

    pub(super) fn into_arguments(self) -> PgArguments {
        self.0
    }
}

pub(super) fn unbindable(error: sqlx::error::BoxDynError) -> Error {
    Error::unreadable("a usage record", error)
}
