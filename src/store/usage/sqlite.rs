//! Inserting into SQLite: a row is one prepared statement, and a whole batch one visit to the connection.

use std::sync::{Arc, LazyLock};

use rusqlite::{Connection, OptionalExtension as _, Statement, ToSql, TransactionBehavior};
use uuid::Uuid;

use crate::domain::fence::Fence;
use crate::domain::ids::NodeId;
use crate::domain::usage::UsageRecord;
use crate::store::usage::batch::{
    BatchOwner, COLUMNS, COUNT, FLOOR, Inserted, PriceTexts, TAKEN, above, parts_text, sums_of_new,
};
use crate::store::usage::rollup::{Rollups, SUMS, Sums, add_to_existing};
use crate::store::{Error, columns::count, columns::counted};

static LOG: LazyLock<String> = LazyLock::new(|| {
    row("usage_logs", &COLUMNS.join(", "), COLUMNS.len(), "ON CONFLICT (request_id) DO NOTHING")
});
static ROLLUP: LazyLock<String> = LazyLock::new(|| {
    let key = "hour, user_id, group_id, model, node";
    let tail = add_to_existing("usage_rollups", key, &["user_name", "group_name"]);
    let columns = format!("{key}, user_name, group_name, {}", SUMS.join(", "));
    row("usage_rollups", &columns, 7 + SUMS.len(), &tail)
});
static TOTAL: LazyLock<String> = LazyLock::new(|| {
    let tail = add_to_existing("usage_totals", "hour, node", &[]);
    row("usage_totals", &format!("hour, node, {}", SUMS.join(", ")), 2 + SUMS.len(), &tail)
});

fn row(table: &str, columns: &str, width: usize, tail: &str) -> String {
    format!("INSERT INTO {table} ({columns}) VALUES (?{}) {tail}", ",?".repeat(width - 1))
}

/// One transaction: the logs, the sums of those that were new, and the number of the batch if it has one.
pub(super) fn insert(
    connection: &mut Connection,
    records: &[UsageRecord],
    whose: &BatchOwner,
) -> Result<Inserted, Error> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let floor = match whose {
        BatchOwner::Own { .. } => None,
        BatchOwner::Of(node, _) => {
            tx.prepare_cached(FLOOR)?.query_row([node.as_str()], |row| row.get(0)).optional()?
        }
    };
    let mut inserted = insert_logs(&tx, records, whose.synced(), floor)?;
    add_sums(&tx, &sums_of_new(records, &inserted))?;
    if let BatchOwner::Of(node, fence) = whose {
        inserted.number = Some(next_number(&tx, node, fence)?);
    }
    tx.commit()?;
    Ok(inserted)
}

/// The number of the batch that is being taken.
fn next_number(tx: &Connection, node: &NodeId, fence: &Fence) -> Result<u64, Error> {
    let least = fence.least();
    let mut statement = tx.prepare_cached(COUNT)?;
    let number = statement.query_row((node.as_str(), count(least)), |row| row.get(0)).optional()?;
    if let Some(number) = above(least, number.map(counted)) {
        return Ok(number);
    }
    let held = match number {
        Some(_) => 0,
        None => counted(tx.prepare_cached(TAKEN)?.query_row([node.as_str()], |row| row.get(0))?),
    };
    Err(Error::Behind { held })
}

/// `floor`: what is not there and not younger may have been removed, and is not inserted.
fn insert_logs(
    tx: &Connection,
    records: &[UsageRecord],
    synced: bool,
    floor: Option<i64>,
) -> Result<Inserted, Error> {
    let mut prices = PriceTexts::<Arc<str>>::default();
    let mut statement = tx.prepare_cached(&LOG)?;
    let mut inserted = Inserted { is_new: Vec::with_capacity(records.len()), ..Inserted::default() };
    for record in records {
        let is_old = floor.is_some_and(|floor| record.created_at.as_micros() <= floor);
        if is_old && !is_there(tx, record)? {
            inserted.below_floor.push(record.request_id);
            inserted.is_new.push(false);
            continue;
        }
        let (price, parts) = (prices.text(&record.price)?, parts_text(record)?);
        bind_log(&mut Values::of(&mut statement), record, (&price, parts.as_deref()), synced)?;
        inserted.is_new.push(statement.raw_execute()? > 0);
    }
    Ok(inserted)
}

