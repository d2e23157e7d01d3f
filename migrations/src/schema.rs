//! What a migration has in hand: the database in the transaction of all migrations, and how the kinds of values that tables
//! hold become columns of SQLite or PostgreSQL.

use sea_orm::sea_query::{ColumnDef, Index, Table};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};

/// The schema as it is, to be changed.
#[derive(Clone, Copy, Debug)]
pub struct Schema<'a> {
    tx: &'a DatabaseTransaction,
}

impl<'a> Schema<'a> {
    /// The schema as `tx` sees it.
    #[must_use]
    pub fn of(tx: &'a DatabaseTransaction) -> Self {
        Self { tx }
    }

    /// For statements that only one migration needs.
    #[must_use]
    pub fn database(&self) -> &'a DatabaseTransaction {
        self.tx
    }

    /// Which database it is.
    #[must_use]
    pub fn backend(&self) -> DbBackend {
        self.tx.get_database_backend()
    }

    /// A UUID: `uuid` on PostgreSQL, a blob of 16 bytes on SQLite, which has no such type.
    pub fn uuid(&self, name: &'static str) -> ColumnDef {
        let mut column = ColumnDef::new(name);
        match self.backend() {
            DbBackend::Sqlite => column.binary_len(16),
            _ => column.uuid(),
        };
        column
    }

    /// A UUID that is always there.
    pub fn uuid_required(&self, name: &'static str) -> ColumnDef {
        self.uuid(name).not_null().take()
    }

    /// Creates a table with columns and a primary key. On SQLite `clustered` keeps the rows in the key's own tree
    /// (`WITHOUT ROWID`): right for narrow rows that are found by their key.
    pub async fn create_table(
        &self,
        name: &'static str,
        columns: Vec<ColumnDef>,
        key: &[&'static str],
        clustered: bool,
    ) -> Result<(), DbErr> {
        let mut table = Table::create();
        table.table(name);
        for column in columns {
            table.col(column);
        }
        let mut primary = Index::create();
        for column in key {
            primary.col(*column);
        }
        table.primary_key(&mut primary);
        if clustered && self.backend() == DbBackend::Sqlite {
            table.extra("WITHOUT ROWID");
        }
        self.tx.execute(&table).await.map(drop)
    }

    /// Adds a column. On rows that are there it is NULL, or its default.
    pub async fn add_column(&self, table: &'static str, column: ColumnDef) -> Result<(), DbErr> {
        self.tx.execute(Table::alter().table(table).add_column(column)).await.map(drop)
    }

    /// Creates an index named `index_TABLE_COLUMNS`.
    pub async fn create_index(
        &self,
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
        self.tx.execute(&index).await.map(drop)
    }

    /// Runs a statement that both databases understand.
    pub async fn run(&self, sql: &str) -> Result<(), DbErr> {
        self.tx.execute_unprepared(sql).await.map(drop)
    }
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
