//! What a follower owes, on SQLite: a batch is listed in one visit to a connection, and marked in another.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use rusqlite::types::{FromSqlResult, ValueRef};
use rusqlite::{Connection, Row, TransactionBehavior};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::ids::{GroupId, NodeId, RequestId, UserId};
use crate::domain::price::Price;
use crate::domain::usage::{Tokens, UsageRecord};
use crate::store::columns::{count, counted, from_json};
use crate::store::usage::usage_columns::{COLUMNS, Column};
use crate::store::{Error, MetaKey, meta};

/// Word for word the condition of the partial index `index_usage_logs_owed`: SQLite uses it only then.
pub(super) const OWED: &str = "NOT synced AND set_aside IS NULL";
/// The highest number that any log has in `batch`, or had before retention removed it.
pub(super) const LAST_BATCH: MetaKey = MetaKey::LeaderBatch;
static LIST: LazyLock<String> = LazyLock::new(|| {
    // The first condition on the place is implied by the second; it is the one that the index understands.
    format!(
        "SELECT {} FROM usage_logs WHERE {OWED} AND created_at >= ?1 AND (created_at > ?1 OR request_id > ?2) \
         ORDER BY created_at, request_id LIMIT ?3",
        COLUMNS.join(", ")
    )
});
const MARK: &str = "UPDATE usage_logs SET synced = TRUE, set_aside = NULL, batch = ?2 \
                    WHERE NOT synced AND request_id = ?1";

/// The oldest unsynced records behind `after`, at most `limit`.
pub(super) fn list_unsynced(
    connection: &Connection,
    after: Option<(Timestamp, RequestId)>,
    limit: usize,
) -> Result<Vec<UsageRecord>, Error> {
    let (at, id) = after.map_or((i64::MIN, Uuid::nil()), |(at, id)| (at.as_micros(), id.0));
    let mut statement = connection.prepare_cached(&LIST)?;
    let mut rows =
        statement.query((at, id.as_bytes().as_slice(), i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let mut interner = Interner::default();
    let mut records = Vec::with_capacity(limit.min(1_000));
    while let Some(row) = rows.next()? {
        records.push(record(&Fields(row), &mut interner)?);
    }
    Ok(records)
}

/// Notes that the leader has these, and in which of its batches, in one transaction.
pub(super) fn mark_synced(
    connection: &mut Connection,
    ids: &[RequestId],
    batch: Option<u64>,
) -> Result<(), Error> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(batch) = batch {
        tx.prepare_cached(meta::RAISE)?.execute((LAST_BATCH.as_str(), batch.to_string()))?;
    }
    let batch = batch.map(count);
    let mut statement = tx.prepare_cached(MARK)?;
    for id in ids {
        statement.execute((id.0.as_bytes().as_slice(), batch))?;
    }
    drop(statement);
    Ok(tx.commit()?)
}

fn record(fields: &Fields<'_>, interner: &mut Interner) -> Result<UsageRecord, Error> {
    Ok(UsageRecord {
        request_id: RequestId(fields.id(Column::request_id)?),
        user_id: UserId(fields.id(Column::user_id)?),
        user: interner.text(fields.text(Column::user_name)?),
        group_id: fields.id_or_none(Column::group_id)?.map(GroupId),
        group: fields.text_or_none(Column::group_name)?.map(|name| interner.text(name)),
        model: interner.text(fields.text(Column::model)?),
        actual_model: interner.text(fields.text(Column::actual_model)?),
        provider: fields.parsed(Column::provider)?,
        converted_from: fields.text_or_none(Column::converted_from)?.map(str::to_owned),
        target: interner.text(fields.text(Column::target)?),
        upstream_url: interner.text(fields.text(Column::upstream_url)?),
        tokens: Tokens {
            input: fields.count(Column::input_tokens)?,
            output: fields.count(Column::output_tokens)?,
            cache_read: fields.count(Column::cache_read_tokens)?,
            cache_write: fields.count(Column::cache_write_tokens)?,
            cache_write_1h: fields.count(Column::cache_write_1h_tokens)?,
            reasoning: fields.count(Column::reasoning_tokens)?,
        },
        token_source: fields.parsed(Column::token_source)?,
        outcome: fields.parsed(Column::outcome)?,
        is_streaming: fields.number(Column::is_streaming)? != 0,
        status_code: fields.status(Column::status_code)?,
        duration_ms: fields.count(Column::duration_ms)?,
        ttfb_ms: fields.read(Column::ttfb_ms, |value| value.as_i64_or_null())?.map(counted),
        price: interner.price(fields.text(Column::price)?)?,
        parts: fields.list(Column::parts)?,
        attempts: fields.list(Column::attempts)?,
        cost_nanousd: fields.number(Column::cost_nanousd)?,
        session_id: fields.text_or_none(Column::session_id)?.map(str::to_owned),
        agent_id: fields.text_or_none(Column::agent_id)?.map(str::to_owned),
        client_request_id: fields.text_or_none(Column::client_request_id)?.map(str::to_owned),
        source_node: interner.node(fields)?,
        created_at: Timestamp::from_micros(fields.number(Column::created_at)?),
    })
}

/// A row whose columns are [`COLUMNS`], in their order.
struct Fields<'r>(&'r Row<'r>);

impl<'r> Fields<'r> {
    fn read<T>(
        &self,
        column: Column,
        get: impl FnOnce(ValueRef<'r>) -> FromSqlResult<T>,
    ) -> Result<T, Error> {
        get(self.0.get_ref(column as usize)?).map_err(|error| self.unreadable(column, &error))
    }

    fn unreadable(&self, column: Column, error: &dyn std::fmt::Display) -> Error {
        let id = self.0.get_ref(Column::request_id as usize).ok();
        let id = id.and_then(|id| uuid(id).ok()).unwrap_or_default();
        Error::unreadable(&format!("usage_logs.{column:?} of {id}"), error)
    }

    fn id(&self, column: Column) -> Result<Uuid, Error> {
        self.read(column, uuid)
    }

    fn id_or_none(&self, column: Column) -> Result<Option<Uuid>, Error> {
        self.read(column, |value| if value == ValueRef::Null { Ok(None) } else { uuid(value).map(Some) })
    }

    fn text(&self, column: Column) -> Result<&'r str, Error> {
        self.read(column, |value| value.as_str())
    }

    fn text_or_none(&self, column: Column) -> Result<Option<&'r str>, Error> {
        self.read(column, |value| value.as_str_or_null())
    }

    /// A list as JSON; empty where there is none.
    fn list<T: DeserializeOwned>(&self, column: Column) -> Result<Vec<T>, Error> {
        let text = self.text_or_none(column)?;
        text.map_or_else(|| Ok(Vec::new()), |text| from_json(&format!("usage_logs.{column:?}"), text))
    }

    fn number(&self, column: Column) -> Result<i64, Error> {
        self.read(column, |value| value.as_i64())
    }

    fn count(&self, column: Column) -> Result<u64, Error> {
        self.number(column).map(counted)
    }

    fn status(&self, column: Column) -> Result<u16, Error> {
        let code = self.number(column)?;
        u16::try_from(code).map_err(|error| self.unreadable(column, &error))
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, column: Column) -> Result<T, Error> {
        let text = self.text(column)?;
        text.parse().map_err(|error: T::Err| self.unreadable(column, &error))
    }
}

