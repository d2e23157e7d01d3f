//! What happens in a cluster is told to those who want to know, by webhooks.
//!
//! [`Watch`] looks at what the node knows anyhow (health, limits, peers, the ledger) once a second, so that no call ever
//! waits for an alert. What it finds is an [`Event`] with a key, which says that it is the same event, whoever raises it and
//! however often. [`Alerts::raise`] puts it into the [`Outbox`], a row for each receiver that wants it; a row with that
//! key is added once. [`Dispatcher`] has a lane for each receiver: it claims a row, sends it, and writes how that ended; a
//! receiver that hangs holds up its own lane and nothing else. So an event is sent at least once, and, unless a process dies
//! between the sending and the writing, once.
//!
//! What is about a node is raised by that node and lies in its own database; what is about the cluster (limits, peers, the
//! day's summary) is raised by every leader and lies in the database that they share, where its key lets one of them add
//! it, and a claim one of them send it. The database that an event is about may be the one that takes nothing: an event of
//! the node's own is then held in memory and sent from there.

mod deliver;
mod dispatcher;
mod episode;
mod event;
mod format;
mod metrics;
mod outbox;
mod receiver;
mod service;
mod watch;

pub use dispatcher::Dispatcher;
pub use event::{Body, Event, EventParts};
pub use outbox::Outbox;
pub use receiver::Attempt;
pub use service::{Alerts, AlertsParts, ReceiverView, Tested, Unusable};
pub use watch::{Watch, WatchParts};
