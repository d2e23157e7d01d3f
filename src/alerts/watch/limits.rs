//! Limits of tokens and money that are used to a large part, or used up: told once for each limit and window. Every leader
//! knows what all nodes have used. Requests per minute and at once pass by themselves, and are not told.

use std::collections::HashMap;

use serde_json::json;
use tokio::task::yield_now;

use crate::accounts::Accounts;
use crate::alerts::event::EventParts;
use crate::alerts::service::Alerts;
use crate::domain::alert::{EventKind, EventStatus, EventSubject, Severity};
use crate::domain::clock::Timestamp;
use crate::domain::group::Limits;
use crate::domain::quota::{LimitKind, Used, usd};
use crate::domain::quoted::Quoted;
use crate::quota::{Quota, SubjectId};

/// Subjects between which others have a turn.
const AT_ONCE: usize = 1_000;

pub(super) struct LimitsWatch {
    quota: Quota,
    accounts: Accounts,
    /// What was told, and until when its window lasts.
    told: HashMap<String, Timestamp>,
}

/// A limit and what is used of it, in its own unit.
struct Use {
    kind: LimitKind,
    used: u64,
    limit: u64,
    begins: Timestamp,
    ends: Timestamp,
}

impl LimitsWatch {
    pub(super) fn new(quota: Quota, accounts: Accounts) -> Self {
        Self { quota, accounts, told: HashMap::new() }
    }

    pub(super) async fn look(&mut self, alerts: &Alerts, now: Timestamp) {
        if !alerts.is_wanted(EventKind::QuotaSoft) && !alerts.is_wanted(EventKind::QuotaSpent) {
            return;
        }
        self.told.retain(|_, ends| *ends > now);
        let soft = alerts.alerting().quota_soft;
        for (at, subject) in self.quota.counted().into_iter().enumerate() {
            if at % AT_ONCE == AT_ONCE - 1 {
                yield_now().await;
            }
            let (id, named) = match subject {
                SubjectId::User(id) => (id.to_string(), self.accounts.user_allowance(id)),
                SubjectId::Group(id) => (id.to_string(), self.accounts.group_allowance(id)),
            };
            let Some((name, allowance)) = named.filter(|(_, allowance)| allowance.limits().counts_use())
            else {
                continue;
            };
            let word = if matches!(subject, SubjectId::User(_)) { "user" } else { "group" };
            let uses = uses(allowance.limits(), &self.quota.used(subject, now), now);
            for of in uses.iter().flatten() {
                let subject = EventSubject::new(word, id.clone(), &*name);
                self.tell_of(alerts, &subject, of, soft).await;
            }
        }
    }

    async fn tell_of(&mut self, alerts: &Alerts, subject: &EventSubject, of: &Use, soft: f64) {
        let is_spent = of.used >= of.limit;
        for (kind, is_reached) in
            [(EventKind::QuotaSoft, of.share() >= soft), (EventKind::QuotaSpent, is_spent)]
        {
            if !is_reached {
                continue;
            }
            // A limit that is raised is another one, and told when that is reached.
            let limit = of.kind.as_str();
            let key = format!("{kind}/{}/{limit}/{}/{}", subject.key(), of.limit, of.begins.as_secs());
            if self.told.contains_key(&key) {
                continue;
            }
            match alerts.raise(event(kind, key.clone(), subject.clone(), of)).await {
                Ok(_) => drop(self.told.insert(key, of.ends)),
                Err(error) => tracing::debug!(%error, "an alert cannot be raised; it is tried again"),
            }
        }
    }
}

impl Use {
    #[allow(clippy::cast_precision_loss, reason = "a share is shown and compared with a share")]
    fn share(&self) -> f64 {
        self.used as f64 / self.limit as f64
    }

    fn shown(&self, amount: u64) -> String {
        match self.kind {
            LimitKind::MonthlyUsd => usd(i64::try_from(amount).unwrap_or(i64::MAX)),
            _ => format!("{amount} tokens"),
        }
    }

    fn words(&self) -> &'static str {
        match self.kind {
            LimitKind::DailyTokens => "daily token limit",
            LimitKind::MonthlyTokens => "monthly token limit",
            _ => "monthly budget",
        }
    }
}

/// What is used of each limit that adds up. A limit of nothing is meant so, and not told.
fn uses(limits: &Limits, used: &Used, now: Timestamp) -> [Option<Use>; 3] {
    let day = (now.day_start(), now.next_day_start());
    let month = (now.month_start(), now.next_month_start());
    let money = |nanousd: i64| u64::try_from(nanousd).unwrap_or(0);
    let of = |kind, used, limit: Option<u64>, (begins, ends)| {
        limit.filter(|limit| *limit > 0).map(|limit| Use { kind, used, limit, begins, ends })
    };
    [
        of(LimitKind::DailyTokens, used.daily_tokens, limits.daily_tokens, day),
        of(LimitKind::MonthlyTokens, used.monthly_tokens, limits.monthly_tokens, month),
        of(LimitKind::MonthlyUsd, money(used.monthly_nanousd), limits.monthly_nanousd.map(money), month),
    ]
}

fn event(kind: EventKind, key: String, subject: EventSubject, of: &Use) -> EventParts {
    let who = format!("{} {}", subject.kind, Quoted(&subject.name));
    let (title, severity, what_follows) = if kind == EventKind::QuotaSpent {
        (
            format!("{who} has used up its {}", of.words()),
            Severity::Warning,
            "Calls are refused until it resets",
        )
    } else {
        let percent = (of.share() * 100.0).floor();
        (format!("{who} has used {percent}% of its {}", of.words()), Severity::Info, "It resets")
    };
    let (used, limit) = (of.shown(of.used), of.shown(of.limit));
    let text = format!("Used {used} of {limit}. {what_follows} at {}.", of.ends);
    let details = json!({
        "limit": of.kind.as_str(),
        "used": of.used,
        "of": of.limit,
        "unit": if of.kind == LimitKind::MonthlyUsd { "nano-USD" } else { "tokens" },
        "window_begins_at": of.begins,
        "resets_at": of.ends,
    });
    EventParts { kind, key, status: EventStatus::Notice, severity, subject, title, text, details }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_nothing_is_not_told_and_money_is_told_as_money() {
        let now: Timestamp = "2026-11-29T10:00:00Z".parse().expect("a time");
        let limits =
            Limits { daily_tokens: Some(0), monthly_nanousd: Some(10_000_000_000), ..Limits::default() };
        let used = Used { daily_tokens: 5, monthly_tokens: 5, monthly_nanousd: 8_500_000_000 };
        let [day, month, money] = uses(&limits, &used, now);
        assert!(day.is_none() && month.is_none());
        let money = money.expect("a budget");
        assert!((0.84..0.86).contains(&money.share()));
        let told = event(
            EventKind::QuotaSoft,
            String::new(),
            EventSubject::new("user", "1", "al\u{202e}ice"),
            &money,
        );
        assert_eq!(told.title, "user al\\u{202e}ice has used 85% of its monthly budget");
        assert_eq!(told.text, "Used $8.50 of $10.00. It resets at 2026-12-01T00:00:00Z.");
    }
}
