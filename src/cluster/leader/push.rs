//! The leader's side of usage sync: a push is read, applied in one transaction, and acknowledged after its commit. What is
//! committed reaches the limits, whatever becomes of whoever waited for it.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use crate::cluster::leader::requests::{parse_record, parse_sender};
use crate::cluster::leader::{Leader, LeaderStore};
use crate::cluster::usage::per_node::{UsageDelta, UsageIncrement};
use crate::domain::failure::{Failure, Kind};
use crate::domain::fence::Fence;
use crate::domain::ids::{NodeId, SessionId};
use crate::domain::quota::Used;
use crate::domain::usage::UsageRecord;
use crate::ledger::AppliedBatch;
use crate::quota::SubjectId;
use crate::wire::malformed::parse_some;
use crate::wire::v1;

/// The most records in one `PushUsage`.
pub const RECORDS_MAX: usize = 10_000;

/// Why a record is not accepted that may have been accepted before.
const BELOW_FLOOR: &str = "it is as old as usage logs of this node that the leader has removed (its usage.retention): \
                           whether it was counted cannot be told, so it is not counted now";

impl<B: LeaderStore> Leader<B> {
    /// `PushUsage`: one verdict per record, after the commit of those that are accepted. A record that cannot be read,
    /// or that another living node served, is rejected and holds nothing else up.
    ///
    /// # Errors
    /// [`Kind::NotFound`]: register, or it has done so since. [`Kind::TooLarge`]. [`Failure::behind`]: the database has fallen back. What the
    /// database says; pushing the same again is harmless.
    pub async fn push_usage(
        self: &Arc<Self>,
        request: v1::PushUsageRequest,
    ) -> Result<v1::PushUsageResponse, Failure> {
        let (id, instance) = parse_sender(&request.node_id, &request.instance_id)?;
        self.check_ledger(&request.ledger_id)?;
        self.check_leader_instance(&request.leader_instance_id)?;
        if request.records.len() > RECORDS_MAX {
            let text = format!("{} records at once; at most {RECORDS_MAX}", request.records.len());
            return Err(Failure::new(Kind::TooLarge, text));
        }
        self.registry.lock().note_alive(&id, instance, self.clock.now())?;
        let relays = self.led_before(&id);
        let mut records = Vec::with_capacity(request.records.len());
        let mut unreadable = Vec::new();
        let mut former = BTreeSet::new();
        for log in request.records {
            let request_id = log.request_id.clone();
            let may_push_for = |name: &NodeId| relays || self.registry.lock().owns_name(&id, name);
            match parse_record(log, &id, may_push_for) {
                Ok(record) => {
                    if record.source_node != id {
                        former.insert(record.source_node.clone());
                    }
                    records.push(record);
                }
                Err(why) => unreadable.push(rejection(request_id, why.to_string())),
            }
        }
        let session = parse_some("session_id", &request.session_id)?;
        let applied = self.apply_batch(&id, records, request.last_batch, session).await?;
        self.invalidate_former(&id, former);
        Ok(self.acknowledgement(&id, applied, unreadable))
    }

    /// Whether the node led a ledger that this one goes back to: its database holds what it had taken of other nodes, some of
    /// which may be gone with their disks.
    fn led_before(&self, node: &NodeId) -> bool {
        let Some(led) = self.registry.lock().led_ledger(node) else { return false };
        let provenance = self.provenance.lock();
        led != self.ledger && provenance.origin.lineage.iter().any(|ancestor| ancestor.ledger == led)
    }

    /// Applies a batch of a node, and lets the limits know. A caller that goes away, or whose time is up, stops neither: a
    /// commit that has begun cannot be taken back, and one that the limits do not hear of makes them too generous.
    async fn apply_batch(
        self: &Arc<Self>,
        node: &NodeId,
        records: Vec<UsageRecord>,
        last_batch: u64,
        session: Option<SessionId>,
    ) -> Result<AppliedBatch, Failure> {
        if records.is_empty() {
            return Ok(AppliedBatch::default());
        }
        let permit = Arc::clone(&self.commits).acquire_owned().await.map_err(|_| ending())?;
        let node = node.clone();
        self.run_detached(|leader| async move {
            let acknowledged = leader.last_acknowledged(&node);
            let fence = Fence::new(last_batch, session, Arc::clone(&acknowledged));
            let applied = leader.store.apply_batch(&node, records, &fence).await;
            match &applied {
                Ok(batch) => drop(acknowledged.fetch_max(batch.number.unwrap_or_default(), Ordering::AcqRel)),
                Err(error) => leader.on_rollback(&node, error),
            }
            leader.update_usage(&node, applied.as_ref().ok());
            drop(permit);
            applied
        })
        .await
    }

