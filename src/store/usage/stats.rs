//! Sums over windows of time: of everything, of one user, per user, group, model, node or day.

use sea_orm::{ConnectionTrait as _, QueryResult, Statement, Value};
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::ids::{GroupId, UserId};
use crate::domain::summary::{StatRow, StatsBy, Totals, UserStatRow};
use crate::store::usage::UsageRepo;
use crate::store::usage::stats_page::{PagePosition, StatsCursor, StatsPage};
use crate::store::usage::window::{Sums, Window, in_groups};
use crate::store::{Error, columns};

/// The start of a row's UTC day.
pub(super) const DAY: &str = "at - at % 86400000000";
/// PostgreSQL adds 64-bit integers up to `numeric`; the cast makes both databases answer with 64 bits, or fail.
pub(super) const ADDED_UP: &str = "CAST(COALESCE(SUM(input_tokens), 0) AS BIGINT) AS input, \
                        CAST(COALESCE(SUM(output_tokens), 0) AS BIGINT) AS output, \
                        CAST(COALESCE(SUM(request_count), 0) AS BIGINT) AS requests, \
                        CAST(COALESCE(SUM(error_count), 0) AS BIGINT) AS errors, \
                        CAST(COALESCE(SUM(cost_nanousd), 0) AS BIGINT) AS cost, \
                        CAST(COALESCE(SUM(cache_read_tokens), 0) AS BIGINT) AS cache_read, \
                        CAST(COALESCE(SUM(default_priced_count), 0) AS BIGINT) AS default_priced";

