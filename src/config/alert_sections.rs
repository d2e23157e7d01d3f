//! What `[[alerts]]` and `[alerting]` hold once they have been read.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::alert::EventKind;
use crate::domain::secret::Secret;

/// What a receiver is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertFormat {
    /// Everything, for programs.
    Json,
    /// What Slack's incoming webhooks take.
    Slack,
    /// What a webhook of Teams' Workflows takes: an adaptive card.
    Teams,
}

impl AlertFormat {
    pub const ALL: [(&str, Self); 3] = [("json", Self::Json), ("slack", Self::Slack), ("teams", Self::Teams)];

    /// As it is configured.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}

/// `[[alerts]]`: a receiver.
#[derive(Clone, Debug)]
pub struct AlertConfig {
    /// Unique among receivers; by default the host of its URL.
    pub name: String,
    /// Where it is sent. The path of many such URLs is a credential: it is shown to nobody.
    pub url: Secret,
    /// What is shown of the URL.
    pub host: String,
    /// What messages are signed with.
    pub secret: Option<Secret>,
    pub events: Vec<EventKind>,
    pub format: AlertFormat,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// The HTTP proxy to reach it through, its own or the global one.
    pub proxy: Option<Secret>,
    /// Authorities to trust besides the public ones.
    pub ca_file: Option<PathBuf>,
}

/// `[alerting]`
#[derive(Clone, Debug, PartialEq)]
pub struct AlertingConfig {
    /// The share of a limit from which on it is told.
    pub quota_soft: f64,
    /// How long a target has to be without calls, or to have them again, until that is told.
    pub target_after: Duration,
    /// The same of a ledger that cannot write.
    pub ledger_after: Duration,
    /// How old usage that is owed may be.
    pub backlog_after: Duration,
    /// How much usage may be owed.
    pub backlog_count: usize,
}

/// As `defaults.toml` has it.
impl Default for AlertingConfig {
    fn default() -> Self {
        Self {
            quota_soft: 0.8,
            target_after: Duration::from_secs(30),
            ledger_after: Duration::from_secs(10),
            backlog_after: Duration::from_mins(5),
            backlog_count: 100_000,
        }
    }
}
