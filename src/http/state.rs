//! What the handlers of the control plane work on.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use futures_util::future::BoxFuture;

use crate::accounts::Accounts;
use crate::alerts::Alerts;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::failure::Failure;
use crate::domain::ids::NodeId;
use crate::domain::leadership::Leadership;
use crate::domain::peer::{Incomplete, Peer};
use crate::domain::summary::Dismissed;
use crate::http::reload::Reload;
use crate::http::scim::token::ScimToken;
use crate::http::site::Sites;
use crate::ldap::Ldap;
use crate::oidc::Oidc;
use crate::proxy::{Live, ModelLists};
use crate::quota::Quota;
use crate::store::Store;

/// Shared state of the handlers.
#[derive(Clone)]
pub struct ControlState {
    pub accounts: Accounts,
    /// What users and groups have used of their limits.
    pub quota: Quota,
    /// Lists, usage and statistics.
    pub store: Store,
    /// This node's targets and prices.
    pub live: Arc<Live>,
    /// What its targets say of their models.
    pub models: Arc<ModelLists>,
    /// Who is told of what happens.
    pub alerts: Alerts,
    pub cluster: Arc<dyn Cluster>,
    pub promotion: Arc<dyn Promotion>,
    /// The identity provider at which people sign in, if there is one.
    pub oidc: Option<Arc<Oidc>>,
    /// The directory whose passwords are good here, too, if there is one.
    pub ldap: Option<Arc<Ldap>>,
    /// On a follower, relays a request to the leader. `None` on the leader.
    pub relay: Option<Relay>,
    /// Determines the client's address of a request, and where the client sees this cluster.
    pub sites: Arc<Sites>,
    pub clock: Arc<dyn Clock>,
    pub node: NodeId,
    pub reload: Arc<dyn Reload>,
    /// Where backups are written before they are sent.
    pub data_dir: PathBuf,
    /// What a directory that provisions people proves itself with. `None`: nobody provisions anybody.
    pub scim: Option<ScimToken>,
}

/// Who leads by promotion, as this node knows it, and how that changes.
pub trait Promotion: Send + Sync {
    /// The promoted leader of the highest term that was heard of; `None`: nobody was ever promoted.
    fn known(&self) -> Option<Leadership>;

    /// Why this node takes no changes although it was the leader; `None`: it was not superseded.
    fn superseded(&self) -> Option<String>;

    /// Takes note of a leader that was promoted; the answer is the one that leads by all that this node knows.
    fn learn(&self, heard: Leadership) -> BoxFuture<'_, Result<Leadership, Failure>>;

    /// Makes this node the leader. With `force` also where its leader was heard of a moment ago.
    fn promote(&self, force: bool) -> BoxFuture<'_, Result<Leadership, Failure>>;
}

/// Takes a request to the leader and brings its answer back. What goes wrong on the way is a problem as well.
pub type Relay = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

/// The cluster as this node sees it: a leader's registry, or what a follower received from the leader.
pub trait Cluster: Send + Sync {
    /// Every peer, by id.
    fn peers(&self) -> Vec<Peer>;

    /// The leader that this node follows, now or last; itself, if it leads. `None`: a follower that has met none yet.
    fn leader(&self) -> Option<NodeId>;

    /// Why no credential can be checked here: a follower that has not received any users yet. `None` if it can.
    fn no_accounts_yet(&self) -> Option<String>;

    /// The nodes that hold [`Self::complete_through`] back; empty on a node that does not know.
    fn incomplete(&self) -> Vec<Incomplete> {
        Vec::new()
    }

    /// Up to here every peer that has not left with nothing owed has said that it owes nothing.
    fn complete_through(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Failure>>;

    /// Offers the leader again what it refused of this node's usage; how many logs. A leader owes nobody.
    fn retry_rejected(&self) -> BoxFuture<'_, Result<u64, Failure>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    /// The sums of the usage logs of this node that the leader refused.
    fn rejected(&self) -> BoxFuture<'_, Result<Dismissed, Failure>>;

    /// Gives up what the leader refused of this node's usage. What is given up is added to `sum`, also when the rest
    /// cannot be.
    fn dismiss_rejected<'a>(&'a self, sum: &'a mut Dismissed) -> BoxFuture<'a, Result<(), Failure>>;

    /// Sets whether a peer should get new traffic. Only a leader is asked.
    fn drain<'a>(&'a self, id: &'a NodeId, draining: bool) -> BoxFuture<'a, Result<Peer, Failure>>;

    /// Forgets a peer. Only a leader is asked.
    fn forget<'a>(&'a self, id: &'a NodeId) -> BoxFuture<'a, Result<(), Failure>>;
}
