//! What the data plane saw: answers that could not be metered, told once an hour for each target and model with their number,
//! and models without a price, told once a day.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::alerts::event::EventParts;
use crate::alerts::service::Alerts;
use crate::domain::alert::{EventKind, EventStatus, EventSubject, Severity};
use crate::domain::clock::Timestamp;
use crate::domain::ids::NodeId;
use crate::domain::plain_name::OTHER;
use crate::domain::quoted::Quoted;
use crate::proxy::Seen;

/// Models that are told apart in a day, for callers choose their names.
const NAMES_MAX: usize = 64;

pub(super) struct SeenWatch {
    node: NodeId,
    /// Not told yet.
    pending: Seen,
    /// The models that were told of this day.
    priced: (Timestamp, BTreeSet<String>),
}

impl SeenWatch {
    pub(super) fn new(node: NodeId) -> Self {
        Self { node, pending: Seen::default(), priced: (Timestamp::MIN, BTreeSet::new()) }
    }

    pub(super) async fn look(&mut self, alerts: &Alerts, seen: Seen, now: Timestamp) {
        for ((target, model), count) in seen.unmetered {
            let unmetered = &mut self.pending.unmetered;
            let is_one_too_many =
                unmetered.len() >= NAMES_MAX && !unmetered.contains_key(&(target.clone(), model.clone()));
            let model = if is_one_too_many { OTHER.to_owned() } else { model };
            *unmetered.entry((target, model)).or_default() += count;
        }
        if self.priced.0 != now.day_start() {
            self.priced = (now.day_start(), BTreeSet::new());
        }
        for (model, count) in seen.unpriced {
            let known = &mut self.priced.1;
            let is_one_too_many = known.len() >= NAMES_MAX && !known.contains(&model);
            let model = if is_one_too_many { OTHER.to_owned() } else { model };
            known.insert(model.clone());
            *self.pending.unpriced.entry(model).or_default() += count;
        }
        let mut kept = BTreeMap::new();
        for ((target, model), count) in std::mem::take(&mut self.pending.unmetered) {
            let event = unmetered(&self.node, &target, &model, count, now);
            if !told(alerts, event).await {
                kept.insert((target, model), count);
            }
        }
        self.pending.unmetered = kept;
        let mut kept = BTreeMap::new();
        for (model, count) in std::mem::take(&mut self.pending.unpriced) {
            let event = unpriced(&self.node, &model, count, now);
            if !told(alerts, event).await {
                kept.insert(model, count);
            }
        }
        self.pending.unpriced = kept;
    }
}

/// False: it was told already in its hour or day, and what came since is told with the next.
async fn told(alerts: &Alerts, event: EventParts) -> bool {
    let kind = event.kind;
    match alerts.raise(event).await {
        Ok(is_new) => is_new || !alerts.is_wanted(kind),
        Err(_) => false,
    }
}

fn unmetered(node: &NodeId, target: &str, model: &str, count: u64, now: Timestamp) -> EventParts {
    let kind = EventKind::Unmetered;
    let name = Quoted(target);
    EventParts {
        kind,
        key: format!("{kind}/{node}/{target}/{model}/{}", now.hour_start().as_secs()),
        status: EventStatus::Notice,
        severity: Severity::Warning,
        subject: EventSubject::named("target", target),
        title: format!("Answers of target {name} cannot be metered"),
        text: format!(
            "{count} answers of target {name} for model {model} had no usage that {node} could read since that was last told. \
             They are booked without tokens and cost nothing in the books."
        ),
        details: json!({ "target": target, "model": model, "count": count }),
    }
}

fn unpriced(node: &NodeId, model: &str, count: u64, now: Timestamp) -> EventParts {
    let kind = EventKind::PriceUnknown;
    EventParts {
        kind,
        key: format!("{kind}/{node}/{model}/{}", now.day_start().as_secs()),
        status: EventStatus::Notice,
        severity: Severity::Warning,
        subject: EventSubject::named("model", model),
        title: format!("Model {model} has no price"),
        text: format!(
            "{count} calls of model {model} on {node} were booked at the default price since that was last told: add it to \
             [prices]."
        ),
        details: json!({ "model": model, "count": count }),
    }
}
