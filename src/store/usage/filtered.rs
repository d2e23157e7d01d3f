//! Sums of what fits a filter: in all, by one key, by day and key; and what the latest calls took. From sums where those
//! tell, from logs where only these do.

use std::fmt::Write as _;

use sea_orm::{ConnectionTrait as _, QueryResult, Value};
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::ids::UserId;
use crate::domain::summary::{ClientSession, DayPart, StatRow, StatsBy, Totals};
use crate::domain::usage::UsageFilter;
use crate::store::usage::UsageRepo;
use crate::store::usage::logs::ERRORS;
use crate::store::usage::stats::{ADDED_UP, DAY, added_up, beyond, key_of, named, order_of, stat_row};
use crate::store::usage::stats_page::{StatsCursor, StatsPage};
use crate::store::usage::window::{Sums, Window, in_groups};
use crate::store::{Error, columns, glob};

/// How long a call took, and until its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Took {
    pub duration_ms: u64,
    pub ttfb_ms: Option<u64>,
}

/// Rows to be added up, as a query, and what it is given.
struct Rows {
    sql: String,
    values: Vec<Value>,
}

impl UsageRepo<'_> {
    /// What the logs add up to that fit. Without errors alone it grows with the rollups of the window; of errors with these.
    pub async fn sums_of(&self, filter: &UsageFilter) -> Result<Totals, Error> {
        let Some(rows) = self.rows_of(filter, false) else { return Ok(Totals::default()) };
        let sql = format!("SELECT {ADDED_UP} FROM {}", rows.sql);
        let row = self.0.reader.query_one_raw(self.statement(&sql, rows.values)).await?;
        row.map_or(Ok(Totals::default()), |row| added_up(&row))
    }

    /// A page of the same by a key, in the order of [`UsageRepo::stats_page`] and by its rules.
    pub async fn stats_page_of(
        &self,
        by: StatsBy,
        filter: &UsageFilter,
        limit: usize,
        after: Option<&StatsCursor>,
        now: Timestamp,
    ) -> Result<StatsPage, Error> {
        let (from, to) = ends(filter);
        let to = after.map_or(to, |cursor| cursor.until.min(to));
        let until = |to| UsageFilter { to: Some(to), ..filter.clone() };
        let rows = self.stats_of(by, &until(to), limit.saturating_add(1), after).await?;
        if rows.len() <= limit || to <= now || now <= from || by == StatsBy::Day {
            return Ok(StatsPage::cut(by, rows, limit, to));
        }
        let rows = self.stats_of(by, &until(now), limit.saturating_add(1), after).await?;
        Ok(StatsPage::cut(by, rows, limit, now))
    }

    async fn stats_of(
        &self,
        by: StatsBy,
        filter: &UsageFilter,
        limit: usize,
        after: Option<&StatsCursor>,
    ) -> Result<Vec<StatRow>, Error> {
        let by_people = !matches!(by, StatsBy::Node | StatsBy::Day);
        let Some(Rows { sql: rows, mut values }) = self.rows_of(filter, by_people) else {
            return Ok(Vec::new());
        };
        let key = key_of(by);
        let beyond = after.map_or_else(String::new, |cursor| beyond(key, cursor, &mut values));
        values.push(columns::count(limit as u64).into());
        let (limit, order) = (values.len(), order_of(by));
        let sums = |last_name: &str| {
            format!(
                "SELECT {key} AS key, {last_name}{ADDED_UP} FROM {rows} GROUP BY {key}{beyond} \
                 ORDER BY {order} LIMIT ${limit}"
            )
        };
        let sql = match by {
            StatsBy::User => named("users", &sums("MAX(user_name) AS last_name, ")),
            StatsBy::Group => named("groups", &sums("MAX(group_name) AS last_name, ")),
            StatsBy::Model | StatsBy::Node | StatsBy::Day => sums(""),
        };
        let rows = self.0.reader.query_all_raw(self.statement(&sql, values)).await?;
        rows.iter().map(|row| stat_row(by, row)).collect()
    }

    /// The same per UTC day and key, oldest first, for `keys` one by one and for all others together.
    pub async fn days_of(
        &self,
        filter: &UsageFilter,
        by: StatsBy,
        keys: &[String],
    ) -> Result<Vec<DayPart>, Error> {
        let by_people = !matches!(by, StatsBy::Node | StatsBy::Day);
        let Some(Rows { sql: rows, mut values }) = self.rows_of(filter, by_people) else {
            return Ok(Vec::new());
        };
        let key = key_of(by);
        let mut cases = String::new();
        for (at, wanted) in keys.iter().enumerate() {
            let value: Option<Value> = match by {
                StatsBy::User | StatsBy::Group if wanted.is_empty() => Some(Uuid::nil().into()),
                StatsBy::User | StatsBy::Group => wanted.parse::<Uuid>().ok().map(Value::from),
                StatsBy::Model | StatsBy::Node => Some(wanted.clone().into()),
                StatsBy::Day => None,
            };
            if let Some(value) = value {
                values.push(value);
                let _ = write!(cases, " WHEN {key} = ${} THEN {at}", values.len());
            }
        }
        let part = if cases.is_empty() { "-1".to_owned() } else { format!("CASE{cases} ELSE -1 END") };
        let sql = format!(
            "SELECT CAST({DAY} AS BIGINT) AS day, CAST({part} AS BIGINT) AS part, {ADDED_UP} FROM {rows} \
             GROUP BY 1, 2 ORDER BY 1, 2"
        );
        let rows = self.0.reader.query_all_raw(self.statement(&sql, values)).await?;
        let read = |row: &QueryResult| {
            let part = usize::try_from(row.try_get::<i64>("", "part")?).ok();
            let day = Timestamp::from_micros(row.try_get("", "day")?);
            Ok(DayPart { day, part, totals: added_up(row)? })
        };
        rows.iter().map(read).collect()
    }

    /// A user's latest sessions since `since`, as clients name them. Looks into the hours in which the user used anything.
    pub async fn client_sessions(
        &self,
        user: UserId,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<ClientSession>, Error> {
        let sql = "SELECT l.session_id, MIN(l.created_at), MAX(l.created_at), COUNT(*), \
                   CAST(SUM(l.input_tokens + l.output_tokens) AS BIGINT), CAST(SUM(l.cost_nanousd) AS BIGINT) \
                   FROM (SELECT DISTINCT hour FROM usage_rollups WHERE user_id = $1 AND hour >= $2) AS h \
                   CROSS JOIN usage_logs AS l \
                   WHERE l.created_at >= h.hour AND l.created_at < h.hour + 3600000000 AND l.user_id = $1 \
                   AND l.session_id IS NOT NULL AND l.dismissed_at IS NULL \
                   GROUP BY l.session_id ORDER BY MAX(l.created_at) DESC LIMIT $3";
        let since = since.hour_start().as_micros();
        let values = vec![user.0.into(), since.into(), columns::count(limit as u64).into()];
        let rows = self.0.reader.query_all_raw(self.statement(sql, values)).await?;
        let read = |row: &QueryResult| {
            Ok(ClientSession {
                id: row.try_get_by_index(0)?,
                first: Timestamp::from_micros(row.try_get_by_index(1)?),
                last: Timestamp::from_micros(row.try_get_by_index(2)?),
                request_count: columns::counted(row.try_get_by_index(3)?),
                total_tokens: columns::counted(row.try_get_by_index(4)?),
                cost_nanousd: row.try_get_by_index(5)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// What the latest complete answers of a window took, at most `limit` of them.
    pub async fn latest_took(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<Took>, Error> {
        let sql = "SELECT duration_ms, ttfb_ms FROM usage_logs WHERE created_at >= $1 AND created_at < $2 \
                   AND outcome = 'ok' AND dismissed_at IS NULL ORDER BY created_at DESC LIMIT $3";
        let values =
            vec![from.as_micros().into(), to.as_micros().into(), columns::count(limit as u64).into()];
        let rows = self.0.reader.query_all_raw(self.statement(sql, values)).await?;
        let read = |row: &QueryResult| {
            let ttfb_ms = row.try_get_by_index::<Option<i64>>(1)?.map(columns::counted);
            Ok(Took { duration_ms: columns::counted(row.try_get_by_index(0)?), ttfb_ms })
        };
        rows.iter().map(read).collect()
    }

    /// The rows that fit, to be put behind `FROM`; `None`: none can. `by_people`: with user, group and model.
    fn rows_of(self, filter: &UsageFilter, by_people: bool) -> Option<Rows> {
        let (from, to) = ends(filter);
        let window = Window::new(from, to);
        if window.is_empty() {
            return None;
        }
        let (mut values, mut and): (Vec<Value>, _) = (Vec::new(), String::new());
        let model_glob = filter.model.as_deref().and_then(|model| glob::pattern(model, self.0.backend()));
        let (same_model, model) = match model_glob {
            Some((operator, glob)) => (operator, Some(glob)),
            None => ("=", filter.model.clone()),
        };
        let wanted: [(&str, &str, Option<Value>); 3] = [
            ("user_id", "=", filter.user_id.map(|id| id.0.into())),
            ("group_id", "=", filter.group_id.map(|id| id.0.into())),
            ("model", same_model, model.map(Value::from)),
        ];
        for (column, operator, value) in wanted {
            if let Some(value) = value {
                values.push(value);
                let _ = write!(and, " AND {column} {operator} ${}", values.len());
            }
        }
        if let Some(groups) = &filter.within {
            and.push_str(&in_groups(groups, &mut values));
        }
        let sums = if by_people || !and.is_empty() { Sums::Rollups } else { Sums::Totals };
        let rows = if filter.errors {
            let _ = write!(and, " AND {ERRORS}");
            window.without_sums().rows(sums, &and, &mut values)
        } else {
            window.rows(sums, &and, &mut values)
        };
        // The two tables call it differently; behind them it has one name.
        let node = filter.node.as_ref().map_or_else(String::new, |node| {
            values.push(node.clone().into());
            format!(" WHERE node = ${}", values.len())
        });
        Some(Rows { sql: format!("({rows}) AS r{node}"), values })
    }
}

fn ends(filter: &UsageFilter) -> (Timestamp, Timestamp) {
    (filter.from.unwrap_or(Timestamp::MIN), filter.to.unwrap_or(Timestamp::MAX))
}
