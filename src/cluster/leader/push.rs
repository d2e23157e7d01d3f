//! The leader's intake: what is committed reaches the limits, whatever becomes of whoever waited for it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use crate::cluster::leader::{Leader, LeaderStore, PushOutcome};
use crate::cluster::usage::per_node::UsageDelta;
use crate::domain::failure::{Failure, Kind};
use crate::domain::fence::Fence;
use crate::domain::ids::NodeId;
use crate::domain::quota::Used;
use crate::domain::usage::UsageRecord;
use crate::quota::SubjectId;

impl<B: LeaderStore> Leader<B> {
    /// Takes records of a node, and lets the limits know. A caller that goes away, or whose time is up, stops neither: a
    /// commit that has begun cannot be taken back, and one that the limits do not hear of makes them too generous.
    pub(super) async fn take(
        self: &Arc<Self>,
        node: &NodeId,
        records: Vec<UsageRecord>,
        last_batch: u64,
    ) -> Result<PushOutcome, Failure> {
        if records.is_empty() {
            return Ok(PushOutcome::default());
        }
        let place = Arc::clone(&self.commits).acquire_owned().await.map_err(|_| ending())?;
        let node = node.clone();
        self.run_detached(|leader| async move {
            let acknowledged = leader.acknowledged(&node);
            let fence = Fence::new(last_batch, Arc::clone(&acknowledged));
            let taken = leader.store.take(&node, records, &fence).await;
            match &taken {
                Ok(taken) => drop(acknowledged.fetch_max(taken.batch.unwrap_or_default(), Ordering::AcqRel)),
                Err(error) => leader.on_rollback(&node, error),
            }
            leader.update_usage(&node, taken.as_ref().ok());
            drop(place);
            taken
        })
        .await
    }

    /// `taken`: none when nobody can tell what is committed.
    fn update_usage(&self, node: &NodeId, taken: Option<&PushOutcome>) {
        let mut usage = self.usage.lock();
        match taken.map(|taken| (taken, taken.batch)) {
            None => usage.invalidate(node),
            Some((taken, Some(number))) => {
                usage.add_batch(node, number, taken.accepted.clone(), self.clock.now());
            }
            Some((_, None)) => return,
        }
        drop(usage);
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

    /// Nodes that have used something before this leader started.
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

    /// Whether the clock was ahead and has been set back since this was last asked: then everything that the leader
    /// itself has used has to be set again.
    #[must_use]
    pub fn take_setback(&self) -> bool {
        self.usage.lock().take_setback()
    }
}

fn ending() -> Failure {
    Failure::new(Kind::Unavailable, "the leader is shutting down")
}

#[cfg(test)]
mod tests;
