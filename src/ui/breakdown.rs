//! Days, stacked by what they are made of.

use std::time::Duration;

use maud::{Markup, html};

use crate::domain::clock::Timestamp;
use crate::domain::summary::{StatRow, StatsBy, Totals};
use crate::domain::usage::UsageFilter;
use crate::http::control::ControlState;
use crate::http::problem::ApiResult;
use crate::http::sums;
use crate::ui::chart::{self, Bar};
use crate::ui::format;
use crate::ui::span::link;

const DAY: Duration = Duration::from_hours(24);
/// More bars than that are too thin.
const BARS_MAX: usize = 92;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Cost,
    Tokens,
    Requests,
}

impl Measure {
    const ALL: [Self; 3] = [Self::Cost, Self::Tokens, Self::Requests];

    /// What an address says; cost, if it says nothing.
    #[must_use]
    pub fn read(word: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|measure| Some(measure.word()) == word).unwrap_or(Self::Cost)
    }

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Tokens => "tokens",
            Self::Requests => "requests",
        }
    }

    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Cost => "Cost",
            Self::Tokens => "Tokens",
            Self::Requests => "Requests",
        }
    }

    fn of(self, totals: &Totals) -> u64 {
        match self {
            Self::Cost => u64::try_from(totals.cost_nanousd).unwrap_or_default(),
            Self::Tokens => totals.total_tokens,
            Self::Requests => totals.request_count,
        }
    }

    fn written(self, value: u64) -> String {
        match self {
            Self::Cost => {
                let decimals = if value >= 10_000_000_000 { 0 } else { 2 };
                format::usd(i64::try_from(value).unwrap_or(i64::MAX), decimals)
            }
            Self::Tokens | Self::Requests => format::shortened(value),
        }
    }

    /// Links to the same page with another measure.
    #[must_use]
    pub fn links(self, path: &str, keep: &[(&'static str, String)]) -> Markup {
        html! {
            nav.spans aria-label="Measure" { @for measure in Self::ALL {
                a href=(link(path, &[keep.to_vec(), vec![("measure", measure.word().to_owned())]].concat()))
                    aria-current=[(self == measure).then_some("true")] { (measure.heading()) }
            } }
        }
    }
}

/// A chart of the days of a filter's window. `rows` are the sums by the same key, the largest first.
///
/// # Errors
/// What the database says.
pub async fn days(
    state: &ControlState,
    filter: &UsageFilter,
    by: StatsBy,
    rows: &[StatRow],
    measure: Measure,
    now: Timestamp,
) -> ApiResult<Markup> {
    let end =
        filter.to.map_or(now.next_day_start(), |to| to.minus(Duration::from_micros(1)).next_day_start());
    let most = DAY * u32::try_from(BARS_MAX).unwrap_or(1);
    let wanted = filter.from.map_or(end.minus(most), Timestamp::day_start);
    let begin = wanted.max(end.minus(most));
    let named: Vec<&StatRow> = rows.iter().take(chart::COLOURS).collect();
    let keys: Vec<String> = named.iter().map(|row| row.key.clone()).collect();
    let within =
        UsageFilter { from: Some(filter.from.map_or(begin, |from| from.max(begin))), ..filter.clone() };
    let parts = sums::days_of(state, &within, by, &keys).await?;
    let mut bars = Vec::new();
    let mut day = begin;
    while day < end {
        let label = format::day(day);
        let mut values = vec![0_u64; keys.len() + 1];
        for part in parts.iter().filter(|part| part.day == day) {
            if let Some(value) = values.get_mut(part.part.unwrap_or(keys.len())) {
                *value = measure.of(&part.totals);
            }
        }
        let sentence = told(&label, &named, &values, measure);
        bars.push(Bar { label, parts: values, told: sentence });
        day = day.plus(DAY);
    }
    let labels: Vec<String> = named.iter().map(|row| row.name.clone()).collect();
    let has_other = bars.iter().any(|bar| bar.parts.last().is_some_and(|other| *other > 0));
    let title =
        format!("{} per UTC day, from {} to {}", measure.heading(), format::day(begin), format::day(now));
    Ok(html! {
        (chart::stacked(&title, &bars, |value| measure.written(value)))
        (chart::key(&labels, has_other))
        @if begin > wanted { p.scope { "The last " (BARS_MAX) " days of the window." } }
    })
}

fn told(label: &str, named: &[&StatRow], values: &[u64], measure: Measure) -> String {
    let labels = named.iter().map(|row| row.name.as_str()).chain(["all others"]);
    let parts = labels.zip(values).filter(|(_, value)| **value > 0);
    let parts: Vec<String> =
        parts.map(|(name, value)| format!("{name}: {}", measure.written(*value))).collect();
    if parts.is_empty() { format!("{label}: nothing") } else { format!("{label}\n{}", parts.join("\n")) }
}
