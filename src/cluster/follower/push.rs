//! The follower's side of usage sync: what the leader has not acknowledged is pushed until it has. [`push_all`] lists
//! what is unsynced, pushes it in batches, and marks as synced what each acknowledgement names.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Fuse, FusedFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use prost::Message;

use crate::cluster::follower::leader_client::{LeaderClient, LeaderError};
use crate::cluster::follower::sessions::Sessions;
use crate::domain::clock::Timestamp;
use crate::domain::failure::Failure;
use crate::domain::ids::{InstanceId, KeyId, LedgerId, NodeId, RequestId, SessionId};
use crate::domain::usage::UsageRecord;
use crate::wire::malformed::parse;
use crate::wire::{usage, v1};

/// Batches on their way to the leader at the same time: one being committed there, the others on the way or in line.
pub const BATCHES_IN_FLIGHT: usize = 4;

/// The most uses of API keys that one heartbeat tells of.
pub const KEY_USES_MAX: usize = 1_000;

/// A request is closed when its records are larger than this, long before the leader's limit on a message.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// A position in the list of unsynced records, oldest first.
pub type SyncCursor = (Timestamp, RequestId);

/// What a follower owes its leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncStatus {
    /// Records that the leader has not acknowledged; those that it refused, and that are set aside, are among them.
    pub unsynced: u64,
    /// When the oldest of them was made.
    pub oldest: Option<Timestamp>,
    /// Up to here nothing is owed.
    pub synced_through: Option<Timestamp>,
}

