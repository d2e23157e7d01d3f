//! Reading usage logs, page by page.

use std::time::Duration;

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryResult, Value,
};

use crate::domain::clock::Timestamp;
use crate::domain::ids::RequestId;
use crate::domain::usage::{UsageFilter, UsageLog};
use crate::store::usage::window::in_groups;
use crate::store::usage::{UsageRepo, row};
use crate::store::{Cursor, Error, Page, glob, page};

/// Logs that `UsageRecord::is_error` is true of; the index over them has the same words.
pub(super) const ERRORS: &str = "outcome NOT IN ('ok', 'client_gone')";
const HOUR: Duration = Duration::from_hours(1);

impl UsageRepo<'_> {
    /// A page of usage logs, newest first, starting after `from`.
    ///
    /// Costs the page, and with a filter by user, group, model or node also the other logs of the hours that the page
    /// comes from. Hours in which nothing fits are passed over: their sums tell.
    pub async fn query(
        &self,
        filter: &UsageFilter,
        limit: usize,
        from: Option<Cursor>,
    ) -> Result<Page<UsageLog>, Error> {
        let logs = if filter.errors {
            // They have an index of their own.
            self.newest(filter, limit, from).await?
        } else if *filter == (UsageFilter { from: filter.from, to: filter.to, ..UsageFilter::default() }) {
            self.newest(filter, limit, from).await?
        } else {
            self.hour_by_hour(filter, limit, from).await?
        };
        let place = |log: &UsageLog| Cursor { at: log.record.created_at, id: log.record.request_id.0 };
        Ok(Page::cut(logs, limit, place))
    }

    /// The rows of a page, taken from the hours in which something fits, the newest hour first.
    async fn hour_by_hour(
        &self,
        filter: &UsageFilter,
        limit: usize,
        from: Option<Cursor>,
    ) -> Result<Vec<UsageLog>, Error> {
        let mut logs = Vec::new();
        // Sums outlive logs: below the oldest log there are hours that have nothing to show.
        let Some(oldest) = self.oldest().await? else { return Ok(logs) };
        let oldest = filter.from.map_or(oldest, |from| from.max(oldest)).hour_start();
        let mut before = filter.to.map_or(i64::MAX, Timestamp::as_micros);
        if let Some(from) = from {
            before = before.min(from.at.as_micros().saturating_add(1));
        }
        while logs.len() <= limit
            && let Some(hour) =
                self.last_hour_with_usage(filter, oldest, Timestamp::from_micros(before)).await?
        {
            let end = hour.plus(HOUR);
            let of_hour = UsageFilter {
                from: Some(filter.from.map_or(hour, |from| from.max(hour))),
                to: Some(filter.to.map_or(end, |to| to.min(end))),
                ..filter.clone()
            };
            logs.extend(self.newest(&of_hour, limit - logs.len(), from).await?);
            before = hour.as_micros();
        }
        Ok(logs)
    }

    async fn newest(
        &self,
        filter: &UsageFilter,
        limit: usize,
        from: Option<Cursor>,
    ) -> Result<Vec<UsageLog>, Error> {
        let mut select = row::Entity::find();
        if let Some(user) = filter.user_id {
            select = select.filter(row::Column::UserId.eq(user.0));
        }
        if let Some(group) = filter.group_id {
            select = select.filter(row::Column::GroupId.eq(group.0));
        }
        if let Some(groups) = &filter.within {
            select = select.filter(row::Column::GroupId.is_in(groups.iter().map(|group| group.0)));
        }
        if let Some(model) = &filter.model {
            select = select.filter(glob::matches(row::Column::Model, model, self.0.backend()));
        }
        if let Some(node) = &filter.node {
            select = select.filter(row::Column::SourceNode.eq(node));
        }
        if filter.errors {
            select = select.filter(Expr::cust(ERRORS));
        }
        if let Some(from) = filter.from {
            select = select.filter(row::Column::CreatedAt.gte(from.as_micros()));
        }
        if let Some(to) = filter.to {
            select = select.filter(row::Column::CreatedAt.lt(to.as_micros()));
        }
        let order = (row::Column::CreatedAt, row::Column::RequestId);
        let rows = page::newest_first(select, order, limit, from).all(&self.0.reader).await?;
        rows.into_iter().map(UsageLog::try_from).collect()
    }

    /// The last hour of `[oldest, before)` in which something was used that fits the filter.
    async fn last_hour_with_usage(
        &self,
        filter: &UsageFilter,
        oldest: Timestamp,
        before: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        let mut values = vec![oldest.as_micros().into(), before.as_micros().into()];
        let model_glob = filter.model.as_deref().and_then(|model| glob::pattern(model, self.0.backend()));
        let (same_model, model) = match model_glob {
            Some((operator, glob)) => (operator, Some(glob)),
            None => ("=", filter.model.clone()),
        };
        let wanted: [(&str, &str, Option<Value>); 4] = [
            ("user_id", "=", filter.user_id.map(|id| id.0.into())),
            ("group_id", "=", filter.group_id.map(|id| id.0.into())),
            ("model", same_model, model.map(Value::from)),
            ("node", "=", filter.node.clone().map(Value::from)),
        ];
        let mut conditions = vec!["hour >= $1 AND hour < $2".to_owned()];
        for (column, operator, value) in wanted {
            if let Some(value) = value {
                values.push(value);
                conditions.push(format!("{column} {operator} ${}", values.len()));
            }
        }
        let within =
            filter.within.as_deref().map_or_else(String::new, |groups| in_groups(groups, &mut values));
        let conditions = conditions.join(" AND ") + &within;
        let sql = format!("SELECT hour FROM usage_rollups WHERE {conditions} ORDER BY hour DESC LIMIT 1");
        let found = self.0.reader.query_one_raw(self.statement(&sql, values)).await?;
        moment(found)
    }

    async fn oldest(&self) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT created_at FROM usage_logs ORDER BY created_at LIMIT 1";
        let found = self.0.reader.query_one_raw(self.statement(sql, vec![])).await?;
        moment(found)
    }

    /// The usage log of one request. Costs one look-up.
    pub async fn get(&self, id: RequestId) -> Result<Option<UsageLog>, Error> {
        row::Entity::find_by_id(id.0).one(&self.0.reader).await?.map(UsageLog::try_from).transpose()
    }
}

fn moment(row: Option<QueryResult>) -> Result<Option<Timestamp>, Error> {
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.map(Timestamp::from_micros))
}