    /// What the node is told of a batch that is committed, counted in the metrics. `rejected`: records that could not be read.
    fn acknowledgement(
        &self,
        node: &NodeId,
        applied: AppliedBatch,
        mut rejected: Vec<v1::RejectedRecord>,
    ) -> v1::PushUsageResponse {
        rejected.extend(applied.rejected.into_iter().map(|(id, reason)| rejection(id.to_string(), reason)));
        let accepted = applied.accepted.len() as u64;
        self.metrics.accepted.inc_by(accepted);
        self.metrics.duplicates.inc_by(applied.duplicates);
        self.metrics.rejected.inc_by(rejected.len() as u64);
        if !applied.below_floor.is_empty() {
            let records = applied.below_floor.len();
            self.metrics.below_floor.inc_by(records as u64);
            tracing::warn!(peer = %node, records, "a node pushes usage logs as old as those that usage.retention has removed");
            rejected.extend(applied.below_floor.into_iter().map(|id| v1::RejectedRecord {
                may_be_counted: true,
                ..rejection(id.to_string(), BELOW_FLOOR.to_owned())
            }));
        }
        v1::PushUsageResponse {
            accepted,
            duplicates: applied.duplicates,
            rejected,
            ledger_id: self.ledger.to_string(),
            batch: applied.number,
        }
    }

    /// Adds a batch to the sums that the limits go by. `None`: the commit failed or its answer got lost, so that nobody can
    /// tell what is committed.
    fn update_usage(&self, node: &NodeId, applied: Option<&AppliedBatch>) {
        match applied.map(|batch| (batch, batch.number)) {
            None => self.usage.lock().invalidate(node),
            Some((batch, Some(number))) => {
                let added: Vec<_> = batch.accepted.iter().map(UsageIncrement::of).collect();
                self.announce_batch(node, number, &added);
                self.usage.lock().add_batch(node, number, added, self.clock.now());
            }
            Some((_, None)) => return,
        }
        self.notify_watchers();
    }

    /// Does `work` to its end, also when whoever asked for it has gone.
    pub(super) async fn run_detached<T, F>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let work = work(Arc::clone(self));
        self.store.detach(Box::pin(async move {
            let _nobody_waits = sender.send(work.await);
        }));
        answer.await.unwrap_or_else(|_| Err(ending()))
    }

    /// Reads from the database what nodes have used of which the leader cannot be sure. To be called some times a second;
    /// costs nothing as long as nothing is in doubt.
    ///
    /// # Errors
    /// What the database says; the next call does it again.
    pub async fn reload_invalidated(&self) -> Result<(), Failure> {
        let (nodes, as_of) = self.usage.lock().invalidated(self.clock.now());
        for node in nodes {
            self.usage.lock().begin_reload(&node);
            let read = self.store.used_by(&node, as_of).await?;
            self.usage.lock().set_node(&node, read, as_of, self.clock.now());
            self.notify_watchers();
        }
        Ok(())
    }

    /// Usage of a node came under names that it had before: the limits took all of it for the sender's, and the ledger has
    /// it under both names.
    pub(super) fn invalidate_former(&self, node: &NodeId, former: BTreeSet<NodeId>) {
        if !former.is_empty() {
            self.invalidate(former.into_iter().chain([node.clone()]));
        }
    }

    /// Has what these nodes have used read from the database again.
    pub fn invalidate(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let mut usage = self.usage.lock();
        nodes.into_iter().for_each(|node| usage.invalidate(&node));
    }

    /// What other nodes than `node` have used, as far as it changed after `since`.
    #[must_use]
    pub fn remote_usage(&self, since: u64, node: &NodeId, limit: usize) -> UsageDelta {
        self.usage.lock().changes_since(since, node, limit, self.clock.now())
    }

    /// Sets what the leader itself has answered for users and groups, for its followers.
    pub fn set_local_usage(&self, sums: &[(SubjectId, Used)]) {
        if sums.is_empty() {
            return;
        }
        let mut usage = self.usage.lock();
        for (subject, used) in sums {
            usage.set_used(*subject, &self.id, *used);
        }
        drop(usage);
        self.notify_watchers();
    }

    /// Whether the clock was ahead and has been set back since this was last asked. If so, everything that the leader
    /// itself has used has to be set again.
    #[must_use]
    pub fn take_clock_setback(&self) -> bool {
        self.usage.lock().take_clock_setback()
    }
}

fn rejection(request_id: String, reason: String) -> v1::RejectedRecord {
    v1::RejectedRecord { request_id, reason, may_be_counted: false }
}

fn ending() -> Failure {
    Failure::new(Kind::Unavailable, "the leader is shutting down")
}

#[cfg(test)]
mod tests;
