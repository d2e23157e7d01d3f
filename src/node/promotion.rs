//! How this node comes to lead although its configuration says that it follows, and the other way round.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;

use super::role::Role;
use crate::cluster::standing::Standing;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::NodeId;
use crate::domain::leader_url::LeaderUrl;
use crate::domain::leadership::Leadership;
use crate::http::control::Promotion;

/// A leader that has not been silent for so long is taken for a living one.
const LIVES_FOR: Duration = Duration::from_secs(30);

/// What a node needs to know of itself to be promoted.
pub(super) struct Promotions {
    pub(super) id: NodeId,
    pub(super) role: Arc<Role>,
    /// None: the node shares its database with other leaders.
    pub(super) standing: Option<Standing>,
    /// `cluster.listen`
    pub(super) listen: SocketAddr,
    /// Where followers would register, or why nobody could.
    pub(super) leads_at: Result<LeaderUrl, String>,
    /// Whether the database is the node's own file.
    pub(super) is_embedded: bool,
}

impl Promotion for Promotions {
    fn known(&self) -> Option<Leadership> {
        self.standing.as_ref().and_then(Standing::known)
    }

    fn superseded(&self) -> Option<String> {
        let standing = self.standing.as_ref().filter(|_| matches!(*self.role, Role::Leader(_)))?;
        match standing.superseded_by() {
            Some(by) => Some(format!("this node was superseded by {by}, and is about to follow it: ask there")),
            None if standing.is_outdated() => Some(
                "this node was superseded by a leader that it has not heard from yet: ask that one. If there is none any \
                 more, have this one lead with `sproxy promote --force`"
                    .to_owned(),
            ),
            None => None,
        }
    }

    fn learn(&self, heard: Leadership) -> BoxFuture<'_, Result<Leadership, Failure>> {
        Box::pin(async move {
            let Some(standing) = &self.standing else {
                let text = "the leaders here share a PostgreSQL database, and nobody is promoted over them";
                return Err(Failure::new(Kind::Conflict, text));
            };
            let before = standing.known();
            let known = standing.learn(heard).await?;
            if before.as_ref() != Some(&known) && matches!(*self.role, Role::Leader(_)) {
                tracing::error!(leader = %known, "superseded: this node follows that one from now on, and pushes its books");
            }
            Ok(known)
        })
    }

    fn promote(&self, force: bool) -> BoxFuture<'_, Result<Leadership, Failure>> {
        Box::pin(async move {
            let conflict = |text: String| Failure::new(Kind::Conflict, text);
            let standing = self.standing.as_ref().filter(|_| self.is_embedded).ok_or_else(|| {
                conflict(
                    "this node's database is on PostgreSQL, where every node leads that has no cluster.leader: start it without"
                        .to_owned(),
                )
            })?;
            let peers = match &*self.role {
                Role::Leader(_)
                    if !force && standing.superseded_by().is_none() && !standing.is_outdated() =>
                {
                    return Err(conflict(format!("{} leads already", self.id)));
                }
                Role::Leader(leader) => leader.peers(),
                Role::Follower(follower) => {
                    if let Some(reason) = follower.no_accounts_yet() {
                        return Err(conflict(format!("{reason}; a leader without users is of no use")));
                    }
                    let peers = follower.peers();
                    if let Some(shared) = peers.iter().find(|peer| peer.leads_at.is_some()) {
                        return Err(conflict(format!(
                            "{} and whoever leads with it share a PostgreSQL database: have that back, or a standby of it, \
                             instead of promoting a follower",
                            shared.id
                        )));
                    }
                    let silent = follower.leader_silent_for();
                    if silent < LIVES_FOR && !force {
                        return Err(conflict(format!(
                            "the leader was heard of {:.1} s ago: if it is to follow from now on, promote this node with --force",
                            silent.as_secs_f64()
                        )));
                    }
                    peers
                }
            };
            let leads_at = self.leads_at.clone().map_err(conflict)?;
            if matches!(*self.role, Role::Follower(_)) {
                self.try_to_listen().await?;
            }
            let promoted = standing.promote(self.id.clone(), leads_at, peers).await?;
            tracing::warn!(term = promoted.term, leads_at = %promoted.leads_at, "promoted: this node leads from now on");
            Ok(promoted)
        })
    }
}

impl Promotions {
    /// Known now rather than by a node that does not come up.
    async fn try_to_listen(&self) -> Result<(), Failure> {
        let bound = TcpListener::bind(self.listen).await;
        bound.map(drop).map_err(|error| {
            let text = format!("cluster.listen {}, where followers would register: {error}", self.listen);
            Failure::new(Kind::Conflict, text)
        })
    }
}
