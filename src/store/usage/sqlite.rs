//! Inserting into SQLite. A statement costs a switch to the connection's thread and back, so rows go in statements of
//! 1, 2, 4, … 64 rows: at most seven shapes however large a batch is, each parsed once.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use sea_orm::sqlx::sqlite::{SqliteArguments, SqliteQueryResult};
use sea_orm::sqlx::{self, Arguments as _, Row as _, Sqlite, SqliteConnection, SqlitePool};
use uuid::Uuid;

use crate::domain::ids::RequestId;
use crate::domain::usage::UsageRecord;
use crate::store::usage::batch::{COLUMNS, Inserted, PriceTexts, mark_new, sums_of_new};
use crate::store::usage::rollup::{Rollups, SUMS, add_to_existing};
use crate::store::{Error, columns};

/// Rows in the largest statement, a power of two.
const ROWS_MAX: usize = 64;

static LOGS: LazyLock<Shapes> = LazyLock::new(|| {
    Shapes::new("usage_logs", &COLUMNS.join(", "), COLUMNS.len(), "ON CONFLICT (request_id) DO NOTHING")
});
static ROLLUPS: LazyLock<Shapes> = LazyLock::new(|| {
    let key = "hour, user_id, group_id, model, node";
    let tail = add_to_existing("usage_rollups", key, &["user_name", "group_name"]);
    let columns = format!("{key}, user_name, group_name, {}", SUMS.join(", "));
    Shapes::new("usage_rollups", &columns, 7 + SUMS.len(), &tail)
});
static TOTALS: LazyLock<Shapes> = LazyLock::new(|| {
    let tail = add_to_existing("usage_totals", "hour, node", &[]);
    Shapes::new("usage_totals", &format!("hour, node, {}", SUMS.join(", ")), 2 + SUMS.len(), &tail)
});

pub(super) async fn insert(
    pool: &SqlitePool,
    records: &[UsageRecord],
    synced: bool,
) -> Result<Inserted, Error> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let inserted = insert_logs(&mut tx, records, synced).await?;
    let rollups = sums_of_new(records, &inserted);
    insert_sums(&mut tx, &rollups).await?;
    tx.commit().await?;
    Ok(inserted)
}

async fn insert_logs(
    connection: &mut SqliteConnection,
    records: &[UsageRecord],
    synced: bool,
) -> Result<Inserted, Error> {
    let mut prices = PriceTexts::<Arc<str>>::default();
    let mut inserted = Inserted { is_new: Vec::with_capacity(records.len()) };
    for rows in pieces(records) {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(rows.len() * COLUMNS.len(), 0);
        for record in rows {
            bind_log(&mut arguments, record, prices.text(&record.price)?, synced).map_err(unbindable)?;
        }
        let done = LOGS.execute(connection, rows.len(), arguments).await?;
        inserted.is_new.extend(which_are_new(connection, rows, &done).await?.is_new);
    }
    Ok(inserted)
}

/// Which of `rows` the statement took in. Nearly always all of them, and then the database need not be asked. Else
/// they are the ones with the last row numbers: nobody else writes during this transaction, and SQLite numbers rows
/// upwards without gaps.
async fn which_are_new(
    connection: &mut SqliteConnection,
    rows: &[UsageRecord],
    done: &SqliteQueryResult,
) -> Result<Inserted, Error> {
    let new = done.rows_affected();
    if new == 0 {
        return Ok(Inserted { is_new: vec![false; rows.len()] });
    }
    if usize::try_from(new).is_ok_and(|new| new == rows.len()) {
        return Ok(Inserted { is_new: vec![true; rows.len()] });
    }
    let last = done.last_insert_rowid();
    let taken = sqlx::query("SELECT request_id FROM usage_logs WHERE rowid > $1 AND rowid <= $2")
        .bind(last.saturating_sub(columns::count(new)))
        .bind(last)
        .fetch_all(connection)
        .await?;
    let ids = taken.iter().map(|row| Ok(RequestId(row.try_get::<Uuid, _>(0)?)));
    Ok(mark_new(rows, ids.collect::<Result<_, Error>>()?))
}

