//! What the other leaders on the same database do: accounts that they change, and usage that they take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::cluster::follower::client::{GrpcLeaderClient, call_error};
use crate::cluster::follower::leader_client::LeaderError;
use crate::cluster::leader::freshness::Freshness;
use crate::cluster::leader::store::LeaderDatabase;
use crate::cluster::leader::{LastLook, Leader};
use crate::cluster::retry::Backoff;
use crate::cluster::task::{Task, pause};
use crate::domain::failure::Failure;
use crate::store::{MetaRepo, Store, UsageRepo};
use crate::wire::v1;

/// How often it is looked up whether accounts have changed: one row.
const ACCOUNTS_EVERY: Duration = Duration::from_millis(50);
/// How often the batches of all nodes are compared, and the list of leaders is gone through.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// A stream without as much as a sign of life is opened again after so many heartbeat intervals.
const MISSED_MAX: u32 = 3;

/// Makes a client of the leader at a URL.
pub type Connect = Arc<dyn Fn(&str) -> Result<GrpcLeaderClient, String> + Send + Sync>;

pub(super) struct Others {
    pub(super) leader: Arc<Leader<LeaderDatabase>>,
    pub(super) accounts: Accounts,
    pub(super) store: Store,
    pub(super) connect: Connect,
    pub(super) freshness: Arc<Freshness>,
}

impl Others {
    pub(super) fn tasks(self: &Arc<Self>) -> [Task; 2] {
        let [accounts, batches] = std::array::from_fn(|_| Arc::clone(self));
        [
            Task::new("accounts of other leaders", |stop| accounts.run_accounts(stop)),
            Task::new("batches of other leaders", |stop| batches.run_batches(stop)),
        ]
    }

    async fn run_accounts(self: Arc<Self>, stop: CancellationToken) {
        let mut retry = Backoff::new();
        let mut wait = ACCOUNTS_EVERY;
        let mut is_away = false;
        while pause(wait, &stop).await {
            wait = match self.take_over_accounts().await {
                Ok(()) => {
                    if std::mem::take(&mut is_away) {
                        tracing::info!("accounts are those of the database again");
                    }
                    retry.reset();
                    ACCOUNTS_EVERY
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        tracing::warn!(%error, "the database does not say whether accounts have changed: callers are checked by what is known");
                    }
                    retry.wait()
                }
            };
        }
    }

    /// What another leader has changed holds here from the next request on; followers hear of it as of a change made here.
    async fn take_over_accounts(&self) -> Result<(), Failure> {
        let version = MetaRepo::on(&self.store).state_version().await?;
        self.freshness.heard();
        if version > *self.accounts.versions().borrow() {
            self.accounts.reload().await?;
        }
        Ok(())
    }

    /// Listens to every other leader; what was missed is read from the database.
    async fn run_batches(self: Arc<Self>, stop: CancellationToken) {
        let mut streams = FuturesUnordered::<BoxFuture<'_, Stream>>::new();
        let mut listened = BTreeMap::<String, Option<(Instant, Backoff)>>::new();
        let mut last = LastLook::default();
        let mut compare = interval(COMPARE_EVERY);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(Stream { address, error, heard, mut retry }) = streams.next(), if !streams.is_empty() => {
                    tracing::debug!(leader = %address, %error, "the batches of another leader broke off");
                    if heard {
                        retry.reset();
                    }
                    let next = Instant::now() + retry.wait();
                    listened.insert(address, Some((next, retry)));
                }
                _ = compare.tick() => {
                    match UsageRepo::on(&self.store).all_batches_held().await {
                        Ok(held) => self.leader.compare_batches(&mut last, held.into_iter().collect()),
                        Err(error) => tracing::debug!(%error, "the batches of nodes cannot be compared"),
                    }
                    let others = self.other_leaders();
                    listened.retain(|address, waits| waits.is_none() || others.contains(address));
                    for address in others {
                        let retry = match listened.get_mut(&address) {
                            None => Backoff::new(),
                            Some(waits) => match waits.take_if(|(until, _)| *until <= Instant::now()) {
                                Some((_, retry)) => retry,
                                None => continue,
                            },
                        };
                        listened.insert(address.clone(), None);
                        streams.push(Box::pin(self.listen(address, retry)));
                    }
                }
            }
        }
    }

    fn other_leaders(&self) -> Vec<String> {
        let own = self.leader.id().as_str();
        self.leader
            .leaders()
            .into_iter()
            .filter(|leader| leader.id != own)
            .map(|leader| leader.address)
            .collect()
    }

    async fn listen(&self, address: String, retry: Backoff) -> Stream {
        let mut heard = false;
        let error = match self.listen_once(&address, &mut heard).await {
            Ok(()) => LeaderError::Unavailable("it ended".to_owned()),
            Err(error) => error,
        };
        Stream { address, error, heard, retry }
    }

    async fn listen_once(&self, address: &str, heard: &mut bool) -> Result<(), LeaderError> {
        let client = (self.connect)(address).map_err(LeaderError::Refused)?;
        let request = v1::WatchBatchesRequest {
            node_id: self.leader.id().to_string(),
            ledger_id: self.leader.ledger().to_string(),
        };
        let mut stream = client.watch_batches(request).await?;
        let limit = self.leader.heartbeat_interval() * MISSED_MAX;
        loop {
            let next = timeout(limit, stream.message()).await;
            let next = next.map_err(|_| LeaderError::Unavailable("not even a sign of life".to_owned()))?;
            let Some(batch) = next.map_err(|status| call_error(&status))? else { return Ok(()) };
            *heard = true;
            self.leader.batch_elsewhere(&batch)?;
        }
    }
}

/// A stream of another leader's batches that has ended.
struct Stream {
    address: String,
    error: LeaderError,
    /// Whether anything came.
    heard: bool,
    retry: Backoff,
}
