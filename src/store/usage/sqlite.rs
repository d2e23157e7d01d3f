//! Inserting into SQLite: a row is one prepared statement, and a whole batch one visit to the connection.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};
use uuid::Uuid;

use crate::domain::fence::{BatchesHeld, Fence};
use crate::domain::ids::{NodeId, SessionId};
use crate::domain::usage::UsageRecord;
use crate::store::usage::batch::{
    BatchOwner, COUNT_BATCH, COUNT_BATCH_OF_SESSION, InsertedBatch, PriceTexts, SELECT_BATCHES, SELECT_FLOOR,
    above, refusal, sums_of_new,
};
use crate::store::usage::binding::Values;
use crate::store::usage::rollup::{Rollups, SUMS, add_to_existing};
use crate::store::usage::usage_columns::{COLUMNS, Row, bind_sqlite};
use crate::store::{Error, columns::count, columns::counted};

static LOG: LazyLock<String> = LazyLock::new(|| {
    let columns = format!("{}, synced", COLUMNS.join(", "));
    row("usage_logs", &columns, COLUMNS.len() + 1, "ON CONFLICT (request_id) DO NOTHING")
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
pub(super) fn insert_batch(
    connection: &mut Connection,
    records: &[UsageRecord],
    owner: &BatchOwner,
) -> Result<InsertedBatch, Error> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let floor = match owner {
        BatchOwner::Own { .. } => None,
        BatchOwner::Follower(node, _) => {
            tx.prepare_cached(SELECT_FLOOR)?.query_row([node.as_str()], |row| row.get(0)).optional()?
        }
    };
    let mut inserted = insert_logs(&tx, records, owner.synced(), floor)?;
    add_sums(&tx, &sums_of_new(records, &inserted))?;
    if let BatchOwner::Follower(node, fence) = owner {
        inserted.number = Some(next_number(&tx, node, fence)?);
    }
    tx.commit()?;
    Ok(inserted)
}

/// The number for the batch that this transaction inserts.
fn next_number(tx: &Connection, node: &NodeId, fence: &Fence) -> Result<u64, Error> {
    let least = fence.least();
    let number = match fence.session() {
        Some(session) => tx
            .prepare_cached(COUNT_BATCH_OF_SESSION)?
            .query_row((node.as_str(), count(least), session.0.as_bytes().as_slice()), |row| row.get(0))
            .optional()?,
        None => tx
            .prepare_cached(COUNT_BATCH)?
            .query_row((node.as_str(), count(least)), |row| row.get(0))
            .optional()?,
    };
    if let Some(number) = above(least, number.map(counted)) {
        return Ok(number);
    }
    let held = match number {
        Some(_) => BatchesHeld::default(),
        None => tx
            .prepare_cached(SELECT_BATCHES)?
            .query_row([node.as_str()], |row| Ok((row.get(0)?, row.get::<_, Option<[u8; 16]>>(1)?)))
            .optional()?
            .map_or_else(BatchesHeld::default, |(taken, session)| BatchesHeld {
                taken: counted(taken),
                session: session.map(|id| SessionId(Uuid::from_bytes(id))),
            }),
    };
    Err(refusal(held, fence))
}

/// `floor`: what is not there and not younger may have been removed, and is not inserted.
fn insert_logs(
    tx: &Connection,
    records: &[UsageRecord],
    synced: bool,
    floor: Option<i64>,
) -> Result<InsertedBatch, Error> {
    let mut prices = PriceTexts::default();
    let mut statement = tx.prepare_cached(&LOG)?;
    let mut inserted =
        InsertedBatch { is_new: Vec::with_capacity(records.len()), ..InsertedBatch::default() };
    for record in records {
        let is_old = floor.is_some_and(|floor| record.created_at.as_micros() <= floor);
        if is_old && !is_there(tx, record)? {
            inserted.below_floor.push(record.request_id);
            inserted.is_new.push(false);
            continue;
        }
        let row = Row::of(record, &mut prices)?;
        let mut values = Values::of(&mut statement);
        bind_sqlite(&mut values, &row)?;
        values.boolean(synced)?;
        inserted.is_new.push(statement.raw_execute()? > 0);
    }
    Ok(inserted)
}

fn is_there(tx: &Connection, record: &UsageRecord) -> Result<bool, Error> {
    let mut statement = tx.prepare_cached("SELECT 1 FROM usage_logs WHERE request_id = ?1")?;
    Ok(statement.exists([record.request_id.0.as_bytes().as_slice()])?)
}

fn add_sums(tx: &Connection, rollups: &Rollups) -> Result<(), Error> {
    let mut statement = tx.prepare_cached(&ROLLUP)?;
    for (key, (names, sums)) in &rollups.by_user {
        let mut values = Values::of(&mut statement);
        values.bigint(key.hour)?;
        values.uuid(key.user)?;
        values.uuid(key.group)?;
        for text in [&key.model, &key.node, &names.user, &names.group] {
            values.text(&**text)?;
        }
        values.sums(sums)?;
        statement.raw_execute()?;
    }
    let mut statement = tx.prepare_cached(&TOTAL)?;
    for ((hour, node), sums) in &rollups.by_node {
        let mut values = Values::of(&mut statement);
        values.bigint(*hour)?;
        values.text(&**node)?;
        values.sums(sums)?;
        statement.raw_execute()?;
    }
    Ok(())
}
