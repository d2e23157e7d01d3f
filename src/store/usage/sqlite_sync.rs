//! What a follower owes, on SQLite: a batch is listed in one visit to a connection, and marked in another.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use rusqlite::types::{FromSqlResult, ValueRef};
use rusqlite::{Connection, Row, TransactionBehavior};
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::ids::{GroupId, NodeId, RequestId, UserId};
use crate::domain::price::Price;
use crate::domain::usage::{Part, Tokens, UsageRecord};
use crate::store::columns::{count, counted, from_json};
use crate::store::usage::batch::COLUMNS;
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
pub(super) fn list(
    connection: &Connection,
    after: Option<(Timestamp, RequestId)>,
    limit: usize,
) -> Result<Vec<UsageRecord>, Error> {
    let (at, id) = after.map_or((i64::MIN, Uuid::nil()), |(at, id)| (at.as_micros(), id.0));
    let mut statement = connection.prepare_cached(&LIST)?;
    let mut rows =
        statement.query((at, id.as_bytes().as_slice(), i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let mut repeated = Interner::default();
    let mut records = Vec::with_capacity(limit.min(1_000));
    while let Some(row) = rows.next()? {
        records.push(record(&mut Fields { row, read: 0 }, &mut repeated)?);
    }
    Ok(records)
}

/// Notes that the leader has these, and in which of its batches, in one transaction.
pub(super) fn mark(connection: &mut Connection, ids: &[RequestId], batch: Option<u64>) -> Result<(), Error> {
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

/// In the order of [`COLUMNS`].
fn record(fields: &mut Fields<'_>, repeated: &mut Interner) -> Result<UsageRecord, Error> {
    Ok(UsageRecord {
        request_id: RequestId(fields.id()?),
        user_id: UserId(fields.id()?),
        user: repeated.text(fields.text()?),
        group_id: fields.id_or_none()?.map(GroupId),
        group: fields.text_or_none()?.map(|name| repeated.text(name)),
        model: repeated.text(fields.text()?),
        actual_model: repeated.text(fields.text()?),
        provider: fields.parsed()?,
        target: repeated.text(fields.text()?),
        upstream_url: repeated.text(fields.text()?),
        tokens: Tokens {
            input: fields.count()?,
            output: fields.count()?,
            cache_read: fields.count()?,
            cache_write: fields.count()?,
            cache_write_1h: fields.count()?,
            reasoning: fields.count()?,
        },
        token_source: fields.parsed()?,
        outcome: fields.parsed()?,
        is_streaming: fields.number()? != 0,
        status_code: fields.status()?,
        duration_ms: fields.count()?,
        ttfb_ms: fields.read(|value| value.as_i64_or_null())?.map(counted),
        price: repeated.price(fields.text()?)?,
        parts: fields.parts()?,
        cost_nanousd: fields.number()?,
        session_id: fields.text_or_none()?.map(str::to_owned),
        agent_id: fields.text_or_none()?.map(str::to_owned),
        client_request_id: fields.text_or_none()?.map(str::to_owned),
        source_node: repeated.node(fields)?,
        created_at: Timestamp::from_micros(fields.number()?),
    })
}

/// The columns of a row, read from the first on.
struct Fields<'r> {
    row: &'r Row<'r>,
    read: usize,
}

impl<'r> Fields<'r> {
    fn read<T>(&mut self, get: impl FnOnce(ValueRef<'r>) -> FromSqlResult<T>) -> Result<T, Error> {
        let value = self.row.get_ref(self.read)?;
        self.read += 1;
        get(value).map_err(|error| self.unreadable(&error))
    }

    /// About the column that was read last.
    fn unreadable(&self, error: &dyn std::fmt::Display) -> Error {
        let id = self.row.get_ref(0).ok().and_then(|id| uuid(id).ok()).unwrap_or_default();
        let column = COLUMNS.get(self.read.saturating_sub(1)).copied().unwrap_or_default();
        Error::unreadable(&format!("usage_logs.{column} of {id}"), error)
    }

    fn id(&mut self) -> Result<Uuid, Error> {
        self.read(uuid)
    }

    fn id_or_none(&mut self) -> Result<Option<Uuid>, Error> {
        self.read(|value| if value == ValueRef::Null { Ok(None) } else { uuid(value).map(Some) })
    }

    fn text(&mut self) -> Result<&'r str, Error> {
        self.read(|value| value.as_str())
    }

    fn text_or_none(&mut self) -> Result<Option<&'r str>, Error> {
        self.read(|value| value.as_str_or_null())
    }

    fn parts(&mut self) -> Result<Vec<Part>, Error> {
        let text = self.text_or_none()?;
        text.map_or_else(|| Ok(Vec::new()), |text| from_json("usage_logs.parts", text))
    }

    fn number(&mut self) -> Result<i64, Error> {
        self.read(|value| value.as_i64())
    }

    fn count(&mut self) -> Result<u64, Error> {
        self.number().map(counted)
    }

    fn status(&mut self) -> Result<u16, Error> {
        let code = self.number()?;
        u16::try_from(code).map_err(|error| self.unreadable(&error))
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self) -> Result<T, Error> {
        let text = self.text()?;
        text.parse().map_err(|error: T::Err| self.unreadable(&error))
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
    fn node(&mut self, fields: &mut Fields<'_>) -> Result<NodeId, Error> {
        let text = fields.text()?;
        if let Some(known) = self.node.as_ref().filter(|known| known.as_str() == text) {
            return Ok(known.clone());
        }
        let new: NodeId = text.parse().map_err(|error| fields.unreadable(&error))?;
        self.node = Some(new.clone());
        Ok(new)
    }
}
