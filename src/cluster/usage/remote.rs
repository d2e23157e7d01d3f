//! A node's part of cluster-wide limits: its share of rates, and what the other nodes have used.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;

use crate::domain::clock::Timestamp;
use crate::domain::ids::NodeId;
use crate::domain::peer::Peer;
use crate::domain::quota::Used;
use crate::quota::{Quota, SubjectId};
use crate::wire::malformed::{Malformed, parse};
use crate::wire::v1::subject_usage::Subject;
use crate::wire::{moment, v1};

/// Sets a node's share of per-minute and concurrency limits: its weight among the weights of all active nodes.
pub(in crate::cluster) fn set_node_share(quota: &Quota, own: &NodeId, weight: u32, peers: &[Peer]) {
    let others = peers.iter().filter(|peer| peer.is_active && peer.id != *own);
    let whole = others.fold(weight, |sum, peer| sum.saturating_add(peer.weight));
    quota.set_node_share(weight, whole);
}

/// A node's share as a text to keep.
pub(in crate::cluster) fn share_to_text(quota: &Quota) -> String {
    let (part, whole) = quota.node_share().unwrap_or((1, 1));
    format!("{part}/{whole}")
}

/// Takes the share that was kept, for a start without the leader: all followers together are held to the limit then too.
/// What cannot be read is as if it was not kept.
pub(in crate::cluster) fn restore_share(text: &str, quota: &Quota) {
    let halves =
        text.split_once('/').and_then(|(part, whole)| Some((part.parse().ok()?, whole.parse().ok()?)));
    if let Some((part, whole)) = halves {
        quota.set_node_share(part, whole);
    }
}

/// What other nodes have used, as far as this node was told. Grows with the subjects that used anything this month.
#[derive(Debug, Default)]
pub(in crate::cluster) struct RemoteUsage {
    subjects: HashMap<SubjectId, (Used, Timestamp), foldhash::fast::RandomState>,
    changed: bool,
}

impl RemoteUsage {
    /// Takes what the leader told and lets the node's limits know.
    ///
    /// # Errors
    /// [`Malformed`]; what came before the field that cannot be meant is taken.
    pub(in crate::cluster) fn apply(
        &mut self,
        usage: v1::UsageElsewhere,
        quota: &Quota,
    ) -> Result<(), Malformed> {
        let as_of = moment::required("as_of", usage.as_of)?;
        if self.subjects.values().next().is_some_and(|(_, told)| told.month_start() < as_of.month_start()) {
            self.subjects.clear();
        }
        for subject in usage.subjects {
            let used = Used {
                daily_tokens: subject.daily_tokens,
                monthly_tokens: subject.monthly_tokens,
                monthly_nanousd: subject.monthly_nanousd,
            };
            let id = match subject.subject.ok_or_else(|| Malformed::missing("subject"))? {
                Subject::UserId(id) => SubjectId::User(parse("user_id", &id)?),
                Subject::GroupId(id) => SubjectId::Group(parse("group_id", &id)?),
            };
            quota.set_remote(id, used, as_of);
            self.subjects.insert(id, (used, as_of));
            self.changed = true;
        }
        Ok(())
    }

    /// The whole as a text to keep, if anything came since this was last asked.
    pub(in crate::cluster) fn take_changes(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut by_time: HashMap<Timestamp, Vec<v1::SubjectUsage>> = HashMap::new();
        for (subject, (used, as_of)) in &self.subjects {
            by_time.entry(*as_of).or_default().push(usage_to_wire(*subject, *used));
        }
        let kept = by_time.into_iter().map(|(as_of, subjects)| {
            let message = v1::UsageElsewhere { as_of: Some(moment::to_wire(as_of)), subjects };
            STANDARD.encode(message.encode_to_vec())
        });
        Some(kept.collect::<Vec<_>>().join(","))
    }

    /// What was kept, for a start without the leader. What cannot be read is as if it was not kept.
    pub(in crate::cluster) fn restored(text: &str, quota: &Quota) -> Self {
        let mut remote_usage = Self::default();
        let messages =
            text.split(',').filter(|part| !part.is_empty()).filter_map(|part| STANDARD.decode(part).ok());
        for message in messages.filter_map(|bytes| v1::UsageElsewhere::decode(&*bytes).ok()) {
            if let Err(error) = remote_usage.apply(message, quota) {
                tracing::warn!(%error, "what other nodes had used cannot be read; the leader will tell again");
            }
        }
        remote_usage.changed = false;
        remote_usage
    }
}

/// What a subject used, as the leader tells it.
#[must_use]
pub fn usage_to_wire(id: SubjectId, used: Used) -> v1::SubjectUsage {
    let subject = match id {
        SubjectId::User(id) => Subject::UserId(id.to_string()),
        SubjectId::Group(id) => Subject::GroupId(id.to_string()),
    };
    v1::SubjectUsage {
        subject: Some(subject),
        daily_tokens: used.daily_tokens,
        monthly_tokens: used.monthly_tokens,
        monthly_nanousd: used.monthly_nanousd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{GroupId, UserId};

    #[test]
    fn a_share_outlives_a_restart() {
        for (part, whole, kept) in [(50, 150, "50/150"), (50, 50, "1/1"), (0, 100, "0/100")] {
            let (before, after) = (Quota::new(), Quota::new());
            before.set_node_share(part, whole);
            assert_eq!(share_to_text(&before), kept);
            after.set_node_share(1, 9);
            restore_share(kept, &after);
            assert_eq!(after.node_share(), before.node_share());
            restore_share("", &after);
            restore_share("x/7", &after);
            assert_eq!(after.node_share(), before.node_share(), "nothing kept");
        }
    }

    #[test]
    fn what_others_used_outlives_a_restart() {
        let as_of: Timestamp = "2026-11-22T12:00:00Z".parse().expect("a time");
        let (alice, research) = (SubjectId::User(UserId::new()), SubjectId::Group(GroupId::new()));
        let used = Used { daily_tokens: 1, monthly_tokens: 2, monthly_nanousd: 3 };
        let told = v1::UsageElsewhere {
            as_of: Some(moment::to_wire(as_of)),
            subjects: vec![usage_to_wire(alice, used), usage_to_wire(research, used)],
        };
        let mut remote_usage = RemoteUsage::default();
        remote_usage.apply(told, &Quota::new()).expect("readable");
        let kept = remote_usage.take_changes().expect("something new");
        assert!(remote_usage.take_changes().is_none(), "nothing new");
        let quota = Quota::new();
        RemoteUsage::restored(&kept, &quota);
        assert_eq!((quota.used(alice, as_of), quota.used(research, as_of)), (used, used));
    }
}
