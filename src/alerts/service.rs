//! The handle of a node's alerts: raises events, tells who receives them, tries whether they arrive.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::watch;

use crate::alerts::deliver::LaneState;
use crate::alerts::event::{Event, EventParts};
use crate::alerts::outbox::Outbox;
use crate::alerts::receiver::{Attempt, Message, Receiver};
use crate::config::{AlertConfig, AlertingConfig};
use crate::domain::alert::{EventKind, EventStatus, EventSubject, Severity};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::ids::NodeId;
use crate::store::{Error, Store};

/// What a node's alerts are made of.
pub struct AlertsParts<'c> {
    pub node: NodeId,
    /// The node's own database.
    pub own: Store,
    /// The one that leaders share, where this node is one of them.
    pub shared: Option<Store>,
    pub receivers: &'c [AlertConfig],
    pub alerting: &'c AlertingConfig,
    pub clock: Arc<dyn Clock>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Alerts {
    inner: Arc<Inner>,
}

struct Inner {
    outbox: Arc<Outbox>,
    settings: watch::Sender<Settings>,
    lanes: Mutex<BTreeMap<String, Arc<LaneState>>>,
    /// The id of the cluster's ledger, as soon as it is known.
    cluster: Mutex<Option<String>>,
}

/// What is configured now.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) receivers: Arc<[Arc<Receiver>]>,
    pub(super) alerting: Arc<AlertingConfig>,
}

/// A receiver whose settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the receiver of alerts {name}: {reason}")]
pub struct Unusable {
    name: String,
    reason: String,
}

/// A receiver as the API shows it.
#[derive(Clone, Debug)]
pub struct ReceiverView {
    pub name: String,
    /// Of its URL; the rest is a credential.
    pub host: String,
    pub format: &'static str,
    pub events: Vec<EventKind>,
    pub is_signed: bool,
    /// Events that it is still to be told.
    pub waiting: u64,
    /// When it was last told one.
    pub last_delivery_at: Option<Timestamp>,
    /// When an event for it was last given up.
    pub last_given_up_at: Option<Timestamp>,
    /// Tries of this process that failed since the last that did not.
    pub failures: u32,
    pub last_error: Option<String>,
    pub last_error_at: Option<Timestamp>,
    /// Nothing is sent to it until then.
    pub next_try_at: Option<Timestamp>,
}

/// What came of a test event.
#[derive(Clone, Debug)]
pub struct Tested {
    pub name: String,
    pub host: String,
    pub attempt: Attempt,
}

