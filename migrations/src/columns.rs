//! How the kinds of values that tables hold become columns of either database.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// A UUID: `uuid` on PostgreSQL, a blob of 16 bytes on SQLite, which has no such type.
pub fn uuid(manager: &SchemaManager<'_>, name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    match manager.get_database_backend() {
        DbBackend::Sqlite => column.binary_len(16),
        _ => column.uuid(),
    };
    column
}

/// A UUID that is always there.
pub fn uuid_required(manager: &SchemaManager<'_>, name: &'static str) -> ColumnDef {
    uuid(manager, name).not_null().take()
}

/// A count, a time or an amount of money: 64-bit integer, always there.
pub fn integer(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

/// The same, where "none" has a meaning.
pub fn integer_or_none(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().take()
}

/// A text that is always there, if only empty.
pub fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).text().not_null().take()
}

/// A text, where "none" has a meaning.
pub fn text_or_none(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).text().take()
}

/// True or false.
pub fn flag(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).boolean().not_null().take()
}

/// Creates a table with columns and a primary key. On SQLite `clustered` keeps the rows in the key's own tree
/// (`WITHOUT ROWID`): right for narrow rows that are found by their key.
pub async fn create_table(
    manager: &SchemaManager<'_>,
    name: &'static str,
    columns: Vec<ColumnDef>,
    key: &[&'static str],
    clustered: bool,
) -> Result<(), DbErr> {
    let mut table = Table::create();
    table.table(name);
    for mut column in columns {
        table.col(&mut column);
    }
    let mut primary = Index::create();
    for column in key {
        primary.col(*column);
    }
    table.primary_key(&mut primary);
    if clustered && manager.get_database_backend() == DbBackend::Sqlite {
        table.extra("WITHOUT ROWID");
    }
    manager.create_table(table).await
}

/// Creates an index named `index_TABLE_COLUMNS`.
pub async fn create_index(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: &[&'static str],
    unique: bool,
) -> Result<(), DbErr> {
    let mut index = Index::create();
    index.name(format!("index_{table}_{}", columns.join("_"))).table(table);
    for column in columns {
        index.col(*column);
    }
    if unique {
        index.unique();
    }
    manager.create_index(index).await
}

/// Drops tables in the order given.
pub async fn drop_tables(manager: &SchemaManager<'_>, names: &[&'static str]) -> Result<(), DbErr> {
    for name in names {
        manager.drop_table(Table::drop().table(*name).take()).await?;
    }
    Ok(())
}
