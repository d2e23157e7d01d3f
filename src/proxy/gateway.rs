//! What the data plane is made of.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use prometheus_client::registry::Registry;

use super::call::CallContext;
use super::detach::Drainer;
use super::live::Live;
use super::metrics::Metrics;
use super::models::ModelLists;
use super::other_dialect;
use super::recorder::RecorderContext;
use super::refusal_log::RefusalLog;
use super::report::Reports;
use super::request_body::{BodyMemory, BodyMemoryMetrics};
use super::sightings::Sightings;
use crate::accounts::Accounts;
use crate::config::Durability;
use crate::dialect::route::Route;
use crate::domain::clock::Clock;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::NodeId;
use crate::domain::principal::Principal;
use crate::ledger::Ledger;
use crate::quota::Quota;
use crate::upstream::{Plan, TargetQuery, Upstream};

/// Answers calls on the data plane.
pub struct Gateway {
    pub(super) accounts: Accounts,
    pub(super) quota: Quota,
    pub(super) ledger: Ledger,
    pub(super) live: Arc<Live>,
    pub(super) calls: CallContext,
    pub(super) models: Arc<ModelLists>,
    pub(super) body_memory: Arc<BodyMemory>,
    pub(super) context: Arc<RecorderContext>,
    pub(super) node_header: HeaderValue,
    is_stale: Option<StaleCheck>,
    pub(super) no_accounts_yet: Option<NoAccountsYet>,
    pub(super) refused: RefusalLog,
}

/// What a [`Gateway`] is made of.
pub struct Parts {
    pub accounts: Accounts,
    pub quota: Quota,
    pub ledger: Ledger,
    pub live: Arc<Live>,
    pub models: Arc<ModelLists>,
    pub body_memory: Arc<BodyMemory>,
    pub drainer: Arc<Drainer>,
    /// When the end of an answer is released.
    pub durability: Durability,
    pub clock: Arc<dyn Clock>,
    pub node: NodeId,
    /// Whether usage is counted by user, too, in the metrics.
    pub user_metrics: bool,
    /// Who is told of calls that are over.
    pub reports: Reports,
    /// `None`: calls are served however old the node's state is.
    pub is_stale: Option<StaleCheck>,
    /// `None`: the node always knows its users.
    pub no_accounts_yet: Option<NoAccountsYet>,
}

/// Says why no credential can be checked yet: the node has not heard of any users. `None`: it can.
pub type NoAccountsYet = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Says whether calls are to be refused because what the node knows of users and limits is too old.
pub type StaleCheck = Arc<dyn Fn() -> bool + Send + Sync>;

impl Gateway {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let node_header = HeaderValue::from_str(parts.node.as_str()).unwrap_or(HeaderValue::from_static("-"));
        let calls = CallContext {
            clock: Arc::clone(&parts.clock),
            drainer: parts.drainer,
            durability: parts.durability,
        };
        let context = Arc::new(RecorderContext {
            clock: parts.clock,
            metrics: Metrics::new(parts.user_metrics),
            reports: parts.reports,
            node: parts.node,
        });
        Self {
            accounts: parts.accounts,
            quota: parts.quota,
            ledger: parts.ledger,
            models: parts.models,
            live: parts.live,
            calls,
            body_memory: parts.body_memory,
            context,
            node_header,
            is_stale: parts.is_stale,
            no_accounts_yet: parts.no_accounts_yet,
            refused: RefusalLog::default(),
        }
    }

    /// What of its calls an operator is to be told of.
    #[must_use]
    pub fn sightings(&self) -> Sightings {
        self.context.metrics.sightings.clone()
    }

    /// Adds the data plane's metrics.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.context.metrics.register(registry);
        self.context.reports.register(registry);
        registry.register_collector(Box::new(BodyMemoryMetrics(Arc::clone(&self.body_memory))));
    }

    /// Calls are refused while what the node knows is too old.
    pub(super) fn check_fresh(&self) -> Result<(), Failure> {
        if self.is_stale.as_ref().is_some_and(|is_stale| is_stale()) {
            return Err(stale());
        }
        Ok(())
    }
}

/// The ways that a call may go.
///
/// # Errors
/// There is none; with advice where there would be one in another dialect.
pub(super) async fn plan(
    upstream: &Arc<Upstream>,
    route: &Route<'_>,
    query: &TargetQuery,
    principal: &Principal,
) -> Result<Plan, Failure> {
    let planned = upstream.plan(query).await;
    planned.map_err(|error| other_dialect::no_target(&error, upstream, principal, (route, query)))
}

fn stale() -> Failure {
    Failure::new(
        Kind::Unavailable,
        "this node has not heard from its leader for longer than cluster.max_staleness",
    )
    .retry_after(Duration::from_secs(5))
}
