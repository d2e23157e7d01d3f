//! What a node is in the cluster: the leader, or a follower. Here the cluster's handles become what the servers ask
//! for.

use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;

use crate::cluster::follower::service::FollowerService;
use crate::cluster::leader::service::LeaderService;
use crate::cluster::usage::refused;
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::NodeId;
use crate::domain::peer::{Incomplete, Peer};
use crate::domain::summary::Dismissed;
use crate::http::control::Cluster;
use crate::http::health::ClusterHealth;
use crate::ledger::Ledger;

#[derive(Clone)]
pub(super) enum Role {
    /// Takes usage logs, keeps the registry, serves the cluster's totals.
    Leader(LeaderService),
    /// Pushes its usage logs and follows the leader's state.
    Follower(FollowerService),
}

impl ClusterHealth for Role {
    fn not_ready(&self) -> Option<String> {
        match self {
            Self::Leader(leader) => leader.not_ready(),
            Self::Follower(follower) => follower.not_ready(),
        }
    }
}

impl Cluster for Role {
    fn no_accounts_yet(&self) -> Option<String> {
        Self::no_accounts_yet(self)
    }

    fn peers(&self) -> Vec<Peer> {
        match self {
            Self::Leader(leader) => leader.peers(),
            Self::Follower(follower) => follower.peers(),
        }
    }

    fn leader(&self) -> Option<NodeId> {
        match self {
            Self::Leader(leader) => Some(leader.own_peer().id),
            Self::Follower(follower) => follower.leader_id(),
        }
    }

    fn complete_through(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Failure>> {
        let known = match self {
            Self::Leader(leader) => leader.complete_through(),
            Self::Follower(_) => None,
        };
        Box::pin(std::future::ready(Ok(known)))
    }

    fn incomplete(&self) -> Vec<Incomplete> {
        match self {
            Self::Leader(leader) => leader.incomplete(),
            Self::Follower(_) => Vec::new(),
        }
    }

    fn retry_rejected(&self) -> BoxFuture<'_, Result<u64, Failure>> {
        Box::pin(async move {
            match self.owing() {
                Ok((books, _)) => Ok(books.retry_set_aside().await?),
                Err(_) => Ok(0),
            }
        })
    }

    fn rejected(&self) -> BoxFuture<'_, Result<Dismissed, Failure>> {
        Box::pin(async move { Ok(self.owing()?.0.sum_set_aside().await?) })
    }

    fn dismiss_rejected<'a>(&'a self, sum: &'a mut Dismissed) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let (books, now) = self.owing()?;
            refused::dismiss(books, now, sum).await
        })
    }

    fn drain<'a>(&'a self, id: &'a NodeId, draining: bool) -> BoxFuture<'a, Result<Peer, Failure>> {
        Box::pin(async move { self.leader()?.drain(id, draining).await })
    }

    fn forget<'a>(&'a self, id: &'a NodeId) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move { self.leader()?.forget(id).await })
    }
}

impl Role {
    fn leader(&self) -> Result<&LeaderService, Failure> {
        match self {
            Self::Leader(leader) => Ok(leader),
            Self::Follower(_) => {
                Err(Failure::new(Kind::Unavailable, "only the leader changes the registry of peers"))
            }
        }
    }

    /// The books of a node that owes its usage to a leader, itself included, and the time.
    fn owing(&self) -> Result<(&Ledger, Timestamp), Failure> {
        match self {
            Self::Follower(follower) => Ok((follower.books(), follower.now())),
            Self::Leader(leader) => leader.spool().map(|books| (books, leader.now())).ok_or_else(|| {
                let text = format!(
                    "{} is the leader: nobody refuses its usage, and what it refuses of its followers' is theirs to give \
                     up. Ask the node that `incomplete` names (--server URL)",
                    leader.own_peer().id
                );
                Failure::new(Kind::Conflict, text)
            }),
        }
    }

    pub(super) fn register_metrics(&self, registry: &mut Registry) {
        match self {
            Self::Leader(leader) => leader.register_metrics(registry),
            Self::Follower(follower) => follower.register_metrics(registry),
        }
    }

    /// Lets the cluster know that this node is shutting down.
    pub(super) fn leaving(&self) {
        match self {
            Self::Leader(leader) => leader.leaving(),
            Self::Follower(follower) => follower.leaving(),
        }
    }

    /// Why no credential can be checked here.
    pub(super) fn no_accounts_yet(&self) -> Option<String> {
        match self {
            Self::Leader(_) => None,
            Self::Follower(follower) => follower.no_accounts_yet(),
        }
    }

    /// Whether calls are to be refused because what this node knows of users and limits is too old.
    pub(super) fn is_stale(&self) -> bool {
        match self {
            Self::Leader(leader) => leader.is_stale(),
            Self::Follower(follower) => follower.is_stale(),
        }
    }
}
