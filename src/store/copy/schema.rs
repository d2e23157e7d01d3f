//! Which tables a database has, and which columns: what its schema says.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait as _, Statement};

use crate::store::open::MIGRATION_LOCK;
use crate::store::{Error, Store};

/// Written by migrations, on either side by its own.
const OF_MIGRATIONS: [&str; 2] = ["seaql_migrations", MIGRATION_LOCK];
/// What a node and a copy note about themselves is not copied as it is; see `marks`.
const META: &str = "meta";

/// A table that is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// The primary key, in its order.
    key: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// What a column holds, by the type that PostgreSQL has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Uuid,
    Integer,
    Text,
    Flag,
    Bytes,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Uuid, Self::Integer, Self::Text, Self::Flag, Self::Bytes];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Integer => "bigint",
            Self::Text => "text",
            Self::Flag => "boolean",
            Self::Bytes => "bytea",
        }
    }

    fn of(table: &str, column: &str, kind: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(|| {
            Error::Failed(format!("{table}.{column} is of the type {kind}, which no copy knows"))
        })
    }
}

/// A table as its database has it: names of columns with the type that is declared, and the primary key.
#[derive(Debug, Default, PartialEq, Eq)]
struct Declared {
    columns: Vec<(String, String)>,
    key: BTreeMap<i64, String>,
}

type Schema = BTreeMap<String, Declared>;

/// The tables that two databases have, which are the same, if not on the same engine.
pub(super) async fn tables_of_both(one: &Store, other: &Store) -> Result<Vec<Table>, Error> {
    let (embedded, server) = if one.is_embedded() { (one, other) } else { (other, one) };
    if !embedded.is_embedded() || server.is_embedded() {
        return Err(Error::Unsupported("a copy goes from one engine to the other".to_owned()));
    }
    let (mut embedded, server) = (sqlite(embedded).await?, postgres(server).await?);
    let mut tables = Vec::new();
    for (name, declared) in server {
        let other = embedded.remove(&name);
        let other = other.filter(|other| names(other) == names(&declared) && other.key == declared.key);
        if other.is_none() {
            return Err(differ(&name));
        }
        let columns = declared
            .columns
            .iter()
            .map(|(column, kind)| Ok(Column { name: column.clone(), kind: Kind::of(&name, column, kind)? }));
        let columns = columns.collect::<Result<_, Error>>()?;
        tables.push(Table { name, columns, key: declared.key.into_values().collect() });
    }
    match embedded.keys().next() {
        Some(name) => Err(differ(name)),
        None => Ok(tables),
    }
}

fn names(declared: &Declared) -> Vec<&str> {
    let mut names: Vec<&str> = declared.columns.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

fn differ(table: &str) -> Error {
    Error::Failed(format!("the table {table} is not the same in both databases, though both are up to date"))
}

/// The names of the tables of which every row is copied.
///
/// # Errors
/// What the database says.
#[doc(hidden)]
pub async fn table_names(store: &Store) -> Result<Vec<String>, Error> {
    let schema = if store.is_embedded() { sqlite(store).await? } else { postgres(store).await? };
    Ok(schema.into_keys().collect())
}

async fn sqlite(store: &Store) -> Result<Schema, Error> {
    let sql = "SELECT t.name, c.name, lower(c.type), c.pk FROM sqlite_schema t, pragma_table_info(t.name) c \
               WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY t.name, c.cid";
    read(store, sql).await
}

async fn postgres(store: &Store) -> Result<Schema, Error> {
    let sql = "SELECT c.table_name::text, c.column_name::text, c.data_type::text, \
               COALESCE(k.ordinal_position, 0)::bigint \
               FROM information_schema.tables t \
               JOIN information_schema.columns c ON c.table_schema = t.table_schema AND c.table_name = t.table_name \
               LEFT JOIN information_schema.table_constraints p ON p.table_schema = t.table_schema \
               AND p.table_name = t.table_name AND p.constraint_type = 'PRIMARY KEY' \
               LEFT JOIN information_schema.key_column_usage k ON k.constraint_schema = p.constraint_schema \
               AND k.constraint_name = p.constraint_name AND k.table_name = t.table_name \
               AND k.column_name = c.column_name \
               WHERE t.table_schema = current_schema() AND t.table_type = 'BASE TABLE' \
               ORDER BY c.table_name, c.ordinal_position";
    read(store, sql).await
}

/// Rows of table, column, type and place in the primary key, from 1 on.
async fn read(store: &Store, sql: &str) -> Result<Schema, Error> {
    let mut schema = Schema::new();
    for row in store.writer.query_all_raw(Statement::from_string(store.backend(), sql)).await? {
        let (table, column): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        if table == META || OF_MIGRATIONS.contains(&table.as_str()) {
            continue;
        }
        let declared = schema.entry(table).or_default();
        let place: i64 = row.try_get_by_index(3)?;
        if place > 0 {
            declared.key.insert(place, column.clone());
        }
        declared.columns.push((column, row.try_get_by_index(2)?));
    }
    Ok(schema)
}

/// A name of the schema in a statement: some are words of SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    /// Every column, quoted.
    fn list(&self) -> String {
        self.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn count(&self) -> String {
        format!("SELECT count(*) FROM {}", quoted(&self.name))
    }

    pub(super) fn delete_all(&self) -> String {
        format!("DELETE FROM {}", quoted(&self.name))
    }

    /// All rows but the first `skip`, in the order of the primary key.
    pub(super) fn select_after(&self, skip: u64) -> String {
        let key = self.key.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        // SQLite has no OFFSET without a LIMIT; PostgreSQL takes the largest number for none.
        format!(
            "SELECT {} FROM {} ORDER BY {key} LIMIT {} OFFSET {skip}",
            self.list(),
            quoted(&self.name),
            i64::MAX
        )
    }

    /// `INSERT INTO table (columns)`, to be followed by the rows.
    pub(super) fn insert(&self) -> String {
        format!("INSERT INTO {} ({})", quoted(&self.name), self.list())
    }
}
