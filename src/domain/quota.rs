//! Limits as pure rules: the caller brings the numbers and the time.

use std::fmt;
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, Kind};
use crate::domain::group::Limits;

/// Limits as the data plane checks them: the model globs are compiled once, when the limits change.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    limits: Limits,
    models: Option<GlobSet>,
}

impl Allowance {
    /// Compiles `limits`.
    ///
    /// # Errors
    /// The model glob that cannot be read, with the reason.
    pub fn new(limits: Limits) -> Result<Self, globset::Error> {
        let models = match &limits.models {
            None => None,
            Some(globs) => {
                let mut set = GlobSetBuilder::new();
                for glob in globs {
                    set.add(GlobBuilder::new(glob).build()?);
                }
                Some(set.build()?)
            }
        };
        Ok(Self { limits, models })
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    #[must_use]
    pub fn permits_model(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|globs| globs.is_match(model))
    }
}

/// What a user or group has used in the current windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Tokens since the start of the UTC day.
    pub daily_tokens: u64,
    /// Tokens since the start of the UTC month.
    pub monthly_tokens: u64,
    /// Nano-USD since the start of the UTC month.
    pub monthly_nanousd: i64,
}

/// Which limit refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    DailyTokens,
    MonthlyTokens,
    MonthlyUsd,
    Rpm,
    Concurrent,
    /// The largest `max_tokens` of one request.
    MaxTokens,
    /// The models that may be called.
    Model,
}

impl LimitKind {
    /// Every limit, in the order of declaration.
    pub const ALL: [Self; 7] = [
        Self::DailyTokens,
        Self::MonthlyTokens,
        Self::MonthlyUsd,
        Self::Rpm,
        Self::Concurrent,
        Self::MaxTokens,
        Self::Model,
    ];

    /// The name used in messages, metrics and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DailyTokens => "daily_tokens",
            Self::MonthlyTokens => "monthly_tokens",
            Self::MonthlyUsd => "monthly_usd",
            Self::Rpm => "rpm",
            Self::Concurrent => "concurrent",
            Self::MaxTokens => "max_tokens",
            Self::Model => "models",
        }
    }
}

/// Whose limit it is: `user alice`, `group research`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    User(String),
    Group(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name}"),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// A refused call: which limit, what is used, what the limit is, when it resets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub subject: Subject,
    pub limit: LimitKind,
    /// The whole sentence for the caller, numbers included.
    pub message: String,
    /// When it resets, for windows.
    pub resets_at: Option<Timestamp>,
    /// How long to wait before a retry can succeed; zero for a request that has to change first.
    pub retry_after: Duration,
}

impl Refusal {
    /// A spent quota is final until its window resets; the others pass by themselves or with another request.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self.limit, LimitKind::DailyTokens | LimitKind::MonthlyTokens | LimitKind::MonthlyUsd)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.limit {
            LimitKind::DailyTokens | LimitKind::MonthlyTokens | LimitKind::MonthlyUsd => Kind::QuotaSpent,
            LimitKind::Rpm | LimitKind::Concurrent => Kind::RateLimited,
            LimitKind::MaxTokens => Kind::Invalid,
            LimitKind::Model => Kind::Forbidden,
        };
        let failure = Self::new(kind, refusal.message);
        match kind {
            Kind::QuotaSpent | Kind::RateLimited => failure.retry_after(refusal.retry_after),
            _ => failure,
        }
    }
}

/// Checks the windows of one subject. A call is admitted while what is used is below the limit.
///
/// # Errors
/// The first limit that is reached, the day's before the month's.
pub fn check_windows(subject: &Subject, limits: &Limits, used: &Used, now: Timestamp) -> Result<(), Refusal> {
    let refuse = |limit: LimitKind, used: String, most: String, resets_at: Timestamp| {
        Err(Refusal {
            subject: subject.clone(),
            limit,
            message: format!(
                "{} limit of {subject} reached: used {used} of {most}, resets at {resets_at}",
                match limit {
                    LimitKind::DailyTokens => "daily token",
                    LimitKind::MonthlyTokens => "monthly token",
                    _ => "monthly budget",
                }
            ),
            resets_at: Some(resets_at),
            retry_after: resets_at.since(now).max(Duration::from_secs(1)),
        })
    };
    if let Some(most) = limits.daily_tokens
        && used.daily_tokens >= most
    {
        let (used, most) = (format!("{} tokens", used.daily_tokens), most.to_string());
        return refuse(LimitKind::DailyTokens, used, most, now.next_day_start());
    }
    if let Some(most) = limits.monthly_tokens
        && used.monthly_tokens >= most
    {
        let (used, most) = (format!("{} tokens", used.monthly_tokens), most.to_string());
        return refuse(LimitKind::MonthlyTokens, used, most, now.next_month_start());
    }
    if let Some(most) = limits.monthly_nanousd
        && used.monthly_nanousd >= most
    {
        return refuse(LimitKind::MonthlyUsd, usd(used.monthly_nanousd), usd(most), now.next_month_start());
    }
    Ok(())
}

/// Nano-USD as people write it: `$12.50`, with as many decimals as it takes, at least two.
#[must_use]
pub fn usd(nanousd: i64) -> String {
    let sign = if nanousd < 0 { "-" } else { "" };
    let whole = nanousd.unsigned_abs() / 1_000_000_000;
    let fraction = format!("{:09}", nanousd.unsigned_abs() % 1_000_000_000);
    let shown = fraction.trim_end_matches('0');
    format!("{sign}${whole}.{shown:0<2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_reached_at_its_value_and_zero_is_nothing() {
        let now: Timestamp = "2026-12-31T23:59:00Z".parse().expect("time");
        let subject = Subject::User("alice".to_owned());
        let limits = Limits { daily_tokens: Some(100), ..Limits::default() };
        let used = |n| Used { daily_tokens: n, ..Used::default() };
        assert!(check_windows(&subject, &limits, &used(99), now).is_ok());
        let refusal = check_windows(&subject, &limits, &used(100), now).expect_err("reached");
        assert_eq!(
            refusal.message,
            "daily token limit of user alice reached: used 100 tokens of 100, resets at 2027-01-01T00:00:00Z"
        );
        assert_eq!(refusal.retry_after, Duration::from_mins(1));
        let nothing = Limits { monthly_nanousd: Some(0), ..Limits::default() };
        assert!(check_windows(&subject, &nothing, &used(0), now).is_err());
        assert!(
            check_windows(&subject, &Limits::default(), &used(u64::MAX), now).is_ok(),
            "none is unlimited"
        );
    }

    #[test]
    fn money_reads_as_people_write_it() {
        assert_eq!(usd(12_500_000_000), "$12.50");
        assert_eq!(usd(1), "$0.000000001");
        assert_eq!(usd(-2_000_000_000), "-$2.00");
    }
}
