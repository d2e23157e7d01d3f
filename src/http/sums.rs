//! Sums for the API and for pages alike: whoever asks, and in whatever form the answer goes out, they are found here.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::clock::Timestamp;
use crate::domain::ids::UserId;
use crate::domain::peer::Incomplete;
use crate::domain::summary::{ClientSession, DayPart, StatRow, StatsBy, Totals};
use crate::domain::usage::UsageFilter;
use crate::http::paging::List;
use crate::http::problem::{ApiError, ApiResult};
use crate::http::state::ControlState;
use crate::store::{StatsCursor, UsageRepo};

/// Complete answers that latencies are told of.
const LATEST: usize = 1_000;
/// Sessions of clients, and for how long back.
const SESSIONS: usize = 10;
const SESSIONS_SINCE: Duration = Duration::from_hours(7 * 24);

/// Sums.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct TotalsView {
    /// Input tokens.
    pub total_input: u64,
    /// Output tokens.
    pub total_output: u64,
    /// Both.
    pub total_tokens: u64,
    /// Usage logs.
    pub request_count: u64,
    /// Those that ended in an error.
    pub error_count: u64,
    /// Cost in nano-USD: 1 USD is 1,000,000,000.
    pub cost_nanousd: i64,
    /// Part of the input tokens: read from providers' caches.
    pub cache_read_tokens: u64,
    /// Usage logs of models that the price list does not know, which cost its default.
    pub default_priced_requests: u64,
}

impl From<Totals> for TotalsView {
    fn from(totals: Totals) -> Self {
        Self {
            total_input: totals.total_input,
            total_output: totals.total_output,
            total_tokens: totals.total_tokens,
            request_count: totals.request_count,
            error_count: totals.error_count,
            cost_nanousd: totals.cost_nanousd,
            cache_read_tokens: totals.cache_read_tokens,
            default_priced_requests: totals.default_priced_requests,
        }
    }
}

/// Sums of the whole cluster.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatsView {
    /// The sums.
    #[serde(flatten)]
    pub totals: TotalsView,
    /// Up to here every peer has said that it owes nothing: what the sums can be trusted for. A peer that died, is cut
    /// off or has left owing something holds it back.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub complete_through: Option<Timestamp>,
    /// Who holds that back.
    pub incomplete: Vec<IncompleteView>,
}

/// A node because of which sums are not known to be complete.
#[derive(Debug, Serialize, ToSchema)]
pub struct IncompleteView {
    /// The node.
    pub node: String,
    /// From here on some of its usage may be missing.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// How many usage logs it is known to owe.
    pub unsynced: u64,
}

impl From<Incomplete> for IncompleteView {
    fn from(incomplete: Incomplete) -> Self {
        Self { node: incomplete.node.to_string(), since: incomplete.since, unsynced: incomplete.unsynced }
    }
}

/// What the latest complete answers took.
#[derive(Debug, Serialize)]
pub struct LatencyView {
    /// How many they are.
    pub calls: u64,
    pub duration_p50_ms: u64,
    pub duration_p95_ms: u64,
    pub ttfb_p50_ms: Option<u64>,
    pub ttfb_p95_ms: Option<u64>,
}

/// The sums of everything that fits, and what they can be trusted for.
///
/// # Errors
/// What the database says.
pub async fn total_of(state: &ControlState, filter: &UsageFilter) -> ApiResult<StatsView> {
    // Asked before the sums: what is complete now is in them.
    let complete_through = state.cluster.complete_through().await?;
    let incomplete = state.cluster.incomplete().into_iter().map(IncompleteView::from).collect();
    let totals = UsageRepo::on(&state.store).sums_of(filter).await?;
    Ok(StatsView { totals: totals.into(), complete_through, incomplete })
}

/// A page of sums by a key.
///
/// # Errors
/// 400 for a cursor that no such page gave; what the database says.
pub async fn rows_of(
    state: &ControlState,
    by: StatsBy,
    filter: &UsageFilter,
    limit: usize,
    cursor: Option<&str>,
) -> ApiResult<List<StatRow>> {
    let after = cursor.filter(|cursor| !cursor.is_empty());
    let after = after.map(|cursor| StatsCursor::read(by, cursor)).transpose();
    let after = after.map_err(|error| ApiError::invalid(error.to_string()))?;
    let (usage, now) = (UsageRepo::on(&state.store), state.clock.now());
    let page = usage.stats_page_of(by, filter, limit, after.as_ref(), now).await?;
    Ok(List { items: page.items, next_cursor: page.next.map(|cursor| cursor.to_string()) })
}

/// Sums per day: of `keys` one by one, and of all others.
///
/// # Errors
/// What the database says.
pub async fn days_of(
    state: &ControlState,
    filter: &UsageFilter,
    by: StatsBy,
    keys: &[String],
) -> ApiResult<Vec<DayPart>> {
    Ok(UsageRepo::on(&state.store).days_of(filter, by, keys).await?)
}

/// A user's latest sessions, as clients name them.
///
/// # Errors
/// What the database says.
pub async fn sessions_of(state: &ControlState, user: UserId) -> ApiResult<Vec<ClientSession>> {
    let since = state.clock.now().minus(SESSIONS_SINCE);
    Ok(UsageRepo::on(&state.store).client_sessions(user, since, SESSIONS).await?)
}

/// What the latest complete answers of a window took; `None`: there are none.
///
/// # Errors
/// What the database says.
pub async fn latency_of(state: &ControlState, filter: &UsageFilter) -> ApiResult<Option<LatencyView>> {
    let (from, to) = (filter.from.unwrap_or(Timestamp::MIN), filter.to.unwrap_or(Timestamp::MAX));
    let took = UsageRepo::on(&state.store).latest_took(from, to, LATEST).await?;
    let mut whole: Vec<u64> = took.iter().map(|took| took.duration_ms).collect();
    let mut first: Vec<u64> = took.iter().filter_map(|took| took.ttfb_ms).collect();
    let Some((duration_p50_ms, duration_p95_ms)) = quantiles(&mut whole) else { return Ok(None) };
    let (ttfb_p50_ms, ttfb_p95_ms) = quantiles(&mut first).unzip();
    Ok(Some(LatencyView {
        calls: whole.len() as u64,
        duration_p50_ms,
        duration_p95_ms,
        ttfb_p50_ms,
        ttfb_p95_ms,
    }))
}

/// Median and 95th percentile, by the nearest rank.
fn quantiles(values: &mut [u64]) -> Option<(u64, u64)> {
    values.sort_unstable();
    let rank = |percent: usize| values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some((rank(50)?, rank(95)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_there() {
        assert_eq!(quantiles(&mut []), None);
        assert_eq!(quantiles(&mut [7]), Some((7, 7)));
        assert_eq!(quantiles(&mut (1..=100).rev().collect::<Vec<_>>()), Some((50, 95)));
    }
}
