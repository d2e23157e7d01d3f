//! What holds on for a while, and is over then: targets without calls, a ledger that cannot write, usage that is owed. Of this
//! node, and told by it. What an earlier process told and did not see the end of is known from the outbox.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::alerts::episode::{Episode, Turn};
use crate::alerts::event::EventParts;
use crate::alerts::service::Alerts;
use crate::domain::alert::{EventKind, EventStatus, EventSubject, Severity};
use crate::domain::clock::Timestamp;
use crate::domain::ids::NodeId;
use crate::domain::quoted::Quoted;
use crate::ledger::Ledger;
use crate::store::AlertRepo;
use crate::upstream::{Target, Upstream};

/// What the key of an event has at its end that tells that it is over.
const OVER: &str = "/over";

/// What holds, by kind and subject.
pub(super) struct Conditions {
    node: NodeId,
    episodes: BTreeMap<(EventKind, String), Episode>,
    is_loaded: bool,
}

impl Conditions {
    pub(super) fn new(node: NodeId) -> Self {
        Self { node, episodes: BTreeMap::new(), is_loaded: false }
    }

    /// From what earlier processes told. While the database does not say, the node begins with nothing.
    async fn load(&mut self, alerts: &Alerts) {
        if self.is_loaded {
            return;
        }
        self.is_loaded = true;
        for kind in [EventKind::TargetDown, EventKind::LedgerStuck, EventKind::Backlog] {
            for (subject, episode) in told_before(alerts, kind).await {
                self.episodes.insert((kind, subject), episode);
            }
        }
    }

    pub(super) async fn look_at_targets(&mut self, alerts: &Alerts, upstream: &Upstream, now: Instant) {
        self.load(alerts).await;
        let after = alerts.alerting().target_after;
        let none_is_left = upstream.not_usable().is_some();
        for target in upstream.targets() {
            let subject = EventSubject::named("target", target.name());
            let outage = target.outage();
            let (node, holds) = (self.node.clone(), outage.is_some());
            let episode = self.episodes.entry((EventKind::TargetDown, subject.key())).or_default();
            tell(alerts, episode, holds, after, now, |turn, at| {
                target_event(target, subject, &node, turn, outage.as_deref(), none_is_left, at)
            })
            .await;
        }
        let is_there = |subject: &str| {
            upstream
                .targets()
                .iter()
                .any(|target| EventSubject::named("target", target.name()).key() == subject)
        };
        // A target that is configured no more has no end to be told.
        self.episodes.retain(|(kind, subject), _| *kind != EventKind::TargetDown || is_there(subject));
    }

    pub(super) async fn look_at_ledger(&mut self, alerts: &Alerts, ledger: &Ledger, now: Instant) {
        let (failure, node) = (ledger.write_failure(), self.node.clone());
        let subject = EventSubject::named("node", node.as_str());
        let episode = self.episodes.entry((EventKind::LedgerStuck, subject.key())).or_default();
        let after = alerts.alerting().ledger_after;
        tell(alerts, episode, failure.is_some(), after, now, |turn, at| {
            let (title, text) = match turn {
                Turn::Began => (
                    format!("The ledger of {node} is stuck"),
                    format!(
                        "{node} cannot write its usage and answers calls with 503: {}",
                        Quoted(failure.as_deref().unwrap_or_default())
                    ),
                ),
                Turn::Ended(_) => (
                    format!("The ledger of {node} takes usage again"),
                    format!("{node} writes its usage and admits calls again."),
                ),
            };
            parts(
                EventKind::LedgerStuck,
                Severity::Critical,
                &node,
                subject,
                turn,
                at,
                (title, text, json!({})),
            )
        })
        .await;
    }

