//! The alerts of a node, put together: what is looked at, where events lie, and the two tasks that look and send.

use std::sync::Arc;

use super::error::Error;
use super::role::Role;
use super::shared_parts::SharedParts;
use super::supervisor::{Stage, Supervisor};
use crate::alerts::{Alerts, AlertsParts, Dispatcher, Watch, WatchParts};
use crate::config::Config;
use crate::domain::clock::Clock;
use crate::domain::ids::NodeId;
use crate::proxy::Sightings;
use crate::store::Store;

/// `spool`: the node's own database, where `store` is shared with other leaders.
pub(super) fn open(
    config: &Config,
    id: &NodeId,
    (store, spool): (&Store, Option<&Store>),
    clock: &Arc<dyn Clock>,
) -> Result<Alerts, Error> {
    let parts = AlertsParts {
        node: id.clone(),
        own: spool.unwrap_or(store).clone(),
        shared: spool.map(|_| store.clone()),
        receivers: &config.alerts,
        alerting: &config.alerting,
        clock: Arc::clone(clock),
    };
    Alerts::open(parts).map_err(|error| Error::Unusable(error.to_string()))
}

/// Starts to look and to send. A node that leads tells what is about the cluster, too.
pub(super) fn start(base: &SharedParts, sightings: Sightings, role: &Role, supervisor: &mut Supervisor) {
    let leader = match role {
        Role::Leader(leader) => Some(leader.clone()),
        Role::Follower(_) => None,
    };
    let watch = Watch::new(WatchParts {
        alerts: base.alerts.clone(),
        accounts: base.accounts.clone(),
        quota: base.quota.clone(),
        ledger: base.ledger.clone(),
        live: Arc::clone(&base.live),
        sightings,
        owes: base.spool.is_some() || leader.is_none(),
        leader,
        store: base.store.clone(),
        node: base.id.clone(),
        clock: Arc::clone(&base.clock),
    });
    let dispatcher = Dispatcher::of(&base.alerts);
    supervisor.spawn(Stage::Background, "alerts", |stop| dispatcher.run(stop));
    supervisor.spawn(Stage::Background, "alert watch", |stop| watch.run(stop));
}
