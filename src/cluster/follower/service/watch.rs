//! What a follower hears from its leader: applied as it comes, and noticed soon when it does not come any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::Inner;
use crate::cluster::follower::client::{GrpcLeaderClient, call_error};
use crate::cluster::follower::leader_client::LeaderError;
use crate::cluster::follower::leader_set::LeaderAt;
use crate::cluster::follower::leaders::{Call, Leaders as _};
use crate::cluster::follower::push::Error;
use crate::cluster::follower::{Applied, Connected};
use crate::cluster::retry::Backoff;
use crate::cluster::task::pause;
use crate::cluster::usage::remote::set_node_share;
use crate::domain::peer::Peer;
use crate::wire::v1;

/// A watch is opened again after so many heartbeat intervals without a message.
const MISSED_HEARTBEATS_MAX: u32 = 3;

impl Inner {
    /// Applies what the leader sends.
    pub(super) async fn run_watch(self: Arc<Self>, stop: CancellationToken) {
        let mut sessions = self.follower.sessions();
        let mut retry = Backoff::new();
        while !stop.is_cancelled() {
            let connected = sessions.borrow_and_update().clone();
            let Some(connected) = connected else {
                let _ = stop.run_until_cancelled(sessions.changed()).await;
                continue;
            };
            let Some(ended) = stop.run_until_cancelled(self.watch_once(&connected, &mut retry)).await else {
                return;
            };
            if let Err(error) = ended {
                self.follower.note_failure(&connected, Call::Watch, &error);
                tracing::debug!(%error, "the leader's news broke off; asking anew");
            }
            pause(retry.wait(), &stop).await;
        }
    }

    async fn watch_once(
        &self,
        Connected { session, leader, .. }: &Connected<LeaderAt<GrpcLeaderClient>>,
        retry: &mut Backoff,
    ) -> Result<(), Error> {
        let leaders = self.follower.leaders();
        let request = self.follower.watch_request(session).await?;
        let asked_for_signs = request.signs_of_life_every.is_some();
        let mut stream = leader.watch(request).await?;
        let mut limit = session.heartbeat * MISSED_HEARTBEATS_MAX;
        loop {
            let message = timeout(limit, leader.unless_given_up(next(&mut stream))).await;
            let message = message
                .map_err(|_| LeaderError::Silent("no news, not even that there are none".to_owned()))??;
            let Some(message) = message else { return Ok(()) };
            retry.reset();
            self.note_contact();
            leaders.note_answer(leader, Call::Watch);
            if asked_for_signs && message.update.is_none() {
                // A leader that gives none is an earlier version.
                limit = limit.min(leaders.patience());
            }
            match self.follower.apply(message).await? {
                Applied::Nothing => {}
                Applied::Accounts => self.has_accounts.store(true, Ordering::Relaxed),
                Applied::Usage(usage) => {
                    let heard = self.remote_usage.lock().apply(usage, &self.context.quota);
                    heard.map_err(LeaderError::from)?;
                }
                Applied::Peers(peers) => self.apply_peers(peers).await,
            }
            if leaders.signs_of_life().is_some() != asked_for_signs {
                // Only now there is somebody else to ask, or nobody any more.
                return Ok(());
            }
        }
    }

    async fn apply_peers(&self, peers: Vec<Peer>) {
        set_node_share(&self.context.quota, &self.id, self.context.weight, &peers);
        let own = peers.iter().find(|peer| peer.id == self.id);
        // One that leaves is listed as draining by its own word.
        let draining = own.map(|own| own.draining).filter(|_| !self.leaving.load(Ordering::Relaxed));
        if let Some(draining) = draining {
            self.note_drained(draining).await;
        }
        *self.peers.lock() = peers;
        self.keep_leaders().await;
    }
}

/// The next message of a stream; none: it has ended.
async fn next(stream: &mut Streaming<v1::StateUpdate>) -> Result<Option<v1::StateUpdate>, LeaderError> {
    stream.message().await.map_err(|status| call_error(&status))
}