    pub(super) async fn look_at_backlog(
        &mut self,
        alerts: &Alerts,
        ledger: &Ledger,
        at: Timestamp,
        now: Instant,
    ) {
        let usage = ledger.usage();
        let (Ok(oldest), Ok(owed)) = (usage.oldest_unsynced().await, usage.unsynced_count().await) else {
            return;
        };
        let age = oldest.map_or(Duration::ZERO, |oldest| at.since(oldest));
        let (alerting, node) = (alerts.alerting(), self.node.clone());
        let subject = EventSubject::named("node", node.as_str());
        let episode = self.episodes.entry((EventKind::Backlog, subject.key())).or_default();
        // It is over when half of it is worked off, so that it does not flap around its bounds.
        let part = if episode.is_told() { 2 } else { 1 };
        let most = u64::try_from(alerting.backlog_count).unwrap_or(u64::MAX).div_ceil(u64::from(part));
        let holds = age >= alerting.backlog_after / part || owed >= most;
        tell(alerts, episode, holds, Duration::ZERO, now, |turn, at| {
            let title = match turn {
                Turn::Began => format!("{node} owes the leader {owed} usage logs"),
                Turn::Ended(_) => format!("{node} has caught up"),
            };
            let oldest = oldest.map_or_else(|| "there is none left".to_owned(), |oldest| format!("the oldest of {oldest}"));
            let text = format!(
                "Usage logs of {node} that no leader has acknowledged: {owed}; {oldest}. Totals and limits elsewhere do not \
                 have them yet; nothing is lost."
            );
            let details = json!({ "unsynced": owed, "oldest_age_seconds": age.as_secs() });
            parts(EventKind::Backlog, Severity::Warning, &node, subject, turn, at, (title, text, details))
        })
        .await;
    }
}

/// The episodes of a kind that were told and not told to be over, by subject.
pub(super) async fn told_before(alerts: &Alerts, kind: EventKind) -> BTreeMap<String, Episode> {
    let ends = if kind == EventKind::TargetDown { EventKind::TargetUp } else { kind };
    let repo = AlertRepo::on(alerts.store_of(kind.is_of_cluster()));
    let told = match repo.keys(&[kind.as_str(), ends.as_str()]).await {
        Ok(told) => told,
        Err(error) => {
            tracing::debug!(%error, "what was told earlier cannot be read");
            return BTreeMap::new();
        }
    };
    let mut open = BTreeMap::new();
    for (_, subject, key) in &told {
        // In the order in which they were told.
        match key.strip_suffix(OVER) {
            None => drop(open.insert(subject.clone(), Episode::told_before(key.clone()))),
            Some(_) => drop(open.remove(subject)),
        }
    }
    open
}

/// Raises the turn that a condition takes, if it takes one.
pub(super) async fn tell(
    alerts: &Alerts,
    episode: &mut Episode,
    holds: bool,
    after: Duration,
    now: Instant,
    event: impl FnOnce(&Turn, Timestamp) -> EventParts,
) {
    let Some(turn) = episode.step(holds, after, now) else { return };
    let event = event(&turn, alerts.now());
    let key = event.key.clone();
    match (alerts.raise(event).await, turn) {
        (Ok(_), Turn::Began) => episode.began(key),
        (Ok(_), Turn::Ended(_)) => episode.ended(),
        (Err(error), _) => tracing::debug!(%error, "an alert cannot be raised; it is tried again"),
    }
}

/// The key of what is over.
pub(super) fn over(began: &str) -> String {
    format!("{began}{OVER}")
}

/// An event of this node about a condition of it.
fn parts(
    kind: EventKind,
    severity: Severity,
    node: &NodeId,
    subject: EventSubject,
    turn: &Turn,
    at: Timestamp,
    (title, text, details): (String, String, serde_json::Value),
) -> EventParts {
    let (key, status, severity) = match turn {
        Turn::Began => {
            let key = format!("{kind}/{node}/{}/{}", subject.id, at.as_micros());
            (key, EventStatus::Firing, severity)
        }
        Turn::Ended(began) => (over(began), EventStatus::Resolved, Severity::Info),
    };
    EventParts { kind, key, status, severity, subject, title, text, details }
}

fn target_event(
    target: &Target,
    subject: EventSubject,
    node: &NodeId,
    turn: &Turn,
    outage: Option<&str>,
    none_is_left: bool,
    at: Timestamp,
) -> EventParts {
    let (name, provider) = (target.name(), target.provider().as_str());
    let name = Quoted(name);
    let severity = if none_is_left { Severity::Critical } else { Severity::Warning };
    let told = match turn {
        Turn::Began => {
            let reason = outage.unwrap_or_default();
            let rest = if none_is_left { " No target of this node is left." } else { "" };
            (
                format!("Target {name} of {node} is down"),
                format!("Target {name} ({provider}) gets no calls from {node}: it {reason}.{rest}"),
                json!({ "target": target.name(), "provider": provider, "reason": reason }),
            )
        }
        Turn::Ended(_) => (
            format!("Target {name} of {node} is up again"),
            format!("Target {name} ({provider}) gets calls from {node} again."),
            json!({ "target": target.name(), "provider": provider, "reason": null }),
        ),
    };
    let kind = match turn {
        Turn::Began => EventKind::TargetDown,
        Turn::Ended(_) => EventKind::TargetUp,
    };
    parts(kind, severity, node, subject, turn, at, told)
}