fn uuid(value: ValueRef<'_>) -> FromSqlResult<Uuid> {
    Uuid::from_slice(value.as_blob()?).map_err(rusqlite::types::FromSqlError::other)
}

/// What the records of a batch have in common: kept once, and read once.
#[derive(Default)]
struct Interner {
    texts: HashSet<Arc<str>, foldhash::fast::RandomState>,
    prices: Vec<(Box<str>, Arc<Price>)>,
    node: Option<NodeId>,
}

impl Interner {
    /// More prices than this in one batch are not remembered but read again.
    const PRICES: usize = 16;

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new = Arc::from(text);
        self.texts.insert(Arc::clone(&new));
        new
    }

    fn price(&mut self, text: &str) -> Result<Arc<Price>, Error> {
        if let Some((_, known)) = self.prices.iter().find(|(known, _)| **known == *text) {
            return Ok(Arc::clone(known));
        }
        let new = Arc::new(from_json("usage_logs.price", text)?);
        if self.prices.len() < Self::PRICES {
            self.prices.push((text.into(), Arc::clone(&new)));
        }
        Ok(new)
    }

    /// A node lists its own records: it is nearly always the same.
    fn node(&mut self, fields: &Fields<'_>) -> Result<NodeId, Error> {
        let text = fields.text(Column::source_node)?;
        if let Some(known) = self.node.as_ref().filter(|known| known.as_str() == text) {
            return Ok(known.clone());
        }
        let new: NodeId = fields.parsed(Column::source_node)?;
        self.node = Some(new.clone());
        Ok(new)
    }
}