fn bind_log(
    arguments: &mut SqliteArguments,
    record: &UsageRecord,
    price: Arc<str>,
    synced: bool,
) -> Result<(), sqlx::error::BoxDynError> {
    let tokens = &record.tokens;
    arguments.add(record.request_id.0)?;
    arguments.add(record.user_id.0)?;
    arguments.add(record.user.clone())?;
    arguments.add(record.group_id.map(|id| id.0))?;
    arguments.add(record.group.clone())?;
    arguments.add(record.model.clone())?;
    arguments.add(record.actual_model.clone())?;
    arguments.add(record.provider.as_str())?;
    arguments.add(record.target.clone())?;
    arguments.add(record.upstream_url.clone())?;
    arguments.add(columns::count(tokens.input))?;
    arguments.add(columns::count(tokens.output))?;
    arguments.add(columns::count(tokens.cache_read))?;
    arguments.add(columns::count(tokens.cache_write))?;
    arguments.add(columns::count(tokens.cache_write_1h))?;
    arguments.add(columns::count(tokens.reasoning))?;
    arguments.add(record.token_source.as_str())?;
    arguments.add(record.outcome.as_str())?;
    arguments.add(record.is_streaming)?;
    arguments.add(i64::from(record.status_code))?;
    arguments.add(columns::count(record.duration_ms))?;
    arguments.add(record.ttfb_ms.map(columns::count))?;
    arguments.add(price)?;
    arguments.add(record.cost_nanousd)?;
    arguments.add(record.session_id.as_deref())?;
    arguments.add(record.agent_id.as_deref())?;
    arguments.add(record.client_request_id.as_deref())?;
    arguments.add(record.source_node.shared())?;
    arguments.add(record.created_at.as_micros())?;
    arguments.add(synced)
}

async fn insert_sums(connection: &mut SqliteConnection, rollups: &Rollups) -> Result<(), Error> {
    let by_user: Vec<_> = rollups.by_user.iter().collect();
    for rows in pieces(&by_user) {
        let mut arguments = SqliteArguments::default();
        for (key, (names, sums)) in rows {
            let texts = [&key.model, &key.node, &names.user, &names.group];
            arguments.add(key.hour).map_err(unbindable)?;
            arguments.add(key.user).map_err(unbindable)?;
            arguments.add(key.group).map_err(unbindable)?;
            for text in texts {
                arguments.add(text.clone()).map_err(unbindable)?;
            }
            for value in sums.values() {
                arguments.add(value).map_err(unbindable)?;
            }
        }
        ROLLUPS.execute(connection, rows.len(), arguments).await?;
    }
    let by_node: Vec<_> = rollups.by_node.iter().collect();
    for rows in pieces(&by_node) {
        let mut arguments = SqliteArguments::default();
        for ((hour, node), sums) in rows {
            arguments.add(*hour).map_err(unbindable)?;
            arguments.add(node.clone()).map_err(unbindable)?;
            for value in sums.values() {
                arguments.add(value).map_err(unbindable)?;
            }
        }
        TOTALS.execute(connection, rows.len(), arguments).await?;
    }
    Ok(())
}

fn unbindable(error: sqlx::error::BoxDynError) -> Error {
    Error::unreadable("a usage record", error)
}

/// `rows` in pieces whose sizes are powers of two, the largest first.
fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = rows.len().checked_ilog2().map(|log| (1 << log).min(ROWS_MAX))?;
        let (piece, rest) = rows.split_at(size);
        rows = rest;
        Some(piece)
    })
}

/// One statement in its sizes of 1, 2, 4, … rows.
struct Shapes(Vec<String>);

impl Shapes {
    fn new(table: &str, columns: &str, width: usize, tail: &str) -> Self {
        let row = format!("(?{})", ",?".repeat(width - 1));
        let sizes = (0..=ROWS_MAX.ilog2()).map(|log| {
            let mut sql = format!("INSERT INTO {table} ({columns}) VALUES {row}");
            for _ in 1..(1 << log) {
                let _ = write!(sql, ",{row}");
            }
            sql + " " + tail
        });
        Self(sizes.collect())
    }

    async fn execute(
        &'static self,
        connection: &mut SqliteConnection,
        rows: usize,
        arguments: SqliteArguments,
    ) -> Result<SqliteQueryResult, Error> {
        let shape = rows.checked_ilog2().and_then(|log| self.0.get(log as usize));
        let sql: &'static str =
            shape.ok_or_else(|| Error::Failed(format!("no statement for {rows} rows")))?;
        Ok(sqlx::query_with::<Sqlite, _>(sql, arguments).execute(connection).await?)
    }
}
