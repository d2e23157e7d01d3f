//! A follower's ledger and its copy of the leader's state, on its database.

use crate::accounts::Accounts;
use crate::cluster::follower::Replica;
use crate::cluster::follower::push::{FollowerStore, SyncCursor, SyncStatus};
use crate::cluster::follower::sessions::Sessions;
use crate::cluster::replication::provenance::{
    as_accounts, as_ended, as_state, held_version, notes_of_follower,
};
use crate::cluster::replication::state::{Change, State, StateVersion};
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::{KeyId, LedgerId, RequestId};
use crate::domain::usage::UsageRecord;
use crate::ledger::Ledger;
use crate::store::{AccountsChange, MetaKey, MetaRepo, Store};

pub struct FollowerDatabase {
    store: Store,
    ledger: Ledger,
    /// None: the node leads, and has its accounts in another database.
    accounts: Option<Accounts>,
}

impl FollowerDatabase {
    pub(in crate::cluster) fn new(store: Store, ledger: Ledger, accounts: Accounts) -> Self {
        Self { store, ledger, accounts: Some(accounts) }
    }

    pub(in crate::cluster) fn without_accounts(store: Store, ledger: Ledger) -> Self {
        Self { store, ledger, accounts: None }
    }
}

impl FollowerStore for FollowerDatabase {
    async fn list_unsynced(
        &self,
        after: Option<SyncCursor>,
        limit: usize,
    ) -> Result<Vec<UsageRecord>, Failure> {
        Ok(self.ledger.usage().list_unsynced_after(after, limit).await?)
    }

    async fn mark_synced(&self, ids: &[RequestId], batch: Option<u64>) -> Result<(), Failure> {
        Ok(self.ledger.mark_synced(ids, batch).await?)
    }

    async fn set_aside(&self, rejected: &[(RequestId, String)]) -> Result<(), Failure> {
        Ok(self.ledger.usage().set_aside(rejected).await?)
    }

    async fn retry_set_aside(&self) -> Result<u64, Failure> {
        Ok(self.ledger.retry_set_aside().await?)
    }

    async fn mark_all_unsynced(&self, left: Option<LedgerId>) -> Result<(), Failure> {
        self.ledger.mark_all_unsynced(left).await?;
        Ok(())
    }

    async fn acknowledged_by(&self, ledger: LedgerId, ids: &[RequestId]) -> Result<Vec<RequestId>, Failure> {
        Ok(self.ledger.usage().acknowledged_by(ledger, ids).await?)
    }

    async fn forget_acknowledged_after(&self, ledger: LedgerId, batch: u64) -> Result<(), Failure> {
        Ok(self.ledger.usage().forget_acknowledged_after(ledger, batch).await?)
    }

    async fn last_batch(&self) -> Result<u64, Failure> {
        Ok(self.ledger.usage().last_batch().await?)
    }

    async fn mark_unsynced_after(&self, batch: u64) -> Result<u64, Failure> {
        Ok(self.ledger.mark_unsynced_after(batch).await?)
    }

    async fn sessions(&self) -> Result<Sessions, Failure> {
        let Some(text) = MetaRepo::on(&self.store).get(MetaKey::Sessions).await? else {
            return Ok(Sessions::default());
        };
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(Kind::Internal, format!("meta.sessions cannot be read: {error}")))
    }

    async fn keep_sessions(&self, sessions: &Sessions) -> Result<(), Failure> {
        let text = serde_json::to_string(sessions)
            .map_err(|error| Failure::new(Kind::Internal, error.to_string()))?;
        Ok(MetaRepo::on(&self.store).set(MetaKey::Sessions, &text).await?)
    }

    async fn seen_ledger(&self) -> Result<Option<LedgerId>, Failure> {
        let text = MetaRepo::on(&self.store).get(MetaKey::LeaderLedgerId).await?;
        let read = |text: String| {
            text.parse().map_err(|_| Failure::new(Kind::Internal, "meta.leader_ledger_id is no id"))
        };
        text.map(read).transpose()
    }

    fn take_key_uses(&self, most: usize) -> Vec<(KeyId, Timestamp)> {
        self.accounts.as_ref().map(|accounts| accounts.take_key_uses(most)).unwrap_or_default()
    }

    fn put_back_key_uses(&self, unreported: &[(KeyId, Timestamp)]) {
        if let Some(accounts) = &self.accounts {
            accounts.put_back_key_uses(unreported);
        }
    }

    async fn sync_status(&self) -> Result<SyncStatus, Failure> {
        let usage = self.ledger.usage();
        let synced_through = Some(self.ledger.synced_through().await?);
        Ok(SyncStatus {
            synced_through,
            unsynced: usage.unsynced_count().await? + usage.set_aside_count().await?,
            oldest: [usage.oldest_unsynced().await?, usage.oldest_set_aside().await?]
                .into_iter()
                .flatten()
                .min(),
        })
    }

    async fn remember_ledger(&self, ledger: LedgerId) -> Result<(), Failure> {
        Ok(MetaRepo::on(&self.store).set(MetaKey::LeaderLedgerId, &ledger.to_string()).await?)
    }
}

impl Replica for FollowerDatabase {
    async fn held_version(&self) -> Result<Option<StateVersion>, Failure> {
        held_version(&self.store).await
    }

    async fn load(&self) -> Result<State, Failure> {
        Ok(as_state(self.store.accounts_state().await?))
    }

    async fn replace(&self, origin: StateVersion, state: State) -> Result<(), Failure> {
        let notes = notes_of_follower(&origin);
        let accounts = as_accounts(origin.version, state);
        self.store.replace_accounts(&accounts, &notes).await?;
        if let Some(adopting) = &self.accounts {
            adopting.adopt(&accounts);
        }
        Ok(())
    }

    async fn apply_change(&self, origin: StateVersion, change: Change) -> Result<(), Failure> {
        let notes = notes_of_follower(&origin);
        let step = AccountsChange {
            version: origin.version,
            users: values(change.users.set),
            groups: values(change.groups.set),
            keys: values(change.keys.set),
            token_keys: change.token_keys.into_iter().collect(),
            ended_sessions: as_ended(change.ended_sessions),
            removed_users: change.users.removed,
            removed_groups: change.groups.removed,
            removed_keys: change.keys.removed,
        };
        self.store.change_accounts(&step, &notes).await?;
        if let Some(accounts) = &self.accounts {
            accounts.adopt_step(&step);
        }
        Ok(())
    }
}

fn values<K, V>(set: Vec<(K, V)>) -> Vec<V> {
    set.into_iter().map(|(_, value)| value).collect()
}
