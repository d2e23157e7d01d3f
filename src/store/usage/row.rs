//! A row of `usage_logs`.

use std::sync::Arc;

use sea_orm::entity::prelude::*;

use crate::domain::clock::Timestamp;
use crate::domain::ids::{GroupId, NodeId, RequestId, UserId};
use crate::domain::usage::{Tokens, UsageLog, UsageRecord};
use crate::store::columns::{counted, from_json};
use crate::store::error::Error;

/// A usage log as the database has it.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_logs")]
#[allow(clippy::struct_field_names, reason = "the fields are the table's columns")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub request_id: Uuid,
    pub user_id: Uuid,
    pub user_name: String,
    pub group_id: Option<Uuid>,
    pub group_name: Option<String>,
    pub model: String,
    pub actual_model: String,
    pub provider: String,
    pub target: String,
    pub upstream_url: String,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub cache_read_tokens: i64,
    pub cache_write_tokens: i64,
    pub cache_write_1h_tokens: i64,
    pub reasoning_tokens: i64,
    pub token_source: String,
    pub outcome: String,
    pub is_streaming: bool,
    pub status_code: i64,
    pub duration_ms: i64,
    pub ttfb_ms: Option<i64>,
    pub price: String,
    pub parts: Option<String>,
    pub attempts: Option<String>,
    pub converted_from: Option<String>,
    pub cost_nanousd: i64,
    pub session_id: Option<String>,
    pub agent_id: Option<String>,
    pub client_request_id: Option<String>,
    pub source_node: String,
    pub created_at: i64,
    pub synced: bool,
    pub set_aside: Option<String>,
    pub batch: Option<i64>,
    pub dismissed_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for UsageLog {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self, Error> {
        let bad = |column: &str, error: &dyn std::fmt::Display| {
            Error::unreadable(&format!("usage_logs.{column} of {}", row.request_id), error)
        };
        let record = UsageRecord {
            request_id: RequestId(row.request_id),
            user_id: UserId(row.user_id),
            provider: row.provider.parse().map_err(|error| bad("provider", &error))?,
            token_source: row.token_source.parse().map_err(|error| bad("token_source", &error))?,
            outcome: row.outcome.parse().map_err(|error| bad("outcome", &error))?,
            status_code: u16::try_from(row.status_code).map_err(|error| bad("status_code", &error))?,
            source_node: row.source_node.parse::<NodeId>().map_err(|error| bad("source_node", &error))?,
            price: Arc::new(from_json("usage_logs.price", &row.price)?),
            parts: match &row.parts {
                Some(parts) => from_json("usage_logs.parts", parts)?,
                None => Vec::new(),
            },
            attempts: match &row.attempts {
                Some(attempts) => from_json("usage_logs.attempts", attempts)?,
                None => Vec::new(),
            },
            user: row.user_name.into(),
            group_id: row.group_id.map(GroupId),
            group: row.group_name.map(Into::into),
            model: row.model.into(),
            actual_model: row.actual_model.into(),
            target: row.target.into(),
            upstream_url: row.upstream_url.into(),
            tokens: Tokens {
                input: counted(row.input_tokens),
                output: counted(row.output_tokens),
                cache_read: counted(row.cache_read_tokens),
                cache_write: counted(row.cache_write_tokens),
                cache_write_1h: counted(row.cache_write_1h_tokens),
                reasoning: counted(row.reasoning_tokens),
            },
            is_streaming: row.is_streaming,
            duration_ms: counted(row.duration_ms),
            ttfb_ms: row.ttfb_ms.map(counted),
            cost_nanousd: row.cost_nanousd,
            session_id: row.session_id,
            agent_id: row.agent_id,
            client_request_id: row.client_request_id,
            converted_from: row.converted_from,
            created_at: Timestamp::from_micros(row.created_at),
        };
        Ok(Self { record, synced: row.synced, dismissed: row.dismissed_at.is_some() })
    }
}
