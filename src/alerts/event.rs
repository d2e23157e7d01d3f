//! An event: what happened to whom, in words and in figures. Nothing in it is secret, and nothing is a caller's own words but
//! names of models that read like some.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::alert::{EventKind, EventStatus, EventSubject, Severity};
use crate::domain::clock::Timestamp;
use crate::domain::ids::NodeId;

/// Something to be told.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: EventKind,
    /// The same for whoever raises the same event, and for no other.
    pub key: String,
    pub body: Body,
}

/// What is told: the JSON form of an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Body {
    /// UUIDv7; the same in every delivery of the event.
    pub id: Uuid,
    /// Such as `quota.spent`.
    pub event: String,
    pub status: EventStatus,
    pub severity: Severity,
    /// When it was raised. The signature covers it.
    pub at: Timestamp,
    /// Who raised it.
    pub node: NodeId,
    /// The id of the ledger that the cluster books into; null: the node has not heard of any.
    pub cluster: Option<String>,
    pub subject: EventSubject,
    /// A line for people.
    pub title: String,
    /// A sentence or some more.
    pub text: String,
    /// Figures, by the kind of the event.
    pub details: Value,
}

/// What an event says, beside when and by whom it is raised.
#[derive(Clone, Debug)]
pub struct EventParts {
    pub kind: EventKind,
    pub key: String,
    pub status: EventStatus,
    pub severity: Severity,
    pub subject: EventSubject,
    pub title: String,
    pub text: String,
    pub details: Value,
}

impl Event {
    #[must_use]
    pub fn new(parts: EventParts, at: Timestamp, node: &NodeId, cluster: Option<String>) -> Self {
        let EventParts { kind, key, status, severity, subject, title, text, details } = parts;
        let body = Body {
            id: Uuid::now_v7(),
            event: kind.as_str().to_owned(),
            status,
            severity,
            at,
            node: node.clone(),
            cluster,
            subject,
            title,
            text,
            details,
        };
        Self { kind, key, body }
    }
}
