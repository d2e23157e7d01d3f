//! The columns of `usage_logs` that a record fills, each written once: its name, its type, and what a record puts there.
//! Names, types, and what binds a record to a statement on either database are made from this one list.

use std::sync::Arc;

use sea_orm::sqlx::postgres::PgArguments;

use crate::domain::usage::UsageRecord;
use crate::store::Error;
use crate::store::columns::count;
use crate::store::usage::batch::{PriceTexts, list_text};
use crate::store::usage::binding::{Arrays, Values};

/// A record, and what is written of it as JSON.
pub(super) struct Row<'r> {
    record: &'r UsageRecord,
    price: Arc<str>,
    parts: Option<String>,
    attempts: Option<String>,
}

impl<'r> Row<'r> {
    pub(super) fn of(record: &'r UsageRecord, prices: &mut PriceTexts) -> Result<Self, Error> {
        Ok(Self {
            record,
            price: prices.text(&record.price)?,
            parts: list_text("usage_logs.parts", &record.parts)?,
            attempts: list_text("usage_logs.attempts", &record.attempts)?,
        })
    }
}

macro_rules! usage_columns {
    ($row:ident: $($column:ident: $kind:ident = $value:expr;)+) => {
        /// A column by its name; as a number, its place in [`COLUMNS`].
        #[allow(non_camel_case_types, reason = "the columns' own names")]
        #[derive(Clone, Copy, Debug)]
        pub(super) enum Column { $($column),+ }

        /// Their names, in the order in which both databases are given them.
        pub(super) const COLUMNS: &[&str] = &[$(stringify!($column)),+];

        /// Their types on PostgreSQL.
        pub(super) const TYPES: &[&str] = &[$(stringify!($kind)),+];

        /// One row, parameter by parameter.
        pub(super) fn bind_sqlite(values: &mut Values<'_, '_>, $row: &Row<'_>) -> rusqlite::Result<()> {
            $(values.$kind($value)?;)+
            Ok(())
        }

        /// All rows, one array for each column.
        pub(super) fn bind_postgres(rows: &[Row<'_>]) -> Result<PgArguments, Error> {
            let mut arrays = Arrays::default();
            $(arrays.add(rows, |$row| $value)?;)+
            Ok(arrays.into_arguments())
        }
    };
}

usage_columns! { row:
    request_id: uuid = row.record.request_id.0;
    user_id: uuid = row.record.user_id.0;
    user_name: text = &*row.record.user;
    group_id: uuid = row.record.group_id.map(|id| id.0);
    group_name: text = row.record.group.as_deref();
    model: text = &*row.record.model;
    actual_model: text = &*row.record.actual_model;
    provider: text = row.record.provider.as_str();
    converted_from: text = row.record.converted_from.as_deref();
    target: text = &*row.record.target;
    upstream_url: text = &*row.record.upstream_url;
    input_tokens: bigint = count(row.record.tokens.input);
    output_tokens: bigint = count(row.record.tokens.output);
    cache_read_tokens: bigint = count(row.record.tokens.cache_read);
    cache_write_tokens: bigint = count(row.record.tokens.cache_write);
    cache_write_1h_tokens: bigint = count(row.record.tokens.cache_write_1h);
    reasoning_tokens: bigint = count(row.record.tokens.reasoning);
    token_source: text = row.record.token_source.as_str();
    outcome: text = row.record.outcome.as_str();
    is_streaming: boolean = row.record.is_streaming;
    status_code: bigint = i64::from(row.record.status_code);
    duration_ms: bigint = count(row.record.duration_ms);
    ttfb_ms: bigint = row.record.ttfb_ms.map(count);
    price: text = &*row.price;
    parts: text = row.parts.as_deref();
    attempts: text = row.attempts.as_deref();
    cost_nanousd: bigint = row.record.cost_nanousd;
    session_id: text = row.record.session_id.as_deref();
    agent_id: text = row.record.agent_id.as_deref();
    client_request_id: text = row.record.client_request_id.as_deref();
    source_node: text = row.record.source_node.as_str();
    created_at: bigint = row.record.created_at.as_micros();
}
