//! What was used yesterday, all nodes together: told by one leader, at five past midnight UTC.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::alerts::event::EventParts;
use crate::alerts::service::Alerts;
use crate::cluster::leader::service::LeaderService;
use crate::domain::alert::{EventKind, EventStatus, EventSubject, Severity};
use crate::domain::clock::Timestamp;
use crate::domain::plain_name::plain_name;
use crate::domain::quota::usd;
use crate::domain::quoted::Quoted;
use crate::domain::summary::{StatRow, StatsBy};
use crate::store::{Error, Store, UsageRepo};

/// When in the day it is told: nodes have pushed what they had by then.
const TOLD_AT: Duration = Duration::from_mins(5);
/// A leader that was not there then tells it later; of a day without calls not any more.
const TOLD_WITHOUT_CALLS: Duration = Duration::from_hours(1);
/// Users, groups and models that are named.
const TOP: usize = 5;

pub(super) struct SummaryWatch {
    leader: LeaderService,
    store: Store,
    /// The day that was told last.
    told: Option<Timestamp>,
}

impl SummaryWatch {
    pub(super) fn new(leader: LeaderService, store: Store) -> Self {
        Self { leader, store, told: None }
    }

    pub(super) async fn look(&mut self, alerts: &Alerts, now: Timestamp) {
        let to = now.day_start();
        let from = to.minus(Duration::from_secs(1)).day_start();
        let into_day = now.since(to);
        if self.told == Some(from) || into_day < TOLD_AT || !alerts.is_wanted(EventKind::SummaryDaily) {
            return;
        }
        let raised = match self.event(from, to).await {
            Ok((_, 0)) if into_day > TOLD_WITHOUT_CALLS => Ok(false),
            Ok((event, _)) => alerts.raise(event).await,
            Err(error) => Err(error),
        };
        match raised {
            Ok(_) => self.told = Some(from),
            Err(error) => tracing::debug!(%error, "the day's summary cannot be told; it is tried again"),
        }
    }

    /// The event, and how many calls there were.
    async fn event(&self, from: Timestamp, to: Timestamp) -> Result<(EventParts, u64), Error> {
        let usage = UsageRepo::on(&self.store);
        let total = usage.global_sum_tokens(from, to).await?;
        let day = from.to_string();
        let day = day.split_once('T').map_or(day.as_str(), |(day, _)| day).to_owned();
        let mut text = format!(
            "{} requests, {} of them with errors. {} tokens: {} in, {} out. Cost {}.",
            total.request_count,
            total.error_count,
            total.total_tokens,
            total.total_input,
            total.total_output,
            usd(total.cost_nanousd)
        );
        let mut details = json!({
            "day": day,
            "requests": total.request_count,
            "errors": total.error_count,
            "input_tokens": total.total_input,
            "output_tokens": total.total_output,
            "cost_nanousd": total.cost_nanousd,
            "default_priced_requests": total.default_priced_requests,
        });
        for (by, title, field) in [
            (StatsBy::User, "Users", "top_users"),
            (StatsBy::Group, "Groups", "top_groups"),
            (StatsBy::Model, "Models", "top_models"),
        ] {
            let rows = usage.stats_by(by, from, to, TOP).await?;
            let rows: Vec<(String, StatRow)> =
                rows.into_iter().filter(|row| !row.key.is_empty()).map(|row| (name(by, &row), row)).collect();
            if !rows.is_empty() {
                let one = |(name, row): &(String, StatRow)| {
                    format!(
                        "{} {} ({} tokens)",
                        Quoted(name),
                        usd(row.totals.cost_nanousd),
                        row.totals.total_tokens
                    )
                };
                let shown = rows.iter().map(one).collect::<Vec<_>>().join(", ");
                let _ = write!(text, "\n{title}: {shown}");
            }
            details[field] = rows.iter().map(|(name, row)| figures(name, row)).collect();
        }
        let incomplete = self.leader.incomplete();
        if !incomplete.is_empty() {
            let nodes = incomplete.iter().map(|node| node.node.to_string()).collect::<Vec<_>>().join(", ");
            let _ = write!(text, "\nNot complete: usage of {nodes} may still be missing.");
        }
        details["incomplete"] = json!(incomplete);
        details["complete_through"] = json!(self.leader.complete_through());
        let kind = EventKind::SummaryDaily;
        let event = EventParts {
            kind,
            key: format!("{kind}/{day}"),
            status: EventStatus::Notice,
            severity: Severity::Info,
            subject: EventSubject::named("cluster", &self.leader.ledger_id().to_string()),
            title: format!("Usage of {day}: {}", usd(total.cost_nanousd)),
            text,
            details,
        };
        Ok((event, total.request_count))
    }
}

/// Models are named by callers.
fn name(by: StatsBy, row: &StatRow) -> String {
    (if by == StatsBy::Model { plain_name(&row.name) } else { &row.name }).to_owned()
}

fn figures(name: &str, row: &StatRow) -> Value {
    json!({
        "name": name,
        "requests": row.totals.request_count,
        "errors": row.totals.error_count,
        "tokens": row.totals.total_tokens,
        "cost_nanousd": row.totals.cost_nanousd,
    })
}
