//! A leader's books on its database.

use tokio::sync::Mutex;

use crate::accounts::Accounts;
use crate::cluster::adoption::Standing;
use crate::cluster::leader::{LeaderBooks, Taken, spent_by};
use crate::cluster::origin_note::{as_accounts, as_state, notes_of_leader, standing};
use crate::cluster::state::State;
use crate::crypto::token::PublicKey;
use crate::domain::clock::Timestamp;
use crate::domain::failure::Failure;
use crate::domain::ids::{KeyId, NodeId};
use crate::domain::peer::Peer;
use crate::domain::usage::UsageRecord;
use crate::ledger::Ledger;
use crate::store::{PeerRepo, Store};

/// The books.
pub struct LeaderDisk {
    store: Store,
    ledger: Ledger,
    accounts: Accounts,
    /// One push at a time into an embedded database, which has one writer: the node's own records, for whose commit
    /// callers wait, then stand in line behind one batch, and not behind those of all followers.
    intake: Mutex<()>,
}

impl LeaderDisk {
    /// The books of the node whose ledger and accounts these are.
    #[must_use]
    pub fn new(store: Store, ledger: Ledger, accounts: Accounts) -> Self {
        Self { store, ledger, accounts, intake: Mutex::new(()) }
    }
}

impl LeaderBooks for LeaderDisk {
    async fn take(&self, node: &NodeId, records: Vec<UsageRecord>) -> Result<Taken, Failure> {
        let turn = if self.store.is_embedded() { Some(self.intake.lock().await) } else { None };
        let taken = self.ledger.take(node, records).await?;
        drop(turn);
        Ok(Taken {
            accepted: taken.new_records().map(spent_by).collect(),
            duplicates: taken.duplicates() as u64,
            batch: taken.number(),
            rejected: taken.rejected,
        })
    }

    async fn batches_taken(&self, node: &NodeId) -> Result<u64, Failure> {
        Ok(self.ledger.usage().batches_taken(node).await?)
    }

    async fn keep_peers(&self, peers: Vec<Peer>) -> Result<(), Failure> {
        let tx = self.store.begin().await?;
        for peer in &peers {
            PeerRepo::on(&tx).upsert(peer).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn forget_peer(&self, id: NodeId) -> Result<(), Failure> {
        PeerRepo::on(&self.store).delete(&id).await?;
        Ok(())
    }

    fn note_key_uses(&self, uses: &[(KeyId, Timestamp)]) {
        self.accounts.note_key_uses(uses);
    }

    async fn load_state(&self) -> Result<(Standing, State), Failure> {
        let accounts = self.store.accounts_state().await?;
        let standing = standing(&self.store, accounts.version).await?;
        Ok((standing, as_state(accounts, &self.accounts.public_keys())))
    }

    async fn reach(&self, version: u64) -> Result<(), Failure> {
        Ok(self.store.reach_state_version(version).await?)
    }

    async fn adopt(&self, standing: Standing, state: State) -> Result<(), Failure> {
        let notes = notes_of_leader(&standing, &state);
        // The leader's own key stays first: it signs.
        let mut keys = self.accounts.public_keys();
        keys.extend(state.token_keys.iter().map(|key| PublicKey(*key)));
        keys.dedup_by_key(|key| key.0);
        let accounts = as_accounts(standing.origin.version, state);
        self.store.replace_accounts(&accounts, &notes).await?;
        self.accounts.adopt(&accounts, &keys);
        Ok(())
    }
}