fn is_there(tx: &Connection, record: &UsageRecord) -> Result<bool, Error> {
    let mut statement = tx.prepare_cached("SELECT 1 FROM usage_logs WHERE request_id = ?1")?;
    Ok(statement.exists([record.request_id.0.as_bytes().as_slice()])?)
}

/// In the order of [`COLUMNS`].
fn bind_log(
    values: &mut Values<'_, '_>,
    record: &UsageRecord,
    (price, parts): (&str, Option<&str>),
    synced: bool,
) -> rusqlite::Result<()> {
    let tokens = &record.tokens;
    values.id(record.request_id.0)?;
    values.id(record.user_id.0)?;
    values.add(&*record.user)?;
    values.add(record.group_id.as_ref().map(|id| id.0.as_bytes().as_slice()))?;
    values.add(record.group.as_deref())?;
    values.add(&*record.model)?;
    values.add(&*record.actual_model)?;
    values.add(record.provider.as_str())?;
    values.add(&*record.target)?;
    values.add(&*record.upstream_url)?;
    values.add(count(tokens.input))?;
    values.add(count(tokens.output))?;
    values.add(count(tokens.cache_read))?;
    values.add(count(tokens.cache_write))?;
    values.add(count(tokens.cache_write_1h))?;
    values.add(count(tokens.reasoning))?;
    values.add(record.token_source.as_str())?;
    values.add(record.outcome.as_str())?;
    values.add(record.is_streaming)?;
    values.add(record.status_code)?;
    values.add(count(record.duration_ms))?;
    values.add(record.ttfb_ms.map(count))?;
    values.add(price)?;
    values.add(parts)?;
    values.add(record.cost_nanousd)?;
    values.add(record.session_id.as_deref())?;
    values.add(record.agent_id.as_deref())?;
    values.add(record.client_request_id.as_deref())?;
    values.add(record.source_node.as_str())?;
    values.add(record.created_at.as_micros())?;
    values.add(synced)
}

fn add_sums(tx: &Connection, rollups: &Rollups) -> Result<(), Error> {
    let mut statement = tx.prepare_cached(&ROLLUP)?;
    for (key, (names, sums)) in &rollups.by_user {
        let mut values = Values::of(&mut statement);
        values.add(key.hour)?;
        values.id(key.user)?;
        values.id(key.group)?;
        for text in [&key.model, &key.node, &names.user, &names.group] {
            values.add(&**text)?;
        }
        values.sums(sums)?;
        statement.raw_execute()?;
    }
    let mut statement = tx.prepare_cached(&TOTAL)?;
    for ((hour, node), sums) in &rollups.by_node {
        let mut values = Values::of(&mut statement);
        values.add(*hour)?;
        values.add(&**node)?;
        values.sums(sums)?;
        statement.raw_execute()?;
    }
    Ok(())
}

/// The parameters of a statement, filled from the first on.
struct Values<'s, 'c> {
    statement: &'s mut Statement<'c>,
    filled: usize,
}

impl<'s, 'c> Values<'s, 'c> {
    fn of(statement: &'s mut Statement<'c>) -> Self {
        Self { statement, filled: 0 }
    }

    fn add(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.filled += 1;
        self.statement.raw_bind_parameter(self.filled, value)
    }

    fn id(&mut self, id: Uuid) -> rusqlite::Result<()> {
        self.add(id.as_bytes().as_slice())
    }

    fn sums(&mut self, sums: &Sums) -> rusqlite::Result<()> {
        sums.values().into_iter().try_for_each(|sum| self.add(sum))
    }
}