impl Alerts {
    /// # Errors
    /// A receiver whose settings cannot be used.
    pub fn open(parts: AlertsParts<'_>) -> Result<Self, Unusable> {
        let settings = settings(parts.receivers, parts.alerting)?;
        let outbox = Arc::new(Outbox::new(parts.own, parts.shared, parts.node, parts.clock));
        let (settings, _) = watch::channel(settings);
        let inner = Inner { outbox, settings, lanes: Mutex::default(), cluster: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Checks that receivers can be used; the answer takes them over.
    ///
    /// # Errors
    /// One that cannot.
    pub fn prepare(
        &self,
        receivers: &[AlertConfig],
        alerting: &AlertingConfig,
    ) -> Result<impl FnOnce(), Unusable> {
        let (new, inner) = (settings(receivers, alerting)?, Arc::clone(&self.inner));
        Ok(move || {
            let names: Vec<&str> = new.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
            // What changed may have mended what failed.
            inner.lanes.lock().retain(|name, lane| {
                lane.answered();
                names.contains(&name.as_str())
            });
            inner.settings.send_replace(new);
        })
    }

    pub fn register_metrics(&self, registry: &mut Registry) {
        self.inner.outbox.metrics.register(registry);
    }

    /// Whether somebody is to be told of such events.
    #[must_use]
    pub fn is_wanted(&self, kind: EventKind) -> bool {
        self.inner.settings.borrow().receivers.iter().any(|receiver| receiver.wants(kind))
    }

    /// Raises an event for everybody who is to be told of it. True: somebody was not told of it before.
    ///
    /// # Errors
    /// That of the database that is shared: whoever raised it has to do so once more.
    pub async fn raise(&self, parts: EventParts) -> Result<bool, Error> {
        let receivers = Arc::clone(&self.inner.settings.borrow().receivers);
        let wanting: Vec<&Receiver> = receivers
            .iter()
            .map(|receiver| &**receiver)
            .filter(|receiver| receiver.wants(parts.kind))
            .collect();
        if wanting.is_empty() {
            return Ok(false);
        }
        let event = self.event(parts);
        let is_new = self.inner.outbox.add(&event, &wanting).await?;
        if is_new {
            let (kind, subject) = (event.kind, event.body.subject.key());
            tracing::info!(event = %kind, subject, id = %event.body.id, "alert raised");
            self.inner.outbox.count_waiting().await;
        }
        Ok(is_new)
    }

    /// Sends a test event to all receivers, or to the one of that name; what came of it, in the order of the configuration.
    pub async fn test(&self, name: Option<&str>) -> Vec<Tested> {
        let receivers = Arc::clone(&self.inner.settings.borrow().receivers);
        let node = self.inner.outbox.node().clone();
        let event = self.event(EventParts {
            kind: EventKind::Test,
            key: String::new(),
            status: EventStatus::Notice,
            severity: Severity::Info,
            subject: EventSubject::named("node", node.as_str()),
            title: format!("Test alert of {node}"),
            text: "Somebody asked for it by `sproxy alert test`. Nothing has happened.".to_owned(),
            details: json!({}),
        });
        let stored = serde_json::to_string(&event.body).unwrap_or_default();
        let chosen = receivers.iter().filter(|receiver| name.is_none_or(|name| receiver.name == name));
        let sent = join_all(chosen.map(|receiver| async {
            let message = Message { kind: &event.body.event, id: event.body.id.to_string(), stored: &stored };
            let attempt = receiver.send(&message, self.inner.outbox.now()).await;
            if attempt.error.is_none() {
                self.lane(&receiver.name).answered();
            }
            Tested { name: receiver.name.clone(), host: receiver.host.clone(), attempt }
        }))
        .await;
        self.inner.outbox.nudge();
        sent
    }

    /// Every receiver, in the order of the configuration.
    ///
    /// # Errors
    /// That of the database.
    pub async fn receivers(&self) -> Result<Vec<ReceiverView>, Error> {
        let outbox = &self.inner.outbox;
        let (waiting, delivered, given_up) =
            (outbox.waiting().await?, outbox.last_ends(true).await?, outbox.last_ends(false).await?);
        let receivers = Arc::clone(&self.inner.settings.borrow().receivers);
        let view = |receiver: &Arc<Receiver>| {
            let (name, health) = (receiver.name.clone(), self.lane(&receiver.name).health());
            ReceiverView {
                host: receiver.host.clone(),
                format: receiver.format.as_str(),
                events: receiver.events.clone(),
                is_signed: receiver.is_signed(),
                waiting: waiting.get(&name).copied().unwrap_or(0),
                last_delivery_at: delivered.get(&name).copied(),
                last_given_up_at: given_up.get(&name).copied(),
                failures: health.failures,
                last_error: health.last_error,
                last_error_at: health.last_error_at,
                next_try_at: health.next_try_at,
                name,
            }
        };
        Ok(receivers.iter().map(view).collect())
    }

    /// The database in which events of the cluster lie, or those of the node.
    #[must_use]
    pub fn store_of(&self, is_of_cluster: bool) -> &Store {
        self.inner.outbox.store_of(is_of_cluster)
    }

    fn event(&self, parts: EventParts) -> Event {
        let outbox = &self.inner.outbox;
        Event::new(parts, outbox.now(), outbox.node(), self.inner.cluster.lock().clone())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.inner.outbox.now()
    }

    pub(super) fn set_cluster(&self, ledger: Option<String>) {
        *self.inner.cluster.lock() = ledger;
    }

    pub(super) fn alerting(&self) -> Arc<AlertingConfig> {
        Arc::clone(&self.inner.settings.borrow().alerting)
    }

    pub(super) fn has_receivers(&self) -> bool {
        !self.inner.settings.borrow().receivers.is_empty()
    }

    pub(super) fn changes(&self) -> watch::Receiver<Settings> {
        self.inner.settings.subscribe()
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.inner.outbox
    }

    pub(super) fn shared_outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.inner.outbox)
    }

    pub(super) fn lane(&self, name: &str) -> Arc<LaneState> {
        Arc::clone(self.inner.lanes.lock().entry(name.to_owned()).or_default())
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alerts")
    }
}

fn settings(receivers: &[AlertConfig], alerting: &AlertingConfig) -> Result<Settings, Unusable> {
    let receiver = |config: &AlertConfig| {
        let made = Receiver::new(config).map(Arc::new);
        made.map_err(|reason| Unusable { name: config.name.clone(), reason })
    };
    let receivers = receivers.iter().map(receiver).collect::<Result<_, _>>()?;
    Ok(Settings { receivers, alerting: Arc::new(alerting.clone()) })
}
