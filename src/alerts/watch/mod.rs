//! Looks at what a node knows and raises what somebody is to be told of. Nothing here is on the way of a call.

mod conditions;
mod limits;
mod peers;
mod seen;
mod summary;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::alerts::service::Alerts;
use crate::cluster::leader::service::LeaderService;
use crate::domain::clock::Clock;
use crate::domain::ids::NodeId;
use crate::ledger::Ledger;
use crate::proxy::{Live, Sightings};
use crate::quota::Quota;
use crate::store::{MetaKey, MetaRepo, Store};
use conditions::Conditions;
use limits::LimitsWatch;
use peers::PeersWatch;
use seen::SeenWatch;
use summary::SummaryWatch;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks between two at limits, of which there may be many.
const LIMITS_EVERY: u64 = 2;
/// Looks between two at what costs a query.
const QUERIES_EVERY: u64 = 5;

/// What is looked at.
pub struct WatchParts {
    pub alerts: Alerts,
    pub accounts: Accounts,
    pub quota: Quota,
    /// The node's own.
    pub ledger: Ledger,
    pub live: Arc<Live>,
    pub sightings: Sightings,
    /// If this node leads: it raises what is about the cluster.
    pub leader: Option<LeaderService>,
    /// Whether the node's own usage is owed to a leader.
    pub owes: bool,
    /// The database with the cluster's usage, or a follower's own.
    pub store: Store,
    pub node: NodeId,
    pub clock: Arc<dyn Clock>,
}

/// The task that looks. Has to be run.
pub struct Watch(WatchParts);

impl Watch {
    #[must_use]
    pub fn new(parts: WatchParts) -> Self {
        Self(parts)
    }

    /// Looks once a second until it is asked to stop.
    pub async fn run(self, stop: CancellationToken) {
        let parts = self.0;
        let mut conditions = Conditions::new(parts.node.clone());
        let mut seen = SeenWatch::new(parts.node.clone());
        let mut of_leader = parts.leader.clone().map(|leader| {
            let limits = LimitsWatch::new(parts.quota.clone(), parts.accounts.clone());
            let summary = SummaryWatch::new(leader.clone(), parts.store.clone());
            (limits, PeersWatch::new(leader, parts.node.clone()), summary)
        });
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for look in 0_u64.. {
            if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                return;
            }
            let sightings = parts.sightings.take();
            let alerts = &parts.alerts;
            if !alerts.has_receivers() {
                continue;
            }
            let work = Box::pin(async {
                if look.is_multiple_of(QUERIES_EVERY) {
                    alerts.set_cluster(parts.cluster().await);
                }
                let (now, at) = (Instant::now(), parts.clock.now());
                let upstream = Arc::clone(&parts.live.now().upstream);
                conditions.look_at_targets(alerts, &upstream, now).await;
                conditions.look_at_ledger(alerts, &parts.ledger, now).await;
                if parts.owes && look.is_multiple_of(QUERIES_EVERY) {
                    conditions.look_at_backlog(alerts, &parts.ledger, at, now).await;
                }
                seen.look(alerts, sightings, at).await;
                let Some((limits, peers, summary)) = &mut of_leader else { return };
                peers.look(alerts, now).await;
                if look.is_multiple_of(LIMITS_EVERY) {
                    limits.look(alerts, at).await;
                }
                if look.is_multiple_of(QUERIES_EVERY) {
                    summary.look(alerts, at).await;
                }
            });
            if stop.run_until_cancelled(work).await.is_none() {
                return;
            }
        }
    }
}

impl WatchParts {
    /// The id of the ledger that the cluster books into.
    async fn cluster(&self) -> Option<String> {
        match &self.leader {
            Some(leader) => Some(leader.ledger_id().to_string()),
            None => MetaRepo::on(&self.store).get(MetaKey::LeaderLedgerId).await.ok().flatten(),
        }
    }
}
