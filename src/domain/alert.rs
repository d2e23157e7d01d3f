//! What an operator is told of by itself: kinds of events, and whom or what they are about. Who is told, and how, is
//! `alerts`'.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A user or group has used a large part of a limit.
    QuotaSoft,
    /// A user or group has used up a limit.
    QuotaSpent,
    /// A target gets no calls.
    TargetDown,
    /// It gets calls again.
    TargetUp,
    /// A node of the cluster has fallen silent.
    PeerLost,
    /// A node owes the leader much usage, or has owed it for long.
    Backlog,
    /// A node cannot write its usage.
    LedgerStuck,
    /// Answers were booked without tokens, because the meter could not read them.
    Unmetered,
    /// Calls were priced by the default, because the price list does not know their model.
    PriceUnknown,
    /// What was used yesterday.
    SummaryDaily,
    /// Somebody asked for it, to see whether it arrives. Nobody subscribes to it.
    Test,
}

impl EventKind {
    /// Those that can be subscribed to, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::QuotaSoft,
        Self::QuotaSpent,
        Self::TargetDown,
        Self::TargetUp,
        Self::PeerLost,
        Self::Backlog,
        Self::LedgerStuck,
        Self::Unmetered,
        Self::PriceUnknown,
        Self::SummaryDaily,
    ];

    /// As it is configured, sent and counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QuotaSoft => "quota.soft",
            Self::QuotaSpent => "quota.spent",
            Self::TargetDown => "target.down",
            Self::TargetUp => "target.up",
            Self::PeerLost => "peer.lost",
            Self::Backlog => "backlog",
            Self::LedgerStuck => "ledger.stuck",
            Self::Unmetered => "unmetered",
            Self::PriceUnknown => "price.unknown",
            Self::SummaryDaily => "summary.daily",
            Self::Test => "test",
        }
    }

    /// Whether it is about the whole cluster, and told by one of its leaders; else it is about one node, which tells it.
    #[must_use]
    pub fn is_of_cluster(self) -> bool {
        match self {
            Self::QuotaSoft | Self::QuotaSpent | Self::PeerLost | Self::SummaryDaily => true,
            Self::TargetDown
            | Self::TargetUp
            | Self::Backlog
            | Self::LedgerStuck
            | Self::Unmetered
            | Self::PriceUnknown
            | Self::Test => false,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no event that can be subscribed to.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no event: use some of {all}", all = EventKind::ALL.map(EventKind::as_str).join(", "))]
pub struct NotAnEvent(pub String);

impl FromStr for EventKind {
    type Err = NotAnEvent;

    fn from_str(text: &str) -> Result<Self, NotAnEvent> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| NotAnEvent(text.to_owned()))
    }
}

/// Whether what is told holds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventStatus {
    /// It has begun and is to be told over.
    Firing,
    /// It is over.
    Resolved,
    /// It happened, and there is nothing to be over.
    Notice,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    /// Calls fail, or money may be lost.
    Critical,
}

/// Whom or what an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSubject {
    /// `user`, `group`, `target`, `node`, `model`, `cluster`.
    pub kind: String,
    /// What does not change when it is renamed; the name, where nothing else tells it.
    pub id: String,
    pub name: String,
}

impl EventSubject {
    pub fn new(kind: &str, id: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), id: id.into(), name: name.into() }
    }

    /// A subject whose name is its id.
    #[must_use]
    pub fn named(kind: &str, name: &str) -> Self {
        Self::new(kind, name, name)
    }

    /// `kind/id`, as it is kept.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.kind, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_one_name_and_what_is_none_is_told_all_of_them() {
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse::<EventKind>().expect("its name"), kind);
        }
        let told = "test".parse::<EventKind>().expect_err("not to subscribe to").to_string();
        assert!(told.contains("quota.soft, quota.spent") && told.contains("summary.daily"), "{told}");
    }
}