impl UsageRepo<'_> {
    /// What all logs of `[from, to)` add up to. Grows with hours × nodes.
    pub async fn global_sum_tokens(&self, from: Timestamp, to: Timestamp) -> Result<Totals, Error> {
        self.totals(Window::new(from, to), Sums::Totals, "", vec![]).await
    }

    /// What the logs of `[from, to)` of members of these groups, as of their time, add up to. Grows with the rollups in the
    /// window.
    pub async fn sum_of_groups(
        &self,
        groups: &[GroupId],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Totals, Error> {
        let mut values = vec![];
        let and = in_groups(groups, &mut values);
        self.totals(Window::new(from, to), Sums::Rollups, &and, values).await
    }

    /// What one user's logs of `[from, to)` add up to. Grows with hours × the models and nodes that the user used.
    pub async fn sum_tokens(&self, user: UserId, from: Timestamp, to: Timestamp) -> Result<Totals, Error> {
        self.totals(Window::new(from, to), Sums::Rollups, " AND user_id = $1", vec![user.0.into()]).await
    }

    /// What all logs of `[from, to)` cost, in nano-USD. Grows with hours × nodes.
    pub async fn sum_cost_usd(&self, from: Timestamp, to: Timestamp) -> Result<i64, Error> {
        Ok(self.global_sum_tokens(from, to).await?.cost_nanousd)
    }

    /// Totals per user of `[from, to)`, most tokens first, at most `limit`; users without logs do not occur.
    pub async fn user_stats(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<UserStatRow>, Error> {
        self.stats_by(StatsBy::User, from, to, limit).await
    }

    /// Totals of `[from, to)` per user, group, model or node, most tokens first, or per UTC day, newest first; at most
    /// `limit` rows. Users and groups carry the name they have now, or had last when they are gone.
    ///
    /// Per node and day it grows with hours × nodes, else with the rollups in the window.
    pub async fn stats_by(
        &self,
        by: StatsBy,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<StatRow>, Error> {
        self.stat_rows(by, None, Window::new(from, to), limit, None).await
    }

    /// A page of [`UsageRepo::stats_by`], of up to `limit` rows; of everybody, or of members of the groups `within`, as of the
    /// time of their calls.
    ///
    /// Sums grow while calls are booked, and would change places between two pages. So a list that goes on beyond its
    /// first page is of the calls made before that page, all pages alike: every key is on one page, once. A call that a
    /// follower made earlier and pushes meanwhile can still change places.
    pub async fn stats_page(
        &self,
        by: StatsBy,
        within: Option<&[GroupId]>,
        (from, to): (Timestamp, Timestamp),
        limit: usize,
        after: Option<&StatsCursor>,
        now: Timestamp,
    ) -> Result<StatsPage, Error> {
        let to = after.map_or(to, |cursor| cursor.until.min(to));
        let rows = self.stat_rows(by, within, Window::new(from, to), limit.saturating_add(1), after).await?;
        // Days keep their places.
        if rows.len() <= limit || to <= now || now <= from || by == StatsBy::Day {
            return Ok(StatsPage::cut(by, rows, limit, to));
        }
        let rows = self.stat_rows(by, within, Window::new(from, now), limit.saturating_add(1), after).await?;
        Ok(StatsPage::cut(by, rows, limit, now))
    }

    async fn stat_rows(
        &self,
        by: StatsBy,
        within: Option<&[GroupId]>,
        window: Window,
        limit: usize,
        after: Option<&StatsCursor>,
    ) -> Result<Vec<StatRow>, Error> {
        if window.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = vec![];
        let and = within.map(|groups| in_groups(groups, &mut values));
        let table = if and.is_some() { Sums::Rollups } else { tables_for(by) };
        let rows = window.rows(table, &and.unwrap_or_default(), &mut values);
        let key = key_of(by);
        let beyond = after.map_or_else(String::new, |cursor| beyond(key, cursor, &mut values));
        values.push(columns::count(limit as u64).into());
        let limit = values.len();
        let order = order_of(by);
        let sums = |last_name: &str| {
            format!(
                "SELECT {key} AS key, {last_name}{ADDED_UP} FROM ({rows}) AS r GROUP BY {key}{beyond} \
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

    async fn totals(
        &self,
        window: Window,
        sums: Sums,
        and: &str,
        mut values: Vec<Value>,
    ) -> Result<Totals, Error> {
        if window.is_empty() {
            return Ok(Totals::default());
        }
        let rows = window.rows(sums, and, &mut values);
        let sql = format!("SELECT {ADDED_UP} FROM ({rows}) AS r");
        let row = self.0.reader.query_one_raw(self.statement(&sql, values)).await?;
        row.map_or(Ok(Totals::default()), |row| added_up(&row))
    }

    pub(super) fn statement(self, sql: &str, values: Vec<Value>) -> Statement {
        Statement::from_sql_and_values(self.0.backend(), sql, values)
    }
}

/// What sums are grouped by.
pub(super) fn key_of(by: StatsBy) -> &'static str {
    match by {
        StatsBy::User => "user_id",
        StatsBy::Group => "group_id",
        StatsBy::Model => "model",
        StatsBy::Node => "node",
        StatsBy::Day => DAY,
    }
}

pub(super) fn order_of(by: StatsBy) -> String {
    let key = key_of(by);
    match by {
        StatsBy::Day => format!("{key} DESC"),
        _ => format!("SUM(input_tokens + output_tokens) DESC, {key}"),
    }
}

/// Only what comes after a cursor, in the order of the list. Appends its parameters to `values`.
pub(super) fn beyond(key: &str, cursor: &StatsCursor, values: &mut Vec<Value>) -> String {
    let place: Value = match &cursor.place {
        PagePosition::Id(id) => (*id).into(),
        PagePosition::Word(word) => word.clone().into(),
        PagePosition::Day(day) => {
            values.push(day.as_micros().into());
            return format!(" HAVING {key} < ${}", values.len());
        }
    };
    values.extend([columns::count(cursor.tokens).into(), place]);
    let (tokens, place) = (values.len() - 1, values.len());
    let sum = "CAST(SUM(input_tokens + output_tokens) AS BIGINT)";
    format!(" HAVING {sum} < ${tokens} OR ({sum} = ${tokens} AND {key} > ${place})")
}

/// With the name that each has now, or had last when it is gone.
pub(super) fn named(table: &str, sums: &str) -> String {
    format!(
        "SELECT t.*, COALESCE((SELECT name FROM {table} WHERE id = t.key), t.last_name) AS name FROM ({sums}) AS t"
    )
}

fn tables_for(by: StatsBy) -> Sums {
    match by {
        StatsBy::User | StatsBy::Group | StatsBy::Model => Sums::Rollups,
        StatsBy::Node | StatsBy::Day => Sums::Totals,
    }
}

pub(super) fn added_up(row: &QueryResult) -> Result<Totals, Error> {
    let number = |column: &str| row.try_get::<i64>("", column);
    let (input, output) = (columns::counted(number("input")?), columns::counted(number("output")?));
    Ok(Totals {
        total_input: input,
        total_output: output,
        total_tokens: input.saturating_add(output),
        request_count: columns::counted(number("requests")?),
        error_count: columns::counted(number("errors")?),
        default_priced_requests: columns::counted(number("default_priced")?),
        cache_read_tokens: columns::counted(number("cache_read")?),
        cost_nanousd: number("cost")?,
    })
}

pub(super) fn stat_row(by: StatsBy, row: &QueryResult) -> Result<StatRow, Error> {
    let (key, name) = match by {
        StatsBy::User | StatsBy::Group => {
            let id = row.try_get::<Uuid>("", "key")?;
            let key = if id.is_nil() { String::new() } else { id.to_string() };
            (key, row.try_get("", "name")?)
        }
        StatsBy::Model | StatsBy::Node => {
            let key = row.try_get::<String>("", "key")?;
            (key.clone(), key)
        }
        StatsBy::Day => {
            let moment = Timestamp::from_micros(row.try_get("", "key")?).to_string();
            let day = moment.split_once('T').map_or(moment.as_str(), |(day, _)| day).to_owned();
            (day.clone(), day)
        }
    };
    Ok(StatRow { key, name, totals: added_up(row)? })
}
