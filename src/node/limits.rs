//! Limits over the life of a node: they start from the ledger's sums, are filled again when the clock was set back, and
//! go with their users and groups.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::domain::clock::{Clock, JITTER};
use crate::domain::ids::NodeId;
use crate::quota::{Quota, SubjectId};
use crate::store::usage::NodeFilter;
use crate::store::{Error, Store, UsageRepo};

/// Interval at which the clock is checked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks between two rounds of forgetting, beside those after a change of accounts: a call that was in flight while its
/// user was removed is counted after that.
const LOOKS_PER_ROUND: u32 = 60;

/// The task that keeps a node's limits.
pub(super) struct LimitsKeeper {
    pub(super) quota: Quota,
    /// What knows of this node's usage: its own books, and those of the cluster, which know more if the node has lost its
    /// own.
    pub(super) stores: Vec<Store>,
    pub(super) accounts: Accounts,
    pub(super) node: NodeId,
    pub(super) clock: Arc<dyn Clock>,
}

impl LimitsKeeper {
    /// Limits go on from what this node has booked; what others have used comes from the leader.
    pub(super) async fn fill(&self) -> Result<(), Error> {
        let now = self.clock.now();
        for store in &self.stores {
            let used = UsageRepo::on(store).used(now, NodeFilter::Only(&self.node)).await?;
            let users = used.users.into_iter().map(|(id, used)| (SubjectId::User(id), used));
            let groups = used.groups.into_iter().map(|(id, used)| (SubjectId::Group(id), used));
            for (subject, used) in users.chain(groups) {
                self.quota.restore(subject, used, now);
            }
        }
        Ok(())
    }

    pub(super) async fn run(self, stop: CancellationToken) {
        let mut versions = self.accounts.versions();
        let (mut last, mut set_back, mut looks) = (self.clock.now(), false, 0);
        while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            let now = self.clock.now();
            set_back |= now.plus(JITTER) < last;
            last = now;
            if set_back {
                match self.fill().await {
                    Ok(()) => {
                        set_back = false;
                        tracing::warn!(%now, "the clock was set back: limits are what the ledger says");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "limits cannot be filled from the ledger; it is tried again");
                    }
                }
            }
            looks += 1;
            if looks == LOOKS_PER_ROUND || versions.has_changed().unwrap_or(false) {
                looks = 0;
                versions.mark_unchanged();
                self.forget();
            }
        }
    }

    fn forget(&self) {
        // A follower that has not heard of any user yet knows nothing about who was removed.
        if self.accounts.counts().0 > 0 {
            self.quota.retain(|subject| match subject {
                SubjectId::User(id) => self.accounts.user_name(id).is_some(),
                SubjectId::Group(id) => self.accounts.group_name(id).is_some(),
            });
        }
    }
}
