//! What a leader keeps, on its database.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use crate::accounts::Accounts;
use crate::cluster::leader::LeaderStore;
use crate::cluster::leader::registry::Error;
use crate::cluster::replication::adoption::Provenance;
use crate::cluster::replication::provenance::{as_accounts, as_state, load_provenance, notes_of_leader};
use crate::cluster::replication::state::State;
use crate::cluster::usage::per_node::NodeUse;
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, Kind};
use crate::domain::fence::{BatchesHeld, Fence, KnownSession};
use crate::domain::ids::{KeyId, NodeId, SessionId};
use crate::domain::peer::{Peer, PeerStatus};
use crate::domain::usage::UsageRecord;
use crate::ledger::AppliedBatch;
use crate::quota::SubjectId;
use crate::store::{self, MetaRepo, PeerRepo, SignInNews, Store, UsageRepo, retried};

/// A transaction that takes longer is given up: the database's machine is gone without a word.
const TRANSACTION_MAX: Duration = Duration::from_mins(1);

pub struct LeaderDatabase {
    store: Store,
    accounts: Accounts,
    /// Held while a push is applied to an embedded database, which has one writer: the node's own records, for whose
    /// commit callers wait, then wait behind one batch, and not behind those of all followers.
    embedded_push: Mutex<()>,
}

impl LeaderDatabase {
    #[must_use]
    pub fn new(store: Store, accounts: Accounts) -> Self {
        Self { store, accounts, embedded_push: Mutex::new(()) }
    }

    fn usage(&self) -> UsageRepo<'_> {
        UsageRepo::on(&self.store)
    }
}

impl LeaderStore for LeaderDatabase {
    fn is_shared(&self) -> bool {
        !self.store.is_embedded()
    }

    async fn apply_batch(
        &self,
        node: &NodeId,
        records: Vec<UsageRecord>,
        fence: &Fence,
    ) -> Result<AppliedBatch, Failure> {
        let guard = if self.store.is_embedded() { Some(self.embedded_push.lock().await) } else { None };
        let applied = AppliedBatch::apply(self.usage(), node, records, fence);
        let applied = timeout(TRANSACTION_MAX, applied).await;
        drop(guard);
        let late = |_| Failure::new(Kind::Unavailable, format!("no commit within {TRANSACTION_MAX:?}"));
        Ok(applied.map_err(late)??)
    }

    async fn used_by(&self, node: &NodeId, as_of: Timestamp) -> Result<NodeUse, Failure> {
        let (used, batches) = self.usage().used_by(node, as_of).await?;
        let users = used.users.into_iter().map(|(user, used)| (SubjectId::User(user), used));
        let groups = used.groups.into_iter().map(|(group, used)| (SubjectId::Group(group), used));
        Ok(NodeUse { subjects: users.chain(groups).collect(), batches })
    }

    fn detach(&self, work: BoxFuture<'static, ()>) {
        // It ends by itself: what it waits for has a time limit.
        #[allow(
            clippy::disallowed_methods,
            reason = "it has to outlive the call that began it, and is bounded in time"
        )]
        tokio::spawn(work);
    }

    async fn batches_held(&self, node: &NodeId) -> Result<BatchesHeld, Failure> {
        Ok(self.usage().batches_held(node).await?)
    }

    async fn begin_session(
        &self,
        node: &NodeId,
        new: SessionId,
        known: &[KnownSession],
    ) -> Result<u64, Failure> {
        Ok(self.usage().begin_session(node, new, known).await?)
    }

    async fn next_node_number(&self, above: u64) -> Result<u64, Failure> {
        Ok(MetaRepo::on(&self.store).next_node_number(above).await?)
    }

    async fn change_peer(
        &self,
        id: NodeId,
        rule: impl Fn(Option<Peer>, BatchesHeld) -> Result<Option<Peer>, Error> + Send + Sync + 'static,
    ) -> Result<Option<Peer>, Failure> {
        let (id, rule) = (&id, &rule);
        let change = || async move {
            let tx = self.store.begin().await?;
            let peers = PeerRepo::on(&tx);
            let held = peers.get_for_update(id).await?;
            let is_there = held.is_some();
            let kept = match rule(held, peers.batches_held(id).await?) {
                Ok(kept) => kept,
                Err(refused) => return Ok(Err(refused)),
            };
            match &kept {
                Some(peer) if is_there => peers.upsert(peer).await?,
                Some(peer) if !peers.insert(peer).await? => {
                    // There was no row to lock, and another leader has added it since.
                    tx.rollback().await?;
                    return Err(store::Error::RolledBack(format!("the peer {id} was added meanwhile")));
                }
                Some(_) => {}
                None => drop(peers.delete(id).await?),
            }
            tx.commit().await?;
            Ok(Ok(kept))
        };
        Ok(retried(change).await??)
    }

    async fn update_peers(&self, heard: Vec<PeerStatus>, silent: Vec<Peer>) -> Result<Vec<Peer>, Failure> {
        let peers = PeerRepo::on(&self.store);
        peers.note_statuses(&heard).await?;
        peers.mark_inactive(&silent).await?;
        Ok(peers.list().await?)
    }

    async fn make_durable(&self) -> Result<(), Failure> {
        Ok(self.store.make_durable().await?)
    }

    fn note_key_uses(&self, uses: &[(KeyId, Timestamp)]) {
        self.accounts.note_key_uses(uses);
    }

    async fn hold_accounts(&self) -> Option<OwnedMutexGuard<()>> {
        Some(self.accounts.hold().await)
    }

    fn version_written(&self) -> u64 {
        *self.accounts.versions().borrow()
    }

    async fn load_state(&self) -> Result<(Provenance, State), Failure> {
        let accounts = self.store.accounts_state().await?;
        let provenance = load_provenance(&self.store, accounts.version).await?;
        Ok((provenance, as_state(accounts)))
    }

    async fn sign_in_news(&self, version: u64) -> Result<Option<SignInNews>, Failure> {
        Ok(self.store.sign_in_news(version).await?)
    }

    async fn raise_version(&self, version: u64) -> Result<(), Failure> {
        Ok(self.store.reach_state_version(version).await?)
    }

    async fn adopt(&self, version: u64, provenance: Provenance, state: State) -> Result<(), Failure> {
        let notes = notes_of_leader(&provenance);
        let accounts = as_accounts(provenance.origin.version, state);
        if let Err(error) = self.store.replace_accounts_at(version, &accounts, &notes).await {
            // A server that died during the commit may have made the change: what it says now is what holds.
            if MetaRepo::on(&self.store).state_version().await? != accounts.version {
                return Err(error.into());
            }
        }
        self.accounts.adopt(&accounts);
        Ok(())
    }
}