/// A follower's ledger, as far as sync needs it. Implemented on a database, and by the simulation.
pub trait FollowerStore: Send + Sync {
    /// The oldest unsynced records behind `after`, at most `limit`; none that were set aside.
    fn list_unsynced(
        &self,
        after: Option<SyncCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<UsageRecord>, Failure>> + Send;

    /// Marks records synced, acknowledged by the leader in its batch of that number; none: it does not count them.
    fn mark_synced(
        &self,
        ids: &[RequestId],
        batch: Option<u64>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The highest number of a batch that was marked synced; 0: none that was counted.
    fn last_batch(&self) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Marks what later batches than `batch` acknowledged as unsynced; after that `batch` is the last. How many were
    /// marked. May be interrupted anywhere and repeated.
    fn mark_unsynced_after(&self, batch: u64) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Sets records aside that the leader refuses, each with the reason. They are still owed.
    fn set_aside(&self, rejected: &[(RequestId, String)])
    -> impl Future<Output = Result<(), Failure>> + Send;

    /// Offers again what is set aside; how many records.
    fn retry_set_aside(&self) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Marks everything that is still held as unsynced, and notes what of it the ledger `left` had acknowledged; no batch
    /// is the last after that. May be interrupted anywhere and repeated.
    fn mark_all_unsynced(&self, left: Option<LedgerId>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Those of `ids` that `ledger` had acknowledged when the node left it.
    fn acknowledged_by(
        &self,
        ledger: LedgerId,
        ids: &[RequestId],
    ) -> impl Future<Output = Result<Vec<RequestId>, Failure>> + Send;

    /// Forgets what `ledger` had acknowledged in later batches than `batch` when the node left it.
    fn forget_acknowledged_after(
        &self,
        ledger: LedgerId,
        batch: u64,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The registrations that are remembered.
    fn sessions(&self) -> impl Future<Output = Result<Sessions, Failure>> + Send;

    /// Remembers them from now on, also after a power failure.
    fn keep_sessions(&self, sessions: &Sessions) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The leader's ledger that `synced` refers to.
    fn seen_ledger(&self) -> impl Future<Output = Result<Option<LedgerId>, Failure>> + Send;

    fn sync_status(&self) -> impl Future<Output = Result<SyncStatus, Failure>> + Send;

    /// At most `most` of the API keys used here since this was last asked. A follower without keys has none to tell of.
    fn take_key_uses(&self, most: usize) -> Vec<(KeyId, Timestamp)> {
        let _ = most;
        Vec::new()
    }

    /// Puts back uses that the leader could not be told of.
    fn put_back_key_uses(&self, unreported: &[(KeyId, Timestamp)]) {
        let _ = unreported;
    }

    /// Remembers the leader's ledger that `synced` refers to from now on.
    fn remember_ledger(&self, ledger: LedgerId) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What a follower and its leader agreed on when it registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The registration.
    pub id: SessionId,
    pub node_id: NodeId,
    pub instance: InstanceId,
    pub leader_id: NodeId,
    /// The leader's ledger: what is pushed is meant for it, what it acknowledges holds for it.
    pub ledger: LedgerId,
    /// The run of the leader's process: what it acknowledged is in its database as long as it runs. `None` if the leader is
    /// too old to report it.
    pub leader_instance: Option<InstanceId>,
    /// How often the leader wants to hear of the follower.
    pub heartbeat: Duration,
    /// How often leadership was taken over before this leader led.
    pub term: u64,
}

impl Session {
    /// The run of the leader that is meant, as messages name it.
    pub(in crate::cluster) fn leader_instance_text(&self) -> String {
        self.leader_instance.as_ref().map(InstanceId::to_string).unwrap_or_default()
    }
}

/// What became of the records of a round of pushing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushTotals {
    /// New to the leader.
    pub accepted: u64,
    /// The leader had them already.
    pub duplicates: u64,
    /// Set aside.
    pub rejected: u64,
}

impl PushTotals {
    /// Records that the leader has accepted, had already, or rejected.
    #[must_use]
    pub fn total(self) -> u64 {
        self.accepted + self.duplicates + self.rejected
    }

    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
    }
}

/// Why a round of pushing ended early. What was acknowledged before stays synced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The leader could not be asked, or said no.
    #[error(transparent)]
    Call(#[from] LeaderError),
    #[error("the node's own ledger: {0}")]
    Store(#[from] Failure),
}

/// Compares the leader's ledger: if it is another one than `synced` refers to, everything still held is owed again. The
/// ledger is remembered only after that, so a crash in between repeats it. Nothing may be in flight meanwhile.
pub async fn check_leader_ledger<B: FollowerStore>(store: &B, ledger: LedgerId) -> Result<bool, Failure> {
    let seen = store.seen_ledger().await?;
    if seen == Some(ledger) {
        return Ok(false);
    }
    store.mark_all_unsynced(seen).await?;
    store.remember_ledger(ledger).await?;
    Ok(true)
}

/// Compares how many batches of this node the leader's database has with how many it acknowledged. If it has fewer, it was
/// restored from an older backup, or its machine died before the last commits were on the disk: what was acknowledged
/// in the later ones is owed again, and nothing else, since what the leader has counted once may be in its sums only. What
/// it had refused is offered to it again: for what was too old to be told from what it had removed, it may hold the rows.
/// That the leader has more is normal: an acknowledgement got lost. Nothing may be in flight meanwhile.
///
/// How many records are owed again; none: nothing was lost.
pub async fn detect_rollback<B: FollowerStore>(store: &B, taken: u64) -> Result<Option<u64>, Failure> {
    if let Some(ledger) = store.seen_ledger().await? {
        // It has lost too what it acknowledged in later batches before this node went to another leader.
        store.forget_acknowledged_after(ledger, taken).await?;
    }
    if store.last_batch().await? <= taken {
        return Ok(None);
    }
    store.retry_set_aside().await?;
    store.mark_unsynced_after(taken).await.map(Some)
}

/// Pushes everything unsynced, oldest first, `batch_max` records at a time, several batches in flight. Safe to call at
/// any time and any number of times: the leader ignores a `request_id` that it already holds.
/// At most `BATCHES_IN_FLIGHT` batches are in memory, whatever the backlog.
///
/// # Errors
/// The first failure, after the batches in flight have come back; their records stay unsynced.
pub async fn push_all<B: FollowerStore, L: LeaderClient>(
    store: &B,
    leader: &L,
    session: &Session,
    batch_max: usize,
) -> Result<PushTotals, Error> {
    let mut pushed = PushTotals::default();
    let mut failed = None;
    let mut place = None;
    let mut more = true;
    let mut in_flight = FuturesUnordered::new();
    let mut listing = pin!(Fuse::terminated());
    loop {
        if more && listing.is_terminated() && in_flight.len() < BATCHES_IN_FLIGHT {
            listing.set(store.list_unsynced(place, batch_max).fuse());
        }
        // While the next batch is listed, those in flight go on.
        let listed = tokio::select! {
            biased;
            listed = &mut listing, if !listing.is_terminated() => listed,
            Some(totals) = in_flight.next(), if !in_flight.is_empty() => {
                match totals {
                    Ok(totals) => pushed.add(totals),
                    Err(error) => {
                        more = false;
                        failed.get_or_insert(error);
                    }
                }
                continue;
            }
            else => break,
        };
        match listed {
            Ok(batch) => {
                more &= batch.len() == batch_max;
                if let Some(last) = batch.last() {
                    place = Some((last.created_at, last.request_id));
                    in_flight.push(push_batch(store, leader, session, batch));
                }
            }
            Err(error) => {
                more = false;
                failed.get_or_insert(Error::Store(error));
            }
        }
    }
    failed.map_or(Ok(pushed), Err)
}

/// Pushes one batch, in as many requests as its size asks for, and applies the acknowledgement of each.
async fn push_batch<B: FollowerStore, L: LeaderClient>(
    store: &B,
    leader: &L,
    session: &Session,
    batch: Vec<UsageRecord>,
) -> Result<PushTotals, Error> {
    let mut pushed = PushTotals::default();
    let mut records = batch.iter().peekable();
    while records.peek().is_some() {
        let mut request = v1::PushUsageRequest {
            node_id: session.node_id.to_string(),
            instance_id: session.instance.to_string(),
            ledger_id: session.ledger.to_string(),
            records: Vec::with_capacity(batch.len()),
            leader_instance_id: session.leader_instance_text(),
            last_batch: store.last_batch().await?,
            session_id: session.id.to_string(),
        };
        let mut ids = Vec::with_capacity(batch.len());
        let mut bytes = 0;
        while bytes < REQUEST_BYTES_MAX
            && let Some(record) = records.next()
        {
            let log = usage::to_wire(record);
            bytes += log.encoded_len();
            ids.push(record.request_id);
            request.records.push(log);
        }
        let answer = leader.push_usage(request).await?;
        pushed.add(apply_acknowledgement(store, session, ids, answer).await?);
    }
    Ok(pushed)
}

/// Marks what the leader holds as synced and sets aside what it rejects.
async fn apply_acknowledgement<B: FollowerStore>(
    store: &B,
    session: &Session,
    mut ids: Vec<RequestId>,
    answer: v1::PushUsageResponse,
) -> Result<PushTotals, Error> {
    let protocol = |text: String| Error::Call(LeaderError::Protocol(text));
    if answer.ledger_id != session.ledger.to_string() {
        return Err(protocol("an acknowledgement of another ledger".to_owned()));
    }
    let counted = answer.accepted + answer.duplicates + answer.rejected.len() as u64;
    if counted != ids.len() as u64 {
        return Err(protocol(format!("an acknowledgement of {counted} records for {}", ids.len())));
    }
    if answer.batch.is_some() && session.leader_instance.is_none() {
        // The leader was upgraded since. What is not marked is pushed again after the next registration.
        return Err(Error::Call(LeaderError::Unknown("the leader counts batches by now".to_owned())));
    }
    let mut rejected = Vec::with_capacity(answer.rejected.len());
    let mut doubtful = Vec::new();
    for record in answer.rejected {
        let id: RequestId = parse("request_id", &record.request_id).map_err(|e| protocol(e.to_string()))?;
        let Some(at) = ids.iter().position(|pushed| *pushed == id) else {
            return Err(protocol(format!("a verdict on {id}, which was not pushed")));
        };
        ids.swap_remove(at);
        if record.may_be_counted { &mut doubtful } else { &mut rejected }.push((id, record.reason));
    }
    let counted = counted_before(store, session.ledger, &doubtful).await?;
    rejected.extend(doubtful.into_iter().filter(|(id, _)| !counted.contains(id)));
    if !rejected.is_empty() {
        for (id, reason) in &rejected {
            tracing::warn!(request_id = %id, %reason, "the leader rejects a usage record; it is set aside");
        }
        store.set_aside(&rejected).await?;
    }
    let duplicates = answer.duplicates + counted.len() as u64;
    ids.extend(counted);
    if !ids.is_empty() {
        store.mark_synced(&ids, answer.batch).await?;
    }
    Ok(PushTotals { accepted: answer.accepted, duplicates, rejected: rejected.len() as u64 })
}

/// Of records that the leader may have counted and removed since, those that this node knows to be counted: the same
/// ledger had acknowledged them before the node went to another leader. Of the others nobody can tell: an
/// acknowledgement may have been lost with the power of this machine, or there never was one, since a clock was set
/// back. Counted again they might be money twice, called synced they might be in nobody's totals; set aside they are
/// kept and seen.
async fn counted_before<B: FollowerStore>(
    store: &B,
    ledger: LedgerId,
    doubtful: &[(RequestId, String)],
) -> Result<Vec<RequestId>, Failure> {
    if doubtful.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<RequestId> = doubtful.iter().map(|(id, _)| *id).collect();
    store.acknowledged_by(ledger, &ids).await
}
